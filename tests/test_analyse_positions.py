from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.analyse.positions import positions
from scripts.command import InputError
from scripts.contracts import TOKEN_EFFECTS
from scripts.evaluate.bootstrap import Draws
from scripts.files import write_csv
from tests.tiny_study import llm, token_effects


def test_positions_by_hand(tmp_path: Path) -> None:
    rows = []
    for example, (user, tokens) in enumerate([("ann", 3), ("ann", 2), ("bob", 16)]):
        for position in range(1, tokens + 1):
            logs = (-0.5, -0.5 - position - example, -0.25)
            rows.append((example, user, position, tokens, *logs, ""))
    found = positions([token_effects(tmp_path, llm("cft", 7), rows)], draws=Draws(resamples=50))
    places = [*map(str, range(1, 13)), "13+", "eos", "target"]
    measures = ["with_history", "without_history", "causal", "effect"]
    expected = [(place, measure) for place in places for measure in measures]
    expected.append(("halves", "effect"))
    assert list(zip(found["position"], found["measure"], strict=True)) == expected
    assert set(found["objective"]) == {"cft"}
    assert set(found["seeds"]) == {1}
    assert set(found["base"]) == {""}
    # Log-probabilities are not compared with 0.
    assert (found["p"].isna() == (found["measure"] != "effect")).all()
    rows_of = found.set_index(["measure", "position"])["value"]
    assert rows_of["with_history", "2"] == -0.5
    assert rows_of["without_history", "2"] == pytest.approx(-0.5 - 3)
    # The whole answers: 3, 2 and 16 tokens.
    assert rows_of["with_history", "target"] == pytest.approx(-0.5 * (3 + 2 + 16) / 3)
    assert rows_of["causal", "target"] == pytest.approx(-0.25 * (3 + 2 + 16) / 3)
    assert rows_of["effect", "target"] == pytest.approx((6 + 5 + 16 * 17 / 2 + 32) / 3)
    rows_of = found[found["measure"] == "effect"].set_index("position")
    assert rows_of.loc["target", "n"] == 3
    assert rows_of.loc["1", "value"] == pytest.approx(2)
    assert rows_of.loc["1", "n"] == 3
    # The second token of the middle example is its eos.
    assert rows_of.loc["2", "value"] == pytest.approx(np.mean([2, 4]))
    assert rows_of.loc["13+", "value"] == pytest.approx(np.mean([15, 16, 17]))
    assert rows_of.loc["eos", "value"] == pytest.approx(np.mean([3, 3, 18]))
    assert (rows_of.loc["eos", "n"], rows_of.loc["eos", "users"]) == (3, 2)
    # Of the last example tokens 2 to 14 lie between the quotes: effects 4 to 16, halves of six.
    assert rows_of.loc["halves", "value"] == pytest.approx(-7)
    assert (rows_of.loc["halves", "n"], rows_of.loc["halves", "users"]) == (1, 1)


def effects(tmp_path: Path, seed: int, tokens: int, shift: float) -> Path:
    rows = [
        (example, user, position, tokens, shift - position, -2.0 * shift, -1.0, "")
        for example, user in enumerate("abc")
        for position in range(1, tokens + 1)
    ]
    return token_effects(tmp_path, llm("plain", seed), rows)


def test_halves_leave_out_quotes_end_and_middle(tmp_path: Path) -> None:
    # Tokens 2 to 6 lie between the quotes; effects fall by 1: (2, 3) against (5, 6).
    found = positions([effects(tmp_path, 0, 8, 0.0)], draws=Draws(resamples=50))
    halves = found.set_index("position").loc["halves"]
    assert list(halves[["value", "low", "high"]]) == [3, 3, 3]
    assert halves["p"] == pytest.approx(2 / 51)


