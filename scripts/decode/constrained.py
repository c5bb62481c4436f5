"""Beam search over the trie of the catalogue: only titles can come out (D3; docs/paper.md §3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scripts.backbones.passes import Prompts, encode, extend, log_probabilities, select
from scripts.decode.model import Ranking
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


class Guide(NamedTuple):
    """A text-free assistant of the search, D3's (docs/paper.md §3)."""

    mass: Tensor
    """(B, S + 1) float64: of each prompt the assistant's probability of the sequences before each
    in the order of the leaves, so that a prefix's is a difference of two."""
    weight: float
    """g: score = g * log p(token) + (1 - g) * log share(token), the share being that of the child
    in the probability of its parent."""


class Beams(NamedTuple):
    """The R running beams, in the order of their rows, of the E examples whose search goes on.

    `examples` (E,) int64 are the examples' places in the batch. Each beam, all (R,), has its
    example's `row` in `examples`, the `column` that its last token has among the W of that row,
    both int64, the `node` of the trie that it has come to, int64, and its `score`, float32.
    `ancestors` (E, W, S) bool says which of the S tokens behind the prompts a beam consists of.
    """

    examples: Tensor
    row: Tensor
    column: Tensor
    node: Tensor
    score: Tensor
    ancestors: Tensor


class Candidates(NamedTuple):
    """All C continuations of the running beams, in the order of the beams, flat.

    Each, all (C,), has the `beam` that it continues and that one's `row`, the `node` that it leads
    to, all int64, and the `score` that it would have, float32.
    """

    beam: Tensor
    row: Tensor
    node: Tensor
    score: Tensor


class Lists(NamedTuple):
    """What the search has found for the B examples of a batch; written in place.

    `sequence` (B, width) int64 are the finished sequences, best first, with their `score`, float32,
    -inf where there is none yet; `left_out` (B,) float32 the best score of what was given up.
    """

    sequence: Tensor
    score: Tensor
    left_out: Tensor


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


def continuations(
    trie: TensorTrie, beams: Beams, logits: Tensor, guide: Guide | None
) -> Candidates:
    """Every child of the running beams' nodes, from the (R, V) logits behind these beams.

    Log-probabilities are normalised over the whole vocabulary before the trie restricts them (D3).
    """
    first, last = trie.first_child[beams.node], trie.first_child[beams.node + 1]
    counts = last - first
    beam = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    offsets = counts.cumsum(0) - counts
    node = torch.arange(len(beam), device=beam.device) - offsets[beam] + first[beam]
    row = beams.row[beam]
    gain = log_probabilities(logits)[beam, trie.token[node]]
    if guide is not None:
        shares = log_shares(guide, trie, beams.examples[row], beams.node[beam], node)
        gain = guide.weight * gain + (1 - guide.weight) * shares
    # Rounding must not let a score grow along a path.
    return Candidates(beam, row, node, beams.score[beam] + gain.clamp(max=0))


def add_finished(lists: Lists, examples: Tensor, sequence: Tensor, score: Tensor) -> None:
    """Merge (E, n) sequences into the lists of these examples, equal scores by the lower sequence.

    What has the score -inf is not added.
    """
    width = lists.score.shape[1]
    sequences, by_sequence = torch.cat([lists.sequence[examples], sequence], 1).sort(dim=1)
    pool = torch.cat([lists.score[examples], score], 1).gather(1, by_sequence)
    pool, kept = pool.sort(dim=1, descending=True, stable=True)
    lists.score[examples] = pool[:, :width]
    lists.sequence[examples] = sequences.gather(1, kept[:, :width])


def note_left_out(lists: Lists, examples: Tensor, candidates: Candidates, kept: Tensor) -> None:
    """Remember each example's best score among the candidates that are not `kept`, by index."""
    score = candidates.score.clone()
    score[kept] = -torch.inf
    best = torch.full((len(examples),), -torch.inf, device=score.device)
    best = best.scatter_reduce(0, candidates.row, score, "amax")
    lists.left_out[examples] = torch.maximum(lists.left_out[examples], best)


