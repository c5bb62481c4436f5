"""Beam search over the trie of the catalogue: only titles can come out (D3; docs/paper.md §3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scripts.decode.shared import encode, extend, log_probabilities, select
from scripts.decode.trie import Trie, leaf_ranges, levels


class TensorTrie(NamedTuple):
    """A `Trie` on the model's device, int64."""

    token: Tensor
    first_child: Tensor
    first_leaf: Tensor
    last_leaf: Tensor
    sequence: Tensor
    """The sequence that ends in a node, -1 where none does."""
    longest: int
    """Tokens of the longest sequence."""


class Found(NamedTuple):
    """Result of the search for one prompt."""

    sequences: np.ndarray
    """int64, indices of the sequences, best first."""
    scores: np.ndarray
    """float32, their scores."""
    proven: int
    """So many from the top are the exact best ones: no sequence that was left out can score as
    high."""

    def cut(self, length: int) -> Found:
        """The first `length` of the list."""
        return Found(self.sequences[:length], self.scores[:length], min(self.proven, length))


NOTHING_FOUND = Found(np.empty(0, np.int64), np.empty(0, np.float32), 0)


class Guide(NamedTuple):
    """A text-free assistant of the search, D3's (docs/paper.md §3)."""

    mass: Tensor
    """(B, S + 1) float64: of each prompt the assistant's probability of the sequences before each
    in the order of the leaves, so that a prefix's is a difference of two."""
    weight: float
    """g: score = g * log p(token) + (1 - g) * log share(token), the share being that of the child
    in the probability of its parent."""


class Candidates(NamedTuple):
    """All continuations of the running beams, flat: the beam's row, the child, its log p."""

    row: Tensor
    node: Tensor
    log_probability: Tensor


def to_device(trie: Trie, device: torch.device) -> TensorTrie:
    """Copy a trie to a device."""
    first_leaf, last_leaf = leaf_ranges(trie)
    # A leaf's range is the one sequence that ends there.
    sequence = np.where(np.diff(trie.first_child) == 0, trie.order[first_leaf], -1)
    token, first_child, first, last, ends = (
        torch.from_numpy(array).to(device).long()
        for array in (trie.token, trie.first_child, first_leaf, last_leaf, sequence)
    )
    return TensorTrie(token, first_child, first, last, ends, len(levels(trie)) - 1)


def continuations(trie: TensorTrie, nodes: Tensor, logits: Tensor) -> Candidates:
    """Every child of the running beams' nodes, with its log-probability.

    They are normalised over the whole vocabulary before the trie restricts them (D3).

    Args:
        trie: the catalogue.
        nodes: (R,) int64, the node of each running beam.
        logits: (R, V).
    """
    first, last = trie.first_child[nodes], trie.first_child[nodes + 1]
    counts = last - first
    row = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), counts)
    offsets = counts.cumsum(0) - counts
    node = torch.arange(len(row), device=row.device) - offsets[row] + first[row]
    return Candidates(row, node, log_probabilities(logits)[row, trie.token[node]])


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


#: Least probability of a sequence: what differences of float64 sums up to 1 resolve.
LEAST_MASS = 1e-10


def guide_by(probability: Tensor, order: Tensor, weight: float) -> Guide:
    """The assistant for a batch.

    Args:
        probability: (B, S) the assistant's probability of each sequence.
        order: (S,) int64, the sequences in the order of the leaves.
        weight: g, of the language model.
    """
    mass = probability.double()[:, order].clamp(min=LEAST_MASS).cumsum(1)
    return Guide(torch.nn.functional.pad(mass, (1, 0)), weight)


def log_shares(
    guide: Guide, trie: TensorTrie, prompt: Tensor, parent: Tensor, child: Tensor
) -> Tensor:
    """Logarithm of the children's share of their parents' probability, all (C,), float32."""

    def below(nodes: Tensor) -> Tensor:
        return (
            guide.mass[prompt, trie.last_leaf[nodes]] - guide.mass[prompt, trie.first_leaf[nodes]]
        )

    return (below(child) / below(parent)).log().float()


