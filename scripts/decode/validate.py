"""Accuracy on validation examples, which decides the settings of an objective."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.command import run
from scripts.decode.model import Finetuned, load
from scripts.decode.recommend import rank
from scripts.decode.settings import Decoder
from scripts.evaluate.per_example import measured
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.files import read_json, write_json
from scripts.metrics import gains
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
    titles = recommender.catalogue["title"]
    sample = subsample(read_examples(valid, len(titles)), examples, EVALUATION_SEED)
    started = time.perf_counter()
    lists, _ = rank(recommender, sample, decoder, None, None)
    known = sample.set_index("example_id")[["user", "target"]]
    ranks = measured(lists, known, pd.Series(pd.factorize(titles)[0]))["rank"]
    facts = {
        "objective": read_json(finetuned.model / "run.json")["settings"]["objective"],
        "validation_ndcg": float(gains(ranks.to_numpy(float, na_value=np.nan), 10).mean()),
        "examples": len(sample),
        "seconds": time.perf_counter() - started,
    }
    write_json(facts | provenance(recommender.device), output)


if __name__ == "__main__":
    run(validate)
