from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.analyse.positions import positions
from scripts.cells import model_path
from scripts.contracts import TOKEN_EFFECTS
from scripts.files import read_csv, write_table


def test_positions_by_hand(tmp_path: Path) -> None:
    rows = []
    for example, (user, tokens) in enumerate([("ann", 3), ("ann", 2), ("bob", 16)]):
        for position in range(1, tokens + 1):
            rows.append((example, user, position, tokens, -1.0, -1.0 - position - example))
    frame = pd.DataFrame(rows, columns=TOKEN_EFFECTS.names)
    path = tmp_path / f"{model_path('toy', 'tiny', 'cft', 7)}.parquet"
    write_table(frame, path, TOKEN_EFFECTS)
    positions([path], tmp_path / "out.csv", resamples=50)
    found = read_csv(tmp_path / "out.csv").astype({"position": str})
    assert list(found["position"]) == [*map(str, range(1, 13)), "13+", "eos"]
    assert set(found["objective"]) == {"cft"}
    assert set(found["seed"]) == {7}
    rows_of = found.set_index("position")
    assert rows_of.loc["1", "effect"] == pytest.approx(2)
    assert rows_of.loc["1", "n"] == 3
    # The second token of the middle example is its eos.
    assert rows_of.loc["2", "effect"] == pytest.approx(np.mean([2, 4]))
    assert rows_of.loc["13+", "effect"] == pytest.approx(np.mean([15, 16, 17]))
    assert rows_of.loc["eos", "effect"] == pytest.approx(np.mean([3, 3, 18]))
    assert (rows_of.loc["eos", "n"], rows_of.loc["eos", "users"]) == (3, 2)
