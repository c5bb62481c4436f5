"""Accuracy on validation examples, which decides the settings of an objective."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.command import run
from scripts.decode.model import Finetuned, load, queries_of
from scripts.decode.recommend import rankings
from scripts.decode.settings import Decoder
from scripts.decode.trie import build_trie
from scripts.decode.tune_assistant import ndcg
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.files import read_json, write_json
from scripts.provenance import provenance


def validate(
    finetuned: Finetuned, valid: Path, examples: int, decoder: Decoder, output: Path
) -> None:
    """Write the NDCG@10 of a model on validation examples, with their histories.

    Args:
        finetuned: the model.
        valid: validation examples.
        examples: size of the sub-sample of them, the same for every model.
        decoder: how the model becomes a ranking, not an assisted one.
        output: JSON to write: objective (the model's), validation_ndcg (a target beyond its list
            counts as a miss), examples, seconds, and where it ran.
    """
    recommender = load(finetuned)
    sample = read_examples(valid, len(recommender.catalogue))
    sample = subsample(sample, examples, EVALUATION_SEED)
    queries, _ = queries_of(sample, recommender)
    started = time.perf_counter()
    lists = rankings(recommender, build_trie(recommender.titles.tokens), queries, decoder)
    facts = {
        "objective": read_json(finetuned.model / "run.json")["settings"]["objective"],
        "validation_ndcg": ndcg(lists, recommender.titles.of_item[sample["target"]]),
        "examples": len(sample),
        "seconds": time.perf_counter() - started,
    }
    write_json(facts | provenance(recommender.device), output)


if __name__ == "__main__":
    run(validate)