def next_beams(beams: Beams, candidates: Candidates, best: Tensor, running: Tensor) -> Beams:
    """The beams after a step: of the `best` candidates, (E, n) by index, those that run on.

    An example without any drops out.
    """
    chosen = best[running]
    parent = candidates.beam[chosen]
    alive = running.any(1)
    row = (alive.cumsum(0) - 1)[beams.row[parent]]
    column = (running.cumsum(1) - 1)[running]
    width, earlier = int(column.max()) + 1, beams.ancestors.shape[2]
    examples = beams.examples[alive]
    shape = (len(examples), width, earlier + width)
    ancestors = torch.zeros(shape, dtype=torch.bool, device=row.device)
    ancestors[row, column, :earlier] = beams.ancestors[beams.row[parent], beams.column[parent]]
    ancestors[row, column, earlier + column] = True
    node, score = candidates.node[chosen], candidates.score[chosen]
    return Beams(examples, row, column, node, score, ancestors)


def run_beams(
    model: Any, trie: TensorTrie, prompts: Prompts, beams: Beams, length: int
) -> tuple[Prompts, Tensor]:
    """Run the last token of each beam, the `length`-th behind its prompt, see `extend`."""
    shape = beams.ancestors.shape[:2]
    real = torch.zeros(shape, dtype=torch.bool, device=beams.row.device)
    real[beams.row, beams.column] = True
    tokens = torch.zeros(shape, dtype=torch.int64, device=beams.row.device)
    tokens[beams.row, beams.column] = trie.token[beams.node]
    last_of_prompt = prompts.positions[:, prompts.real.shape[1] - 1]
    positions = (last_of_prompt + length)[:, None].expand(shape)
    return extend(model, prompts, tokens, positions, beams.ancestors, real)


@torch.inference_mode()
def search(
    model: Any,
    trie: TensorTrie,
    input_ids: Tensor,
    attention_mask: Tensor,
    beams: int,
    length_penalty: float,
    guide: Guide | None = None,
    shared: bool = True,
) -> list[Ranking]:
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
        shared: whether the beams share their prompt, see `scripts.backbones.passes`.

    Returns:
        The list of each prompt, equal scores by the lower number of the sequence; shorter than
        `beams` where the catalogue has fewer titles, or where the beams that were left led to
        fewer. It is empty only where the model gives every title the probability 0.
    """
    device, batch = input_ids.device, len(input_ids)
    prompts, logits = encode(model, input_ids, attention_mask, shared)
    lists = Lists(
        sequence=torch.full((batch, beams), -1, device=device),
        score=torch.full((batch, beams), -torch.inf, device=device),
        left_out=torch.full((batch,), -torch.inf, device=device),
    )
    every = torch.arange(batch, device=device)
    root, score = torch.zeros_like(every), torch.zeros(batch, device=device)
    nothing = torch.zeros((batch, 1, 0), dtype=torch.bool, device=device)
    current = Beams(every, row=every, column=root, node=root, score=score, ancestors=nothing)
    for length in range(1, trie.longest + 1):
        examples, penalty = current.examples, length**length_penalty
        candidates = continuations(trie, current, logits, guide)
        best, exists = best_per_example(candidates.row, candidates.score, len(examples), 2 * beams)
        best = torch.where(exists, best, 0)
        score = candidates.score[best]
        sequence = torch.where(exists, trie.sequence[candidates.node[best]], -1)

        ending = sequence >= 0
        ending[:, beams:] = False
        add_finished(lists, examples, sequence, torch.where(ending, score / penalty, -torch.inf))

        running = exists & (sequence < 0)
        running &= running.cumsum(1) <= beams
        # An example is done once no running beam is better than the last of its list.
        best_running = torch.where(running, score, -torch.inf).amax(1)
        running &= (best_running / penalty > lists.score[examples, -1])[:, None]
        note_left_out(lists, examples, candidates, best[ending | running])
        alive = running.any(1)
        if not alive.any():
            break

        current = next_beams(current, candidates, best, running)
        if not alive.all():
            prompts = select(prompts, alive.nonzero()[:, 0])
        prompts, logits = run_beams(model, trie, prompts, current, length)

    # Also a finished title that is on the list stands against what was left out.
    bound = lists.left_out / trie.longest**length_penalty
    proven = (lists.score > bound[:, None]).sum(1).tolist()
    return [
        Ranking(sequences[scores > -np.inf], scores[scores > -np.inf], count)
        for sequences, scores, count in zip(
            lists.sequence.cpu().numpy(), lists.score.cpu().numpy(), proven, strict=True
        )
    ]
