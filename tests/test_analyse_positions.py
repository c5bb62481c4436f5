from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.analyse.positions import positions
from scripts.command import InputError
from scripts.contracts import TOKEN_EFFECTS
from scripts.evaluate.bootstrap import Draws
from scripts.files import write_table
from tests.tiny_study import llm


def test_positions_by_hand(tmp_path: Path) -> None:
    rows = []
    for example, (user, tokens) in enumerate([("ann", 3), ("ann", 2), ("bob", 16)]):
        for position in range(1, tokens + 1):
            rows.append((example, user, position, tokens, -1.0, -1.0 - position - example))
    frame = pd.DataFrame(rows, columns=TOKEN_EFFECTS.names)
    path = tmp_path / f"{llm('cft', 7).model}.parquet"
    write_table(frame, path, TOKEN_EFFECTS)
    found = positions([path], Draws(resamples=50))
    assert list(found["position"]) == [*map(str, range(1, 13)), "13+", "eos", "halves"]
    assert set(found["objective"]) == {"cft"}
    assert set(found["seeds"]) == {1}
    rows_of = found.set_index("position")
    assert rows_of.loc["1", "effect"] == pytest.approx(2)
    assert rows_of.loc["1", "n"] == 3
    # The second token of the middle example is its eos.
    assert rows_of.loc["2", "effect"] == pytest.approx(np.mean([2, 4]))
    assert rows_of.loc["13+", "effect"] == pytest.approx(np.mean([15, 16, 17]))
    assert rows_of.loc["eos", "effect"] == pytest.approx(np.mean([3, 3, 18]))
    assert (rows_of.loc["eos", "n"], rows_of.loc["eos", "users"]) == (3, 2)
    # Of the last example tokens 2 to 14 lie between the quotes: effects 4 to 16, halves of six.
    assert rows_of.loc["halves", "effect"] == pytest.approx(-7)
    assert (rows_of.loc["halves", "n"], rows_of.loc["halves", "users"]) == (1, 1)


def effects(tmp_path: Path, seed: int, tokens: int, shift: float) -> Path:
    rows = [
        (example, user, position, tokens, shift - position, -1.0)
        for example, user in enumerate("abc")
        for position in range(1, tokens + 1)
    ]
    path = tmp_path / f"{llm('plain', seed).model}.parquet"
    write_table(pd.DataFrame(rows, columns=TOKEN_EFFECTS.names), path, TOKEN_EFFECTS)
    return path


def test_halves_leave_out_quotes_end_and_middle(tmp_path: Path) -> None:
    # Tokens 2 to 6 lie between the quotes; effects fall by 1: (2, 3) against (5, 6).
    found = positions([effects(tmp_path, 0, 8, 0.0)], Draws(resamples=50))
    halves = found.set_index("position").loc["halves"]
    assert list(halves[["effect", "low", "high"]]) == [3, 3, 3]
    assert halves["p"] == pytest.approx(2 / 51)


def test_seeds_are_averaged_and_crossed(tmp_path: Path) -> None:
    paths = [effects(tmp_path, seed, 4, float(seed)) for seed in (0, 1)]
    first = positions(paths, Draws(resamples=200)).set_index("position").loc["1"]
    # Users do not differ: the interval is that of two seeds alone, 0 and 1, which tell little; that
    # of Student's t, 0.5 +- 12.7 x 0.5, bounds it.
    assert list(first[["effect", "seeds"]]) == [0.5, 2]
    assert -5.85 < first["low"] < -1.5
    assert 2.5 < first["high"] < 6.85
    with pytest.raises(InputError, match="other tokens"):
        positions([paths[0], effects(tmp_path, 1, 5, 0.0)], Draws(resamples=50))
