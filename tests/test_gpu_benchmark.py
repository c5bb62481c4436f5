"""The benchmark for a GPU, tried on the CPU."""

from __future__ import annotations

import time

import pandas as pd
import pytest

from scripts.decode.settings import Constrained, Grounded
from tests.benchmarks import finetune_step, gpu
from tests.benchmarks.measure import alone


@pytest.mark.slow
def test_any_parts_have_one_loss_and_a_failure_leaves_the_other_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(finetune_step, "EXAMPLES_DRAWN", 64)
    monkeypatch.setattr(gpu, "alone", lambda action, seconds: action())
    candidates = [("our CFT", 10), ("our CFT", 4), ("nothing", 1), ("released", 4)]
    monkeypatch.setattr(gpu, "STEPS", candidates)
    searches = [Constrained(kind="constrained"), Grounded(kind="grounded", max_new_tokens=4)]
    monkeypatch.setattr(gpu, "SEARCHES", searches)
    monkeypatch.setattr(gpu, "EXAMPLES", 10)
    monkeypatch.setattr(gpu, "TIMED", 1)
    gpu.benchmark(tmp_path / "out", "tiny", "cpu")
    rows = pd.read_json(tmp_path / "out" / "rows.jsonl", lines=True).set_index("what")
    assert rows["failed"].dropna().to_dict() == {"nothing, parts of 1": "KeyError: 'nothing'"}
    losses = rows["loss"].dropna()
    assert len(losses) == 3
    assert losses.max() - losses.min() < 1e-5 * losses.mean()
    assert rows["seconds an example"].count() == rows["loading"].count() == len(searches)


def test_what_takes_too_long_is_ended():
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        alone(time.sleep, 60, seconds=0.5, start="fork")
    assert time.monotonic() - began < 30
