"""Choose the weight of an assisted decoder's language model, once for all histories."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from scripts.command import run
from scripts.decode.model import Finetuned, Ranking, load, queries_of
from scripts.decode.recommend import guides, rank_constrained
from scripts.decode.settings import Assisted
from scripts.decode.trie import build_trie
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.files import write_json
from scripts.metrics import gains
from scripts.provenance import provenance


def tune_assistant(
    finetuned: Finetuned, valid: Path, assistant: Path, decoder: Assisted, output: Path
) -> None:
    """Decode a sample of the validation split, with its histories, with every weight.

    Args:
        finetuned: the model.
        valid: validation examples.
        assistant: model of the baseline that assists.
        decoder: an assisted decoder, whose `g` are tried.
        output: JSON to write: g (the chosen one), validation_ndcg (NDCG@10 by g), tune_examples
            (how many), seconds, and where it ran.
    """
    recommender = load(finetuned)
    examples = read_examples(valid, len(recommender.catalogue))
    examples = subsample(examples, decoder.tune_examples, EVALUATION_SEED)
    queries, _ = queries_of(examples, recommender)
    trie = build_trie(recommender.titles.tokens)
    guide = guides(recommender, trie, assistant)
    targets = recommender.titles.of_item[examples["target"]]
    started = time.perf_counter()
    measured = {}
    for g in decoder.g:
        lists = rank_constrained(recommender, trie, queries, decoder, partial(guide, g))
        measured[g] = ndcg(lists, targets)
    write_json(
        {
            "g": best_weight(measured),
            "validation_ndcg": measured,
            "tune_examples": len(examples),
            "seconds": time.perf_counter() - started,
            **provenance(recommender.device),
        },
        output,
    )


def ndcg(lists: list[Ranking], targets: np.ndarray) -> float:
    """Mean NDCG@10 of lists, given each example's target as an index of a title."""
    ranks = [
        np.append(np.flatnonzero(one.titles == target) + 1.0, np.nan)[0]
        for one, target in zip(lists, targets, strict=True)
    ]
    return float(gains(np.array(ranks), 10).mean())


def best_weight(measured: dict[float, float]) -> float:
    """The weight with the best measure, of equal ones the largest."""
    return max(measured, key=lambda weight: (measured[weight], weight))


if __name__ == "__main__":
    run(tune_assistant)
