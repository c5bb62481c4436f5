"""BIGRec's grounding: free generation, then titles by distance to the text (docs/paper.md §3).

Plain, with the best beam's text alone, or merged, with the lists of all beams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.command import InputError, progress
from scripts.decode.model import Ranking
from scripts.prompts import sequence_ids

#: Texts embedded, and rows of distances held, at a time.
CHUNK = 384
#: Generated texts grounded at a time.
TEXTS = 3 * CHUNK
#: Candidates beyond the length of a list.
SPARE = 16
#: Queries whose candidates' vectors are held at a time.
PART = 8


@torch.inference_mode()
def embed(model: Any, tokenizer: Any, texts: Sequence[str], device: torch.device) -> Tensor:
    """The last layer's vector at the last token of each text: (n, hidden) float32.

    An empty text is encoded as eos alone.
    """
    ids = [tokens or [tokenizer.eos_token_id] for tokens in sequence_ids(tokenizer, texts)]
    # Texts of one length together need no padding.
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    hidden = model.config.get_text_config(decoder=True).hidden_size
    vectors = torch.empty((len(ids), hidden), device=device)
    start = 0
    while start < len(order):
        length = len(ids[order[start]])
        chunk = [i for i in order[start : start + CHUNK] if len(ids[i]) == length]
        body = model.base_model(
            input_ids=torch.tensor([ids[i] for i in chunk], device=device), use_cache=False
        )
        vectors[chunk] = body.last_hidden_state[:, -1].float()
        start += len(chunk)
    return vectors


def ground(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    titles: Sequence[str],
    depth: int,
    device: torch.device,
) -> list[Ranking]:
    """Rank the titles for each text by their distance to it.

    Each distinct text is encoded and compared once; only the lists are kept of it.

    Args:
        model: a causal language model in inference mode.
        tokenizer: its tokenizer.
        texts: what was generated.
        titles: the catalogue, in the order that breaks ties.
        depth: length of the lists; of all titles, if they are fewer.
        device: of the model.

    Returns:
        A list for each text; its scores are distances with a minus.
    """
    vectors = embed(model, tokenizer, titles, device)
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    lists: dict[str, Ranking] = {}
    for start in progress(range(0, len(distinct), TEXTS), "texts to ground"):
        chunk = distinct[start : start + TEXTS]
        nearest_titles = nearest(embed(model, tokenizer, chunk, device), vectors, depth)
        indices, distances = (array.cpu().numpy() for array in nearest_titles)
        lists |= zip(chunk, map(Ranking, indices, -distances), strict=True)
    return [lists[text] for text in texts]


@torch.inference_mode()
def nearest(queries: Tensor, titles: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """The titles nearest to each query by L2 distance, nearest first, ties by the lower index.

    The distance is that of the float32 vectors, rounded to float32 once. A product of matrices
    loses digits of it, so that it only finds candidates, whose distances are then computed from the
    differences in float64. Where rounding (at most gamma_n, Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1) could have hidden a nearer title among the rest, every title
    that could be one is a candidate.

    Args:
        queries: (n, hidden) float32.
        titles: (m, hidden) float32.
        depth: length of the lists; m, if that is less.

    Returns:
        Indices (n, depth) int64 and distances (n, depth) float32.

    Raises:
        InputError: a vector is not finite, or too long for float32.
    """
    depth = min(depth, len(titles))
    # Norms need no copy of the titles, squares would.
    squares = torch.linalg.vector_norm(titles, dim=1).square()
    lengths = torch.linalg.vector_norm(queries, dim=1, dtype=torch.float64)
    if not (squares.isfinite().all() and lengths.square().float().isfinite().all()):
        raise InputError(
            "The model gives vectors that are not finite: its training has diverged, or its "
            "precision is too low; lower the learning rate, or set precision: fp32"
        )
    longest = squares.max().double().sqrt()
    rounding = torch.finfo(torch.float32).eps / 2 * (titles.shape[1] + 8)
    indices = torch.empty((len(queries), depth), dtype=torch.int64, device=queries.device)
    distances = torch.empty((len(queries), depth), device=queries.device)
    # One table for all chunks, as fresh memory costs time.
    tables = torch.empty((min(CHUNK, len(queries)), len(titles)), device=queries.device)
    for rows in torch.arange(len(queries), device=queries.device).split(CHUNK):
        # Squared distances without the query's own square.
        table = tables[: len(rows)]
        torch.addmm(squares, queries[rows], titles.T, alpha=-2, out=table)
        values, candidates = table.topk(min(depth + SPARE, len(titles)), largest=False)
        candidates = candidates.sort(1).values
        for part, ids in zip(rows.split(PART), candidates.split(PART), strict=True):
            exact = distance(queries[part, None], titles[ids])[:, 0].sort(stable=True)
            indices[part] = ids.gather(1, exact.indices[:, :depth])
            distances[part] = exact.values[:, :depth]
        # No title of the list exceeds this limit, which also covers the rounding of distances.
        limit = distances[rows, -1].double().square() * (1 + 2**-22) - lengths[rows].square()
        limit += rounding * (lengths[rows] + longest).square()
        for i in (values.max(1).values <= limit).nonzero()[:, 0]:
            ids = (table[i].double() <= limit[i]).nonzero()[:, 0]
            query = queries[rows[i], None]
            exact = torch.cat([distance(query, titles[part])[0] for part in ids.split(CHUNK)])
            exact = exact.sort(stable=True)
            indices[rows[i]] = ids[exact.indices[:depth]]
            distances[rows[i]] = exact.values[:depth]
    return indices, distances


def distance(queries: Tensor, titles: Tensor) -> Tensor:
    """L2 distances, (..., n, hidden) and (..., m, hidden) to (..., n, m) float32, rounded once."""
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(queries.double(), titles.double(), compute_mode=mode).float()


def merged(lists: Sequence[np.ndarray]) -> Ranking:
    """Merge equally long lists, (depth,) int64 titles of each beam, the best beam first, by rank:
    all firsts, then all seconds, each title once.

    There are as many titles as each list has; their scores are the ranks with a minus, as
    distances to several texts have no common order.
    """
    by_rank = np.stack(lists, axis=1).ravel()
    first = np.unique(by_rank, return_index=True)[1]
    depth = len(lists[0])
    ranks = np.arange(1, depth + 1, dtype=np.float32)
    return Ranking(by_rank[np.sort(first)][:depth], -ranks)
