"""Recommend with a fine-tuned model: one cell of objective x decoder x history."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scripts.backbones.load import (
    Device,
    Precision,
    load_finetuned,
    load_tokenizer,
    torch_device,
)
from scripts.command import progress, run
from scripts.contracts import EXAMPLES, ITEMS, RECOMMENDATIONS
from scripts.data.settings import Prompt
from scripts.decode import constrained, grounded
from scripts.decode.settings import Constrained, Decoder, Grounded, History
from scripts.decode.trie import build_trie
from scripts.examples import EVALUATION_SEED, subsample
from scripts.files import read_table, write_json, write_table
from scripts.prompts import answer_ids, fitted_prompt_ids, prompt_ids, prompt_text
from scripts.provenance import peak_memory_mb, provenance

logger = logging.getLogger(__name__)

#: Titles and scores of one example's list, best first: indices into the titles, and float32.
Ranking = tuple[np.ndarray, np.ndarray]


def recommend(
    model: Path,
    backbone: Path,
    test: Path,
    items: Path,
    prompt: Prompt,
    decoder: Decoder,
    history: History,
    output: Path,
    record: Path,
    test_examples: int | None = None,
    max_tokens: int = 1024,
    precision: Precision = "fp32",
    device: Device = "auto",
) -> None:
    """Write the ranked lists of a model for the test examples.

    Args:
        model: fine-tuned model or adapter.
        backbone: what it was fine-tuned from.
        test: test examples.
        items: the catalogue.
        prompt: the data set's sentences.
        decoder: how the model becomes a ranking.
        history: whether the prompt holds the history.
        output: recommendations.
        record: JSON record of the run.
        test_examples: size of the sub-sample of the test split; null takes all.
        max_tokens: longest prompt, with room for the decoder's own tokens.
        precision: of the model, on a GPU.
        device: where to run.
    """
    place = torch_device(device)
    tokenizer = load_tokenizer(model)
    examples = subsample(read_table(test, EXAMPLES), test_examples, EVALUATION_SEED)
    catalogue = read_table(items, ITEMS)
    titles = distinct_titles(catalogue, tokenizer)
    prompts, shortened = test_prompts(
        examples, catalogue["title"].tolist(), tokenizer, prompt, history, max_tokens
    )
    loaded = load_finetuned(model, backbone, place, precision)
    started = time.perf_counter()
    # Without history all examples share one prompt: it is decoded once.
    distinct = sorted(set(map(tuple, prompts)), key=lambda ids: (len(ids), ids))
    rank = rank_constrained if isinstance(decoder, Constrained) else rank_grounded
    rankings = rank(loaded, tokenizer, distinct, titles["title"].tolist(), decoder, place)
    seconds = time.perf_counter() - started
    by_prompt = dict(zip(distinct, rankings, strict=True))
    lists = [by_prompt[tuple(ids)] for ids in prompts]
    write_table(as_table(examples["example_id"], lists, titles["item_id"]), output, RECOMMENDATIONS)
    write_json(
        {
            "examples": len(examples),
            "prompts": len(distinct),
            "seconds": seconds,
            "truncated_prompts": shortened,
            "peak_memory_mb": peak_memory_mb(place),
            "decoder": decoder.model_dump(),
            **provenance(place),
        },
        record,
    )


def distinct_titles(items: pd.DataFrame, tokenizer: Any) -> pd.DataFrame:
    """One row per title that differs in its tokens, with the item that stands for it.

    That is the item with the most training targets, ties by the lower `item_id`. Titles that are
    not equal can have equal tokens, as some tokenizers normalise the text.

    Returns:
        Columns title and item_id, in the order of `item_id`.
    """
    order = items.sort_values(["train_count", "item_id"], ascending=[False, True])
    tokens = order["title"].map(lambda title: tuple(answer_ids(tokenizer, title)))
    return order.loc[~tokens.duplicated(), ["title", "item_id"]].sort_values("item_id")


def test_prompts(
    examples: pd.DataFrame,
    titles: list[str],
    tokenizer: Any,
    prompt: Prompt,
    history: History,
    max_tokens: int,
) -> tuple[list[list[int]], int]:
    """Prompt tokens of each example, and how many lost history titles to fit `max_tokens`."""
    if history == "without":
        return [prompt_ids(tokenizer, prompt_text(prompt, []))] * len(examples), 0
    longest = max(len(answer_ids(tokenizer, title)) for title in titles)
    prompts, shortened = [], 0
    for items in examples["history"]:
        shown = [titles[item] for item in items]
        ids, dropped = fitted_prompt_ids(tokenizer, prompt, shown, max_tokens - longest)
        prompts.append(ids)
        shortened += dropped > 0
    return prompts, shortened


def padded(prompts: list[tuple[int, ...]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and their attention mask: (B, L) int64 each."""
    length = max(map(len, prompts))
    rows = [[pad] * (length - len(ids)) + list(ids) for ids in prompts]
    masks = [[0] * (length - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(rows, device=device), torch.tensor(masks, device=device)


def rank_constrained(
    model: Any,
    tokenizer: Any,
    prompts: list[tuple[int, ...]],
    titles: list[str],
    decoder: Constrained,
    device: torch.device,
) -> list[Ranking]:
    """Rank titles for each prompt by beam search over their trie."""
    trie = build_trie([answer_ids(tokenizer, title) for title in titles])
    on_device = constrained.to_device(trie, device)
    rankings: list[Ranking] = []
    for start in progress(range(0, len(prompts), decoder.batch_size), "batches"):
        batch = prompts[start : start + decoder.batch_size]
        input_ids, mask = padded(batch, tokenizer.pad_token_id, device)
        rankings += constrained.search(
            model, on_device, input_ids, mask, decoder.beams, decoder.length_penalty
        )
    return rankings


def rank_grounded(
    model: Any,
    tokenizer: Any,
    prompts: list[tuple[int, ...]],
    titles: list[str],
    decoder: Grounded,
    device: torch.device,
) -> list[Ranking]:
    """Rank titles for each prompt by their distance to what the model writes."""
    texts: list[str] = []
    for start in progress(range(0, len(prompts), decoder.batch_size), "batches"):
        batch = prompts[start : start + decoder.batch_size]
        input_ids, mask = padded(batch, tokenizer.pad_token_id, device)
        texts += grounded.generate_texts(
            model, tokenizer, input_ids, mask, decoder.beams, decoder.max_new_tokens
        )
    indices, distances = grounded.nearest(
        grounded.embed(model, tokenizer, texts, device),
        grounded.embed(model, tokenizer, titles, device),
        min(decoder.depth, len(titles)),
    )
    return list(zip(indices.cpu().numpy(), -distances.cpu().numpy(), strict=True))


def as_table(example_ids: pd.Series, lists: list[Ranking], item_ids: pd.Series) -> pd.DataFrame:
    """The lists as RECOMMENDATIONS rows."""
    lengths = [len(indices) for indices, _ in lists]
    return pd.DataFrame(
        {
            "example_id": np.repeat(example_ids.to_numpy(), lengths),
            "rank": np.concatenate([np.arange(1, n + 1) for n in lengths]),
            "item_id": item_ids.to_numpy()[np.concatenate([indices for indices, _ in lists])],
            "score": np.concatenate([scores for _, scores in lists]),
        }
    )


if __name__ == "__main__":
    run(recommend)