def test_the_target_among_all_titles_is_compared_on_the_audited_examples(tmp_path: Path) -> None:
    frame = {"example_id": [4, 5] * 2, "user": ["ann", "bob"] * 2, "beams": [None, None, 9, 9]}
    paths, audits = [], []
    for objective, values in (("plain", [-2.0, -4.0]), ("cft", [-1.0, -4.5])):
        audits.append(tmp_path / "audits" / f"{llm(objective).model}.csv")
        write_csv(pd.DataFrame(frame | {"among_titles": [*values, None, None]}), audits[-1])
        rows = [
            (i, user, p, 2, -1.0, -2.0, -1.0, "") for i, user in enumerate("abc") for p in (1, 2)
        ]
        paths.append(token_effects(tmp_path, llm(objective), rows))
    found = positions(paths, audits, Draws(resamples=50)).query("position == 'titles'")
    assert found["measure"].tolist() == ["with_history"] * 3
    assert found[["objective", "base"]].to_numpy().tolist() == [
        ["plain", ""],
        ["cft", ""],
        ["cft", "plain"],
    ]
    assert found["value"].tolist() == [-3, -2.75, 0.25]
    assert (found["n"].tolist(), found["users"].tolist()) == ([2] * 3, [2] * 3)
    write_csv(pd.DataFrame(frame | {"among_titles": -1.0, "example_id": [4, 6] * 2}), audits[1])
    with pytest.raises(InputError, match="other examples than in"):
        positions(paths, audits)


def test_seeds_are_averaged_and_crossed(tmp_path: Path) -> None:
    paths = [effects(tmp_path, seed, 4, float(seed)) for seed in (0, 1)]
    found = positions(paths, draws=Draws(resamples=200)).set_index(["position", "measure"])
    # Users do not differ: the interval is that of two seeds alone, -1 and 2, which tell little;
    # that of Student's t, 0.5 +- 12.7 x 1.5, bounds it.
    first = found.loc["1", "effect"]
    assert list(first[["value", "seeds"]]) == [0.5, 2]
    assert -18.56 < first["low"] < -5.5
    assert 6.5 < first["high"] < 19.56
    # No probability is above 1.
    assert found.loc["1", "without_history"]["high"] == 0
    with pytest.raises(InputError, match="other tokens"):
        positions([paths[0], effects(tmp_path, 1, 5, 0.0)], draws=Draws(resamples=50))


def test_the_whole_target_is_compared_with_plain_branch_by_branch(tmp_path: Path) -> None:
    """A shortcut: the effect grows, though the target is less likely with its history, too."""
    places = [(0, "ann", 3), (1, "ann", 2), (2, "bob", 4)]
    rows = [(e, user, i, n) for e, user, n in places for i in range(1, n + 1)]
    frame = pd.DataFrame(rows, columns=TOKEN_EFFECTS.names[:4])
    first, generator, paths = frame["position"] == 1, np.random.default_rng(0), []
    for seed in range(4):
        logs = -generator.uniform(1, 9, (2, len(frame)))
        # Levels differ over users and seeds, paired differences do not; seed 3 has no plain model.
        by = (100, 100) if seed == 3 else (0.5, 8)
        models = {"plain": logs, "cft": [log - first * d for log, d in zip(logs, by, strict=True)]}
        for objective, (known, unknown) in models.items():
            if (objective, seed) not in {("plain", 3), ("cft", 0)}:
                branches = {"with_history": known, "without_history": unknown}
                table = frame.assign(**branches, causal=-1.0, token="")
                paths.append(token_effects(tmp_path, llm(objective, seed), table))
    found = positions(paths, draws=Draws(resamples=200))
    found = found[found["base"] != ""].set_index("measure")
    assert set(zip(found["objective"], found["base"], found["position"], strict=True)) == {
        ("cft", "plain", "target")
    }
    for measure, change in {"with_history": -0.5, "without_history": -8, "effect": 7.5}.items():
        row = found.loc[measure]
        assert list(row[["value", "low", "high"]]) == pytest.approx([change] * 3, abs=1e-5)
        assert list(row[["p", "seeds", "n", "users"]]) == [pytest.approx(2 / 201), 2, 3, 2]