@torch.inference_mode()
def search(
    model: Any,
    trie: TensorTrie,
    input_ids: Tensor,
    attention_mask: Tensor,
    beams: int,
    length_penalty: float,
    guide: Guide | None = None,
) -> list[Found]:
    """Search the catalogue for each prompt of a batch.

    The same search as transformers' `generate` with `prefix_allowed_tokens_fn` and without early
    stopping: of the 2 x beams best continuations, those that end a title among the first `beams`
    are finished, and the best `beams` others run on.

    A prefix's score s can only fall, so that no title below it scores more than s / longest **
    length_penalty: with that the search knows how much of its list is exact. With a length penalty
    the bound is loose, and where the search stops is the heuristic of `generate`.

    Args:
        model: a causal language model in inference mode.
        trie: the catalogue, whose sequences end in eos.
        input_ids: (B, L) int64 prompts, padded on the left.
        attention_mask: (B, L) int64.
        beams: width of the search and length of the lists.
        length_penalty: finished scores are divided by length ** length_penalty.
        guide: an assistant whose shares are mixed into the scores.

    Returns:
        The list of each prompt, equal scores by the lower number of the sequence; shorter than
        `beams` where the catalogue has fewer titles, or where the beams that were left led to
        fewer. It is empty only where the model gives every title the probability 0.
    """
    device = input_ids.device
    prompts, logits = encode(model, input_ids, attention_mask)
    batch = len(input_ids)
    finished_score = torch.full((batch, beams), -torch.inf, device=device)
    finished_sequence = torch.full((batch, beams), -1, dtype=torch.int64, device=device)
    left_out = torch.full((batch,), -torch.inf, device=device)
    # The examples that still run, the position before their first token, and the running beams:
    # their example's row, column in that row, node and score.
    examples = torch.arange(batch, device=device)
    start = prompts.positions[:, -1]
    row, column = examples, torch.zeros_like(examples)
    nodes, scores = torch.zeros_like(examples), torch.zeros(batch, device=device)
    seen = torch.zeros((batch, 1, 0), dtype=torch.bool, device=device)
    for length in range(1, trie.longest + 1):
        found = continuations(trie, nodes, logits)
        candidate_row = row[found.row]
        gain = found.log_probability
        if guide is not None:
            shares = log_shares(guide, trie, examples[candidate_row], nodes[found.row], found.node)
            gain = guide.weight * gain + (1 - guide.weight) * shares
        # Rounding must not let a score grow along a path.
        score = scores[found.row] + gain.clamp(max=0)
        best, exists = best_per_example(candidate_row, score, len(examples), 2 * beams)
        best = torch.where(exists, best, 0)
        sequence = torch.where(exists, trie.sequence[found.node[best]], -1)

        ending = sequence >= 0
        ending[:, beams:] = False
        new_score = torch.where(ending, score[best] / length**length_penalty, -torch.inf)
        pool = torch.cat([finished_score[examples], new_score], 1)
        pool_sequence = torch.cat([finished_sequence[examples], sequence], 1)
        pool_sequence, by_sequence = pool_sequence.sort(dim=1)
        pool, kept = pool.gather(1, by_sequence).sort(dim=1, descending=True, stable=True)
        finished_score[examples] = pool[:, :beams]
        finished_sequence[examples] = pool_sequence.gather(1, kept[:, :beams])

        running = exists & (sequence < 0)
        running &= running.cumsum(1) <= beams
        best_running = torch.where(running, score[best], -torch.inf).amax(1)
        running &= (best_running / length**length_penalty > pool[:, beams - 1])[:, None]
        chosen = best[running]

        others = score.clone()
        others[best[ending]] = -torch.inf
        others[chosen] = -torch.inf
        lost = torch.full((len(examples),), -torch.inf, device=device)
        lost = lost.scatter_reduce(0, candidate_row, others, "amax")
        left_out[examples] = torch.maximum(left_out[examples], lost)
        if not len(chosen):
            break

        alive = running.any(1)
        parent, nodes, scores = found.row[chosen], found.node[chosen], score[chosen]
        old_row, old_column = row[parent], column[parent]
        column = (running.cumsum(1) - 1)[running]
        row = (alive.cumsum(0) - 1)[old_row]
        if not alive.all():
            kept_rows = alive.nonzero()[:, 0]
            prompts = select(prompts, kept_rows)
            examples, start = examples[kept_rows], start[kept_rows]
        width = int(column.max()) + 1
        real = torch.zeros((len(examples), width), dtype=torch.bool, device=device)
        real[row, column] = True
        tokens = torch.zeros(real.shape, dtype=torch.int64, device=device)
        tokens[row, column] = trie.token[nodes]
        older = seen
        seen = torch.zeros((*real.shape, older.shape[2] + width), dtype=torch.bool, device=device)
        seen[row, column, : older.shape[2]] = older[old_row, old_column]
        seen[row, column, older.shape[2] + column] = True
        positions = (start + length)[:, None].expand(real.shape)
        prompts, logits = extend(model, prompts, tokens, positions, seen, real)

    # Also a finished title that is on the list stands against what was left out.
    bound = left_out / trie.longest**length_penalty
    proven = (finished_score > bound[:, None]).sum(1)
    lists = []
    for titles, points, count in zip(
        finished_sequence.cpu().numpy(), finished_score.cpu().numpy(), proven.tolist(), strict=True
    ):
        exist = points > -np.inf
        lists.append(Found(titles[exist], points[exist], count))
    return lists
