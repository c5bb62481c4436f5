"""The catalogue as a trie over tokenised titles, in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PADDING = -1


class Trie(NamedTuple):
    """Nodes in breadth-first order, so that the children of a node are a contiguous range.

    Node 0 is the root. `token[v]` leads from its parent to v; the children of v are the nodes
    first_child[v] .. first_child[v + 1] - 1, in the order of their tokens. `sequence[v]` is the
    index of the sequence that ends in v, or -1 while v is no leaf. `order` holds the sequences in
    the order of their tokens, so that those below v are a slice: order[first_leaf[v] :
    last_leaf[v]]. All int64; `first_child` is one longer than the number of nodes, and `order` as
    long as there are sequences.
    """

    token: np.ndarray
    first_child: np.ndarray
    sequence: np.ndarray
    first_leaf: np.ndarray
    last_leaf: np.ndarray
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
    tokens = np.full((len(sequences), lengths.max()), PADDING, dtype=np.int64)
    tokens[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(sequences)
    order = np.lexsort(tokens.T[::-1])
    tokens, lengths = tokens[order], lengths[order]

    node_of_row = np.zeros(len(tokens), dtype=np.int64)  # Each row's node at the depth so far.
    node_token, node_parent, node_sequence = [np.array([PADDING])], [], [np.array([-1])]
    node_first, node_last = [np.array([0])], [np.array([len(tokens)])]
    nodes = 1
    for depth in range(tokens.shape[1]):
        rows = np.flatnonzero(lengths > depth)
        starts = np.ones(len(rows), dtype=bool)
        starts[1:] = (np.diff(node_of_row[rows]) != 0) | (np.diff(tokens[rows, depth]) != 0)
        parents = node_of_row[rows[starts]]
        node_of_row[rows] = nodes + np.cumsum(starts) - 1
        ended = np.full(int(starts.sum()), -1)
        ends = rows[lengths[rows] == depth + 1]
        ended[node_of_row[ends] - nodes] = order[ends]
        node_token.append(tokens[rows[starts], depth])
        node_parent.append(parents)
        # All rows with a node's prefix lie together.
        node_first.append(rows[starts])
        node_last.append(rows[np.append(np.flatnonzero(starts)[1:], len(rows)) - 1] + 1)
        node_sequence.append(ended)
        nodes += len(ended)
    children = np.bincount(np.concatenate(node_parent), minlength=nodes)
    sequence = np.concatenate(node_sequence)
    if (sequence >= 0).sum() != len(sequences) or (children[sequence >= 0] > 0).any():
        raise ValueError("two sequences are equal, or one is a prefix of another")
    first_child = np.concatenate([[1], 1 + np.cumsum(children)])
    return Trie(
        np.concatenate(node_token),
        first_child,
        sequence,
        np.concatenate(node_first),
        np.concatenate(node_last),
        order,
    )


def depths(trie: Trie) -> np.ndarray:
    """Length of the prefix of every node, int64: 0 at the root."""
    depth = np.zeros(len(trie.token), dtype=np.int64)
    first, last, level = 0, 1, 0
    while first < last:
        depth[first:last] = level
        first, last, level = last, trie.first_child[last], level + 1
    return depth
