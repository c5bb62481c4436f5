"""Beam search over the trie of the catalogue: only titles can come out (D3; docs/paper.md §3)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scripts.backbones.passes import encode, extend, log_probabilities, select
from scripts.decode.model import Ranking
from scripts.decode.trie import Trie, depths, leaf_ranges

#: Tokens that a pass takes in little more time than one, filling included, by the kind of device: a
#: CPU reads its weights for them, a GPU waits for its kernels.
SPARE = {"cpu": 48, "cuda": 1024}


class SearchTrie(NamedTuple):
    """A `Trie` of N nodes and S sequences as the search reads it, on the host and on the device."""

    first_child: np.ndarray
    """(N + 1,) int64, see `Trie`."""
    first_leaf: np.ndarray
    last_leaf: np.ndarray
    """(N,) int64, see `leaf_ranges`."""
    sequence: np.ndarray
    """(N,) int32, the sequence that ends in a node, -1 where none does."""
    longest: int
    """Tokens of the longest sequence."""
    token: Tensor
    depth: Tensor
    """(N + 1,) int64 on the device, as what follows. The last is no node: it fills tables."""
    below: Tensor
    """(2, N + 1), first and last leaf; what fills tables is above nothing."""


class Guide(NamedTuple):
    """A text-free assistant of the search, D3's (docs/paper.md §3)."""

    mass: Tensor
    """(B, S + 1) float64: of each prompt the assistant's probability of the sequences before each
    in the order of the leaves, so that a prefix's is a difference of two."""
    weight: float
    """g: score = g * log p(token) + (1 - g) * log share(token), the share being that of the child
    in the probability of its parent."""


def to_device(trie: Trie, device: torch.device) -> SearchTrie:
    """Make a trie ready for the search on a device."""
    first_leaf, last_leaf = leaf_ranges(trie)
    # A leaf's range is the one sequence that ends there.
    sequence = np.where(np.diff(trie.first_child) == 0, trie.order[first_leaf], -1)
    depth = depths(trie)
    below = np.column_stack([[first_leaf, last_leaf], [len(trie.order), -1]])
    on_device = (
        torch.from_numpy(array).to(device).long()
        for array in (np.append(trie.token, 0), np.append(depth, 0), below)
    )
    first_child = trie.first_child.astype(np.int64)
    return SearchTrie(first_child, first_leaf, last_leaf, sequence, int(depth[-1]), *on_device)


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


