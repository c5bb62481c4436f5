"""The baselines that are trained: GRU4Rec, Caser and SASRec, on item ids alone.

One trainer for all. Unlike in the papers, the loss is the softmax cross-entropy over the whole
catalogue and scores are products with the item embeddings. SASRec and GRU4Rec are trained at all
positions of a sequence at once; Caser, which encodes one window at a time, on the examples.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from scripts.baselines.lists import BLOCK, rank_in_blocks, write_lists
from scripts.baselines.sequential_model import Model, make_model, padded, save_model, scorer
from scripts.baselines.settings import Sequential
from scripts.command import Seed, run
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.data.prepared import Sequences, training_sequences
from scripts.device import Device, torch_device
from scripts.files import read_table
from scripts.metrics import gains

log = logging.getLogger(__name__)

#: Target of a padded position.
NONE = -1


def windows(
    sequences: Sequences, longest: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the sequences into windows so that every item but a user's first is a target once.

    A sequence of more than `longest` targets is cut at a random offset, so that its items meet
    other contexts in every epoch.

    Returns:
        inputs and targets, both int64 (windows, longest), filled from the left; a target is the
        item after the input, `NONE` where there is none.
    """
    positions = sequences.lengths - 1
    offset = np.where(positions > longest, rng.integers(longest, size=len(positions)), 0)
    user = np.repeat(np.arange(len(positions)), positions)
    step = np.arange(len(user)) - np.repeat(np.cumsum(positions) - positions, positions)
    block = (step + offset[user]) // longest
    column = step - np.maximum(block * longest - offset[user], 0)
    row = np.cumsum(column == 0) - 1
    inputs = np.zeros((row[-1] + 1, longest), np.int64)
    targets = np.full_like(inputs, NONE)
    source = sequences.starts[user] + step
    inputs[row, column] = sequences.items[source]
    targets[row, column] = sequences.items[source + 1]
    return inputs, targets


def whole_examples(train: pd.DataFrame, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The examples as windows, see `windows`, each with one target, that of its last position."""
    inputs, lengths = padded(train["history"], longest)
    targets = np.full_like(inputs, NONE)
    targets[np.arange(len(train)), lengths - 1] = train["target"]
    return inputs, targets


def batches(
    inputs: np.ndarray, targets: np.ndarray, size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled windows in batches of about `size` targets, cut to their longest window."""
    order = rng.permutation(len(inputs))
    wanted = targets[order] != NONE
    counts = wanted.sum(axis=1)
    lengths = wanted.shape[1] - wanted[:, ::-1].argmax(axis=1)
    batch = (np.cumsum(counts) - counts) // size
    for rows in np.split(np.arange(len(order)), np.flatnonzero(np.diff(batch)) + 1):
        width = lengths[rows].max()
        yield inputs[order[rows], :width], targets[order[rows], :width]


def validation_ndcg(
    score: Callable[[slice], Tensor], targets: np.ndarray, items: int, device: torch.device
) -> float:
    """NDCG@10 over all items; of equal scores the lower item_id ranks first."""
    ids = torch.arange(items, device=device)
    rows = max(1, BLOCK // items)
    ranks = []
    for start in range(0, len(targets), rows):
        part = slice(start, start + rows)
        scores = score(part)
        target = torch.from_numpy(targets[part]).to(device)[:, None]
        own = scores.gather(1, target)
        above = (scores > own) | ((scores == own) & (ids < target))
        ranks.append(above.sum(dim=1).cpu().numpy() + 1)
    return float(gains(np.concatenate(ranks).astype(float), 10).mean())


def train_epoch(
    model: Model,
    optimizer: torch.optim.Optimizer,
    parts: Iterator[tuple[np.ndarray, np.ndarray]],
    device: torch.device,
) -> float:
    """The mean loss of one pass over the batches: inputs and targets, both int64 (n, length), a
    target `NONE` where there is none."""
    model.train()
    losses = []
    for inputs, targets in parts:
        wanted = torch.from_numpy(targets != NONE).to(device)
        labels = torch.from_numpy(targets).to(device)[wanted]
        scores = model(torch.from_numpy(inputs).to(device), wanted) @ model.items.weight.T
        loss = functional.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).mean().item()


def train_model(
    train: pd.DataFrame,
    valid: pd.DataFrame,
    items: int,
    longest: int,
    settings: Sequential,
    seed: int,
    device: torch.device,
) -> Model:
    """Train until NDCG@10 on the validation split stops rising; the best epoch's weights stay."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = make_model(items, longest, settings).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    score = scorer(model, valid["history"], device)
    targets = valid["target"].to_numpy(np.int64)
    sequences = training_sequences(train)
    whole = None if model.all_positions else whole_examples(train, longest)
    best, best_epoch, weights = -1.0, 0, model.state_dict()
    start = time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        shown, wanted = whole or windows(sequences, longest, rng)
        parts = batches(shown, wanted, settings.batch_size, rng)
        loss = train_epoch(model, optimizer, parts, device)
        ndcg = validation_ndcg(score, targets, items, device)
        log.info(
            "epoch %d: loss %.4f, validation NDCG@10 %.4f, %.1f s",
            epoch, loss, ndcg, time.monotonic() - start,
        )  # fmt: skip
        if ndcg > best:
            best, best_epoch = ndcg, epoch
            weights = {name: value.clone() for name, value in model.state_dict().items()}
        elif epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(weights)
    log.info(
        "best epoch %d of %d: validation NDCG@10 %.4f; trained %.1f s on %s",
        best_epoch, epoch, best, time.monotonic() - start, device,
    )  # fmt: skip
    return model


def recommend(
    train: Path,
    valid: Path,
    test: Path,
    catalogue: Path,
    settings: Sequential,
    output: Path,
    model_output: Path | None = None,
    seed: Seed = 0,
    depth: int = 50,
    device: Device = "auto",
) -> None:
    """Train a sequential recommender and list its best items for every test example.

    Items of the history stay in the list, as in the published protocol; of equal scores the lower
    item_id comes first. The model sees as many items as the longest training history has.

    Args:
        train: training examples.
        valid: validation examples, for early stopping.
        test: examples to recommend for.
        catalogue: the data set's catalogue.
        settings: the model and its training.
        output: recommendations to write.
        model_output: safetensors of the model to write; null writes none.
        seed: seed of the weights, the dropout, the windows and the order of the batches.
        depth: length of the lists.
        device: where to train; `auto` takes a GPU if there is one.
    """
    # cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    where = torch_device(device)
    items = read_table(catalogue, CATALOGUE)
    training = read_table(train, EXAMPLES)
    longest = int(training["history"].str.len().max())
    validation = read_table(valid, EXAMPLES, ["history", "target"])
    examples = read_table(test, EXAMPLES, ["example_id", "history"])
    model = train_model(training, validation, len(items), longest, settings, seed, where)
    score = scorer(model, examples["history"], where)
    ids, scores = rank_in_blocks(
        lambda rows: score(rows).cpu().numpy(), len(examples), items, depth
    )
    if model_output is not None:
        save_model(model, settings, model_output)
    write_lists(examples["example_id"].to_numpy(), ids, scores, output)


if __name__ == "__main__":
    run(recommend)
