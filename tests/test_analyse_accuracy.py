from pathlib import Path

import numpy as np
import pytest

from scripts.analyse.accuracy import accuracy
from scripts.command import InputError
from scripts.evaluate.blocks import FULL_TEST, blocks_of
from scripts.evaluate.bootstrap import Draws
from tests.tiny_study import baseline, llm, metrics


def test_baselines_are_recomputed_on_the_examples_of_each_backbone(tmp_path: Path) -> None:
    # The baseline hits on examples 0 and 1 alone; the backbone saw examples 1 and 2.
    popular = metrics(tmp_path, baseline("most-popular"), [1, 1, None, None])
    model = metrics(tmp_path, llm(), [1, 2], depth=10, first=1)
    found = accuracy([popular, model], Draws(resamples=50))
    # A cut-off beyond the model's lists is null.
    null = found[["value", "low", "high"]].isna().all(axis=1)
    assert (null == ((found["k"] > 10) & (found["baseline"] == ""))).all()
    known = found[~null]
    assert (known["low"] <= known["value"]).all()
    assert (known["value"] <= known["high"]).all()
    hr = found[(found["metric"] == "hr") & (found["k"] == 1)].set_index(["block", "baseline"])
    assert hr.loc[("tiny", "most-popular"), "value"] == 0.5
    assert hr.loc[("tiny", ""), "value"] == 0.5
    assert hr.loc[(FULL_TEST, "most-popular"), "value"] == 0.5
    assert list(hr["examples"]) == [2, 2, 4]
    assert list(hr["users"]) == [2, 2, 3]
    ndcg = found[(found["metric"] == "ndcg") & (found["k"] == 3)]
    ndcg = ndcg.set_index(["block", "baseline"])["value"]
    assert ndcg["tiny", ""] == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_recommenders_are_averaged_over_their_seeds(tmp_path: Path) -> None:
    paths = [
        metrics(tmp_path, baseline("most-popular"), [1, None, None, 1]),
        metrics(tmp_path, llm("plain", 0), [1, 1, None, None]),  # HR@1 1/2
        metrics(tmp_path, llm("plain", 3), [1, 1, 1, None]),  # 3/4
        metrics(tmp_path, llm("cft", 0), [1, None, None, None]),
    ]
    found = accuracy(paths, Draws(resamples=2000))
    found["name"] = found["baseline"] + found["objective"]
    assert found["name"].unique().tolist() == ["most-popular", "plain", "cft"]
    hr = found[(found["metric"] == "hr") & (found["k"] == 1) & (found["block"] == "tiny")]
    hr = hr.set_index("name")
    assert hr["value"].to_dict() == {"most-popular": 0.5, "plain": 0.625, "cft": 0.25}
    assert hr["seeds"].to_dict() == {"most-popular": 1, "plain": 2, "cft": 1}
    assert hr.loc["plain", "seed_sd"] == pytest.approx(0.125 * 2**0.5)
    assert hr["seed_sd"].isna().to_dict() == {"most-popular": True, "plain": False, "cft": True}
    # Whoever is drawn, ann alone gives 1; cid alone 0 with either seed; no HR lies beyond.
    assert (hr.loc["plain", "low"], hr.loc["plain", "high"]) == (0, 1)


def test_cells_of_a_backbone_with_other_examples_are_refused(tmp_path: Path) -> None:
    one = metrics(tmp_path, llm("plain"), [1, 2, 3])
    two = metrics(tmp_path, llm("cft"), [1, 2, 3], first=1)
    with pytest.raises(InputError, match=r"cft.*1 examples are missing and 1 are surplus"):
        accuracy([one, two], Draws(resamples=10))


def test_every_block_begins_with_the_baselines() -> None:
    cells = [llm(backbone="a"), llm(backbone="b"), baseline("sasrec")]
    blocks = blocks_of(Path("metrics") / f"{cell.path}.parquet" for cell in cells)
    assert {key: list(found) for key, found in blocks.items()} == {
        ("toy", "a"): [cells[2], cells[0]],
        ("toy", "b"): [cells[2], cells[1]],
        ("toy", FULL_TEST): [cells[2]],
    }