def children(trie: SearchTrie, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All children of nodes, int64, in their order, and the index of each one's parent."""
    first = trie.first_child[nodes]
    counts = trie.first_child[nodes + 1] - first
    parent = np.repeat(np.arange(len(nodes)), counts)
    offsets = counts.cumsum() - counts
    return np.arange(len(parent)) + (first - offsets)[parent], parent


def log_shares(
    trie: SearchTrie, mass: np.ndarray, parent: np.ndarray, child: np.ndarray
) -> np.ndarray:
    """Logarithm of the children's share of their parents' probability, all (C,), float32.

    `mass` (S + 1,) is that of a `Guide` for one prompt.
    """

    def below(nodes: np.ndarray) -> np.ndarray:
        return mass[trie.last_leaf[nodes]] - mass[trie.first_leaf[nodes]]

    return np.log(below(child) / below(parent)).astype(np.float32)


class Waiting(NamedTuple):
    """A search that cannot go on before its beams have run."""

    nodes: np.ndarray
    """int64, where all its running beams are."""
    finished: int
    """Titles that it has found."""


def search_one(
    trie: SearchTrie,
    gains: np.ndarray,
    ran: np.ndarray,
    beams: int,
    length_penalty: float,
    shares: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
    weight: float,
) -> Generator[Waiting, None, Ranking]:
    """The search of one example, a token a step; see `search`.

    It waits where a beam has come to a node that has not run. Until it goes on, `gains` (N,)
    float32, log p of a node's token, is to be filled in for the children of these nodes, and `ran`
    (N,) bool for the nodes.
    """
    node, score = np.zeros(1, np.int64), np.zeros(1, np.float32)
    titles, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
    left_out = np.float32(-np.inf)
    for length in range(1, trie.longest + 1):
        if not ran[node].all():
            yield Waiting(node, len(titles))
        child, parent = children(trie, node)
        gain = gains[child]
        if shares is not None:
            gain = weight * gain + (1 - weight) * shares(node[parent], child)
        # Rounding must not let a score grow along a path.
        total = score[parent] + np.minimum(gain, 0)
        order = np.argsort(-total, kind="stable")
        best = order[: 2 * beams]
        sequence, penalty = trie.sequence[child[best]], np.float32(length**length_penalty)

        ending = (sequence >= 0) & (np.arange(len(best)) < beams)
        added = ending & (total[best] > -np.inf)
        titles = np.append(titles, sequence[added])
        scores = np.append(scores, total[best[added]] / penalty)
        kept = np.lexsort([titles, -scores])[:beams]
        titles, scores = titles[kept], scores[kept]

        running = sequence < 0
        running &= running.cumsum() <= beams
        # It is done once no running beam is better than the last of its list.
        last = scores[-1] if len(scores) == beams else -np.inf
        running &= total[best[running]].max(initial=-np.inf) / penalty > last
        given_up = np.append(best[~(ending | running)], order[2 * beams :][:1])
        left_out = max(left_out, total[given_up].max(initial=-np.inf))
        if not running.any():
            break
        node, score = child[best[running]], total[best[running]]

    # Also a finished title that is on the list stands against what was left out.
    proven = int((scores > left_out / trie.longest**length_penalty).sum())
    return Ranking(titles, scores, proven)


def nodes_to_run(
    trie: SearchTrie, waiting: dict[int, Waiting], ran: np.ndarray, beams: int, spare: int
) -> np.ndarray:
    """What the next pass takes of E waiting searches: their beams, and what they come to for sure.

    As long as the beams have no more children than there may be beams, none is given up, so that
    all these run as well: the rest of a title that is alone below its beam, for one. The search may
    only stop before, once its list is full. A pass as wide as its widest example takes more of the
    others without more filling; it is made wider for `spare` tokens, and only for these it reckons
    with no stop.

    Args:
        trie: the catalogue.
        waiting: the searches, by their example.
        ran: (B, N) bool, which nodes have run for each example.
        beams: width of the searches.
        spare: see `SPARE`.

    Returns:
        (E, Q) int64, parents before their children; filled up with N.
    """
    size, examples = len(waiting), np.array([*waiting])
    node = np.concatenate([one.nodes for one in waiting.values()])
    row = np.repeat(np.arange(size), [len(one.nodes) for one in waiting.values()])
    finished = np.array([one.finished for one in waiting.values()])
    rows, nodes, counts = [], [], np.zeros(size, np.int64)
    limit = most = 0
    while True:
        new = ~ran[examples[row], node]
        rows.append(row[new])
        nodes.append(node[new])
        counts += np.bincount(rows[-1], minlength=size)
        most = most or int(counts.max())
        child, parent = children(trie, node)
        row = row[parent]
        ends = trie.sequence[child] >= 0
        finished += np.bincount(row[ends], minlength=size)
        sure = np.bincount(row, minlength=size) <= beams
        sure &= (finished < beams) | (counts < spare // size)
        deeper = sure[row] & ~ends
        row, node = row[deeper], child[deeper]
        going = np.bincount(row, minlength=size) > 0
        limit = max(most, spare // size)
        if not (going & (counts < limit)).any():
            break
    row, node = np.concatenate(rows), np.concatenate(nodes)
    order = np.argsort(row, kind="stable")
    column = np.arange(len(row)) - (counts.cumsum() - counts)[row[order]]
    table = np.full((size, min(limit, counts.max())), len(trie.sequence))
    order, column = order[column < limit], column[column < limit]
    table[row[order], column] = node[order]
    return table


@torch.inference_mode()
def search(
    model: Any,
    trie: SearchTrie,
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
        model, input_ids, attention_mask: see `scripts.backbones.passes`.
        trie: the catalogue, whose sequences end in eos.
        beams: width of the search and length of the lists.
        length_penalty: finished scores are divided by length ** length_penalty.
        guide: an assistant whose shares are mixed into the scores.
        shared: whether the beams share their prompt.

    Returns:
        The list of each prompt, equal scores by the lower number of the sequence; shorter than
        `beams` where the catalogue has fewer titles, or where the beams that were left led to
        fewer. It is empty only where the model gives every title the probability 0.
    """
    device, batch, size = input_ids.device, len(input_ids), len(trie.sequence)
    prompts, logits = encode(model, input_ids, attention_mask, shared)
    # A whole sequence costs as much with what is behind one of its tokens as behind all.
    spare = SPARE.get(device.type if shared else "cuda", 0)
    gains, ran = np.empty((batch, size), np.float32), np.zeros((batch, size), bool)
    masses = guide.mass.cpu().numpy() if guide else []
    shares = [partial(log_shares, trie, mass) for mass in masses] or [None] * batch
    weight = guide.weight if guide else 1.0
    searches = [
        search_one(trie, *known, beams, length_penalty, share, weight)
        for *known, share in zip(gains, ran, shares, strict=True)
    ]
    lists: dict[int, Ranking] = {}
    examples, nodes = np.arange(batch), np.zeros((batch, 1), np.int64)
    start = prompts.positions[:, -1:]
    behind = torch.zeros((batch, 0), dtype=torch.int64, device=device)
    while True:
        row, column = np.nonzero(nodes < size)
        node, row = nodes[row, column], examples[row]
        child, parent = children(trie, node)
        tokens = trie.token[torch.from_numpy(child).to(device)]
        gains[row[parent], child] = log_probabilities(logits, parent, tokens).cpu().numpy()
        ran[row, node] = True

        waiting = {}
        for example in examples:
            try:
                waiting[example] = next(searches[example])
            except StopIteration as end:
                lists[example] = end.value
        if not waiting:
            return [lists[example] for example in range(batch)]
        if len(waiting) < len(examples):
            kept = torch.from_numpy(np.flatnonzero(np.isin(examples, [*waiting]))).to(device)
            prompts, behind, start = select(prompts, kept), behind[kept], start[kept]
            examples = np.array([*waiting])
        nodes = nodes_to_run(trie, waiting, ran, beams, spare)
        new = torch.from_numpy(nodes).to(device)
        behind = torch.cat([behind, new], 1)
        first, last = trie.below[:, behind][:, :, None]
        first_new, last_new = trie.below[:, new][..., None]
        # Of two nodes above the same leaves the lower number is above the other.
        sees = (first <= first_new) & (last_new <= last) & (behind[:, None] <= new[..., None])
        positions = start + trie.depth[new]
        prompts, logits = extend(model, prompts, trie.token[new], positions, sees, new < size)
