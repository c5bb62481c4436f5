"""The catalogue as a trie over tokenised titles, in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

PADDING = -1


class Trie(NamedTuple):
    """Nodes in breadth-first order, so that the children of a node are a contiguous range.

    Node 0 is the root. `token[v]` leads from its parent to v; the children of v are the nodes
    first_child[v] .. first_child[v + 1] - 1, in the order of their tokens. A node without children
    is the end of a sequence. `order` holds the sequences in the order of their tokens, so that
    those below a node are a slice of it, see `leaf_ranges`. All int32; `first_child` is one longer
    than the number of nodes, `order` as long as the sequences.
    """

    token: np.ndarray
    first_child: np.ndarray
    order: np.ndarray


def build_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """Build the trie of distinct token sequences, none of which is a prefix of another.

    Sequences that end in eos are never each other's prefix.

    Raises:
        ValueError: no sequence, an empty one, two equal ones, or one that is a prefix of another.
    """
    if not sequences or any(not len(sequence) for sequence in sequences):
        raise ValueError("a trie needs at least one sequence, and no empty one")
    lengths = np.array([len(sequence) for sequence in sequences])
    tokens = np.full((len(sequences), lengths.max()), PADDING, dtype=np.int32)
    tokens[np.arange(lengths.max()) < lengths[:, None]] = np.fromiter(
        chain.from_iterable(sequences), np.int32, lengths.sum()
    )
    order = np.lexsort(tokens.T[::-1]).astype(np.int32)
    tokens, lengths = tokens[order], lengths[order]

    rows = np.arange(len(tokens), dtype=np.int32)  # Sequences that reach the depth.
    parent = np.zeros(len(tokens), dtype=np.int32)  # Their nodes, counted within the level.
    levels, children = [np.array([PADDING], np.int32)], []
    for depth in range(tokens.shape[1]):
        reach = lengths[rows] > depth
        rows, parent = rows[reach], parent[reach]
        token = tokens[rows, depth]
        starts = np.ones(len(rows), dtype=bool)
        starts[1:] = (np.diff(parent) != 0) | (np.diff(token) != 0)
        children.append(np.bincount(parent[starts], minlength=len(levels[-1])))
        levels.append(token[starts])
        parent = np.cumsum(starts, dtype=np.int32) - 1
    children.append(np.zeros(len(levels[-1]), np.int64))
    counts = np.concatenate(children)
    if (counts == 0).sum() != len(sequences):
        raise ValueError("two sequences are equal, or one is a prefix of another")
    first_child = np.concatenate([[1], 1 + np.cumsum(counts)]).astype(np.int32)
    return Trie(np.concatenate(levels), first_child, order)


def levels(trie: Trie) -> list[slice]:
    """The nodes of each depth, from the root down."""
    slices, first, last = [], 0, 1
    while first < last:
        slices.append(slice(first, last))
        first, last = last, int(trie.first_child[last])
    return slices


def depths(trie: Trie) -> np.ndarray:
    """The depth of every node, int64; the root's is 0."""
    sizes = [level.stop - level.start for level in levels(trie)]
    return np.repeat(np.arange(len(sizes)), sizes)


def parents(trie: Trie) -> np.ndarray:
    """The parent of every node, int64; the root's is the root."""
    counts = np.diff(trie.first_child)
    return np.concatenate([[0], np.repeat(np.arange(len(counts)), counts)])


def leaf_ranges(trie: Trie) -> tuple[np.ndarray, np.ndarray]:
    """The sequences below every node, a slice of `order`: its first and its last + 1, int64."""
    parent, counts = parents(trie), np.diff(trie.first_child)
    below = (counts == 0).astype(np.int64)
    for level in levels(trie)[:0:-1]:
        np.add.at(below, parent[level], below[level])
    first = np.zeros(len(below), np.int64)
    before = np.cumsum(below) - below  # Leaves below earlier nodes, of all levels.
    for level in levels(trie)[1:]:
        up = parent[level]
        first[level] = first[up] + before[level] - before[trie.first_child[up]]
    return first, first + below
