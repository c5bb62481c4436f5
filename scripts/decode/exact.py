"""The whole catalogue scored: every node of the trie, in passes that share the prompts' cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scripts.backbones.passes import encode, extend, forget, log_probabilities
from scripts.decode.trie import Trie, depths, leaf_ranges, levels, parents

#: Nodes run at a time, about.
NODES = 256


class Part(NamedTuple):
    """Inner nodes above a slice of the leaves, parents first, and what is scored from them."""

    nodes: np.ndarray
    """(n,) int64, without the root."""
    depth: np.ndarray
    """(n,) int64."""
    ancestors: np.ndarray
    """(n, n) bool, which nodes each has above itself, itself included."""
    children: np.ndarray
    """(c,) int64, the nodes' children above or among the slice."""
    source: np.ndarray
    """(c,) int64, index into `nodes` of each child's parent."""


def parts(trie: Trie) -> Iterator[Part]:
    """Cut the trie into parts of about `NODES` inner nodes, in the order of the leaves."""
    parent, counts = parents(trie), np.diff(trie.first_child)
    first, last = leaf_ranges(trie)
    depth = depths(trie)
    inner = (counts > 0) & (depth > 0)
    leaves = len(trie.order)
    step = max(1, leaves * NODES // max(int(inner.sum()), 1))
    place = np.full(len(parent), -1)
    for start in range(0, leaves, step):
        above = (first < start + step) & (last > start)
        nodes = np.flatnonzero(above & inner)
        place[nodes] = np.arange(len(nodes))
        ancestors = np.eye(len(nodes), dtype=bool)
        for i in np.flatnonzero(depth[nodes] > 1):  # Breadth first, so that parents are done.
            ancestors[i] |= ancestors[place[parent[nodes[i]]]]
        children = np.flatnonzero(above & (depth > 1))
        yield Part(nodes, depth[nodes], ancestors, children, place[parent[children]])


@torch.inference_mode()
def score_catalogue(
    model: Any, trie: Trie, input_ids: Tensor, attention_mask: Tensor, shared: bool = True
) -> Tensor:
    """Sum of the log-probabilities of every sequence after each prompt.

    Args:
        model, input_ids, attention_mask: see `scripts.backbones.passes`.
        trie: the catalogue.
        shared: whether the titles share their prompt.

    Returns:
        (B, S) float32, in the order in which the sequences were given.
    """
    device, batch = input_ids.device, len(input_ids)
    prompts, logits = encode(model, input_ids, attention_mask, shared)
    start = prompts.positions[:, -1:]
    token = torch.from_numpy(trie.token).to(device).long()

    def by_prompt(logits: Tensor, source: np.ndarray, tokens: Tensor) -> Tensor:
        row = np.add.outer(np.arange(batch) * (len(logits) // batch), source)
        return log_probabilities(logits, row.ravel(), tokens.repeat(batch)).view(row.shape)

    score = torch.zeros((batch, len(trie.token)), device=device)
    top = np.arange(1, trie.first_child[1])
    score[:, top] = by_prompt(logits, np.zeros_like(top), token[top])
    for part in parts(trie):
        if not len(part.nodes):
            continue
        nodes, depth, children = (
            torch.from_numpy(array).to(device) for array in (part.nodes, part.depth, part.children)
        )
        ancestors = torch.from_numpy(part.ancestors).to(device).expand(batch, -1, -1)
        shape = (batch, len(nodes))
        real = torch.ones(shape, dtype=torch.bool, device=device)
        _, logits = extend(
            model, prompts, token[nodes].expand(shape), start + depth, ancestors, real
        )
        score[:, children] = by_prompt(logits, part.source, token[children])
        forget(prompts, len(nodes))
    # So far each node has its own log-probability.
    parent = torch.from_numpy(parents(trie)).to(device)
    for level in levels(trie)[2:]:
        score[:, level] += score[:, parent[level]]
    leaf = torch.from_numpy(np.diff(trie.first_child) == 0).to(device)
    first = torch.from_numpy(leaf_ranges(trie)[0]).to(device)
    result = torch.empty((batch, len(trie.order)), device=device)
    result[:, torch.from_numpy(trie.order).to(device).long()[first[leaf]]] = score[:, leaf]
    return result
