"""Beam search over the trie of the catalogue: only titles can come out (D3; docs/paper.md §3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from scripts.decode.trie import Trie


class Candidates(NamedTuple):
    """All continuations of the running beams, flat: the beam's row, the child node, the score."""

    row: Tensor
    node: Tensor
    score: Tensor


class TensorTrie(NamedTuple):
    """A `Trie` on the model's device; every field int64."""

    token: Tensor
    first_child: Tensor
    sequence: Tensor


def to_device(trie: Trie, device: torch.device) -> TensorTrie:
    """Copy a trie to a device."""
    return TensorTrie(*(torch.from_numpy(array).to(device) for array in trie))


def continuations(trie: TensorTrie, nodes: Tensor, scores: Tensor, logits: Tensor) -> Candidates:
    """Score every child of the running beams' nodes.

    Log-probabilities are normalised over the whole vocabulary before the trie restricts them (D3).

    Args:
        trie: the catalogue.
        nodes: (R,) int64, the node of each running beam.
        scores: (R,) float32, sums of log-probabilities so far.
        logits: (R, V).
    """
    first, last = trie.first_child[nodes], trie.first_child[nodes + 1]
    counts = last - first
    row = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), counts)
    offsets = counts.cumsum(0) - counts
    node = torch.arange(len(row), device=row.device) - offsets[row] + first[row]
    logits = logits.float()
    log_probability = logits[row, trie.token[node]] - logits.logsumexp(-1)[row]
    return Candidates(row, node, scores[row] + log_probability)


def best_per_example(
    example: Tensor, score: Tensor, examples: int, width: int
) -> tuple[Tensor, Tensor]:
    """Indices of the best candidates of each example, ties by the lower index.

    Args:
        example: (C,) int64, ascending: the example of each candidate.
        score: (C,) float32.
        examples: number of examples.
        width: how many to take of each.

    Returns:
        (examples, width) int64 indices into the candidates, and a mask of those that exist.
    """
    counts = torch.bincount(example, minlength=examples)
    offsets = counts.cumsum(0) - counts
    column = torch.arange(len(example), device=example.device) - offsets[example]
    table = torch.full((examples, max(int(counts.max()), width)), -torch.inf, device=score.device)
    table[example, column] = score
    best = table.sort(dim=1, descending=True, stable=True).indices[:, :width]
    return offsets[:, None] + best, best < counts[:, None]


@torch.inference_mode()
def search(
    model: Any,
    trie: TensorTrie,
    input_ids: Tensor,
    attention_mask: Tensor,
    beams: int,
    length_penalty: float,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Search the catalogue for each prompt of a batch.

    The same search as transformers' `generate` with `prefix_allowed_tokens_fn` and without early
    stopping: of the 2 x beams best continuations, those that end a title among the first `beams`
    are finished, and the best `beams` others run on.

    Args:
        model: a causal language model in inference mode.
        trie: the catalogue, whose sequences end in eos.
        input_ids: (B, L) int64 prompts, padded on the left.
        attention_mask: (B, L) int64.
        beams: width of the search and length of the lists.
        length_penalty: finished scores are divided by length ** length_penalty.

    Returns:
        For each prompt the indices of its sequences and their scores, best first; fewer than
        `beams` where the catalogue has fewer.
    """
    batch, device = len(input_ids), input_ids.device
    cache = DynamicCache(config=model.config)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    example = torch.arange(batch, device=device)
    nodes = torch.zeros(batch, dtype=torch.int64, device=device)
    scores = torch.zeros(batch, device=device)
    positions = positions[:, -1:]
    finished_score = torch.full((batch, beams), -torch.inf, device=device)
    finished_sequence = torch.full((batch, beams), -1, dtype=torch.int64, device=device)
    for length in range(1, len(trie.token) + 1):
        found = continuations(trie, nodes, scores, logits)
        best, exists = best_per_example(example[found.row], found.score, batch, 2 * beams)
        best = torch.where(exists, best, 0)
        sequence = torch.where(exists, trie.sequence[found.node[best]], -1)

        ending = sequence[:, :beams] >= 0
        new_score = torch.where(
            ending, found.score[best[:, :beams]] / length**length_penalty, -torch.inf
        )
        pool = torch.cat([finished_score, new_score], 1)
        pool_sequence = torch.cat([finished_sequence, sequence[:, :beams]], 1)
        finished_score, kept = pool.sort(dim=1, descending=True, stable=True)
        finished_score = finished_score[:, :beams]
        finished_sequence = pool_sequence.gather(1, kept[:, :beams])

        running = exists & (sequence < 0)
        running &= running.cumsum(1) <= beams
        # A running score can only fall, so an example is done when its best cannot enter the list.
        bound = torch.where(running, found.score[best], -torch.inf).amax(1) / length**length_penalty
        running &= (bound > finished_score[:, -1])[:, None]
        chosen = best[running]
        if not len(chosen):
            break
        parent, nodes, scores = found.row[chosen], found.node[chosen], found.score[chosen]
        example = torch.arange(batch, device=device)[:, None].expand_as(running)[running]
        cache.batch_select_indices(parent)
        attention_mask = torch.nn.functional.pad(attention_mask[parent], (0, 1), value=1)
        positions = positions[parent] + 1
        logits = model(
            input_ids=trie.token[nodes][:, None],
            attention_mask=attention_mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    lists = []
    for row_sequence, row_score in zip(finished_sequence, finished_score, strict=True):
        real = row_score > -torch.inf
        lists.append((row_sequence[real].cpu().numpy(), row_score[real].cpu().numpy()))
    return lists
