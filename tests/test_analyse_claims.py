"""Every claim gets the verdict that its interval gives it, and none is lost."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scripts.analyse.claimed import CLAIMS
from scripts.analyse.claims import claims, verdict
from scripts.cells import ALL
from scripts.files import read_csv, write_csv
from scripts.labels import Labels
from scripts.tables.claims import claims as table
from scripts.tables.format import write
from tests.tiny_study import as_read

#: Where a sample stands, on all hand-made rows.
WHERE = {"dataset": "toy", "backbone": "tiny", "decoder": "search"}
SIZE = {"seeds": 3, "shared_seeds": 3, "examples": 9, "users": 3}
GAIN = WHERE | SIZE | {"base": "plain", "history": "with", "metric": "ndcg", "k": 5, "p": 0.01}
HEADLINE = WHERE | SIZE | {"decoder": "grounded", "objective": "cft", "base": "plain", "p": 0.01}
BALANCE = {
    **{"dataset": "toy", "block": "tiny", "decoder": "search", "objective": "cft"},
    **{"measure": "total_variation", "k": 10, "low": 0.2, "high": 0.4, "p": 0.01},
    **SIZE,
}
CLOSER = {"difference": -0.1, "difference_low": -0.2, "difference_high": -0.05}
FARTHER = {"difference": 0.1, "difference_low": 0.05, "difference_high": 0.2}
UNCLEAR = {"low": -4, "high": 4, "p_holm": 0.9}


def judged(
    tmp_path: Path,
    analyses: dict[str, list[dict]],
    beyond: tuple[str, ...] = (),
    headline: tuple[str, ...] = ("toy",),
) -> pd.DataFrame:
    paths = [tmp_path / f"{name}.csv" for name in analyses]
    for path in paths:
        write_csv(pd.DataFrame(analyses[path.stem]), path)
    return as_read(
        claims(paths, list(beyond), ["grounded"], ["grounded", "search"], list(headline))
    )


def of(found: pd.DataFrame, words: str) -> pd.DataFrame:
    return found[found["claim"].str.contains(words)]


@pytest.mark.parametrize(
    ("line", "claim", "expected"),
    [
        ({}, {}, "supported"),
        ({"low": -0.2, "high": -0.1}, {}, "not supported"),
        ({"low": -0.1}, {}, "undecided at this size"),
        ({"low": 0.0}, {}, "undecided at this size"),
        ({"low": -0.2, "high": -0.1}, {"side": "below"}, "supported"),
        ({"low": 1.2, "high": 1.4}, {"bound": 2.0}, "not supported"),
        ({"low": 1.0, "high": 1.05}, {"side": "below", "bound": 1.1}, "supported"),
        ({"low": np.nan, "high": np.nan}, {}, "undecided at this size"),
        # An interval beside 0 is not enough.
        ({"p_holm": 0.049, "seeds": 2}, {}, "supported"),
        ({"p_holm": 0.05}, {}, "undecided at this size"),
        ({"p_holm": np.nan}, {}, "supported"),
        ({"p_holm": 0.001, "seeds": 1}, {}, "undecided with one seed"),
        ({"p_holm": 0.001, "seeds": 1}, {"trained": False}, "supported"),
        # A narrow interval around 0 excludes a relevant gain.
        (UNCLEAR | {"low_90": -2.9, "high_90": 2.9}, {}, "no relevant gain"),
        (UNCLEAR | {"low_90": -3.1, "high_90": 1.0}, {}, "undecided at this size"),
        (UNCLEAR | {"low_90": -1.0, "high_90": 3.1}, {}, "undecided at this size"),
    ],
)
def test_the_verdict_is_the_place_of_the_interval(line: dict, claim: dict, expected: str) -> None:
    """What is not given is that of a clear effect of three seeds, claimed to be above 0."""
    clear = {"low": 0.1, "high": 0.2, "low_90": np.nan, "high_90": np.nan, "p_holm": 0.01}
    asked = CLAIMS[0]._replace(**{"side": "above", "bound": 0.0, "trained": True} | claim)
    assert verdict(SimpleNamespace(**clear | {"seeds": 3} | line), asked) == expected


def test_published_effects_are_excluded_by_the_interval_alone(tmp_path: Path) -> None:
    """An effect can be undecided against 0 and yet exclude the published one."""
    row = HEADLINE | {"relative_gain": -5.3, "low": -11.4, "high": 0.8, "p": 0.09, "seed_sd": 3.0}
    found = judged(tmp_path, {"headline": [row]})
    (line,) = of(found, "BIGRec").itertuples()
    assert line.family == "primary"
    assert line.verdict == "undecided at this size"
    error = (0.8 + 11.4) / 2 / stats.norm.ppf(0.975)
    chances = [f"{stats.norm.sf((size + 5.3) / error):.0%}" for size in (9.8, 4.0)]
    assert line.published == (
        f"+9.8 %: excluded (chance of more: {chances[0]}); "
        f"+4.0 %: excluded (chance of more: {chances[1]})"
    )
    assert line.chance == pytest.approx(stats.norm.cdf(-5.3 / error))
    assert line.detectable == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error)
    one = judged(tmp_path, {"headline": [row | {"seeds": 1}]})
    assert one["published"].item() == "+9.8 %: not testable; +4.0 %: not testable"


def test_what_would_decide_is_solved_for_the_examples_or_the_seeds(tmp_path: Path) -> None:
    """Error 2 (half-width 3.92), of which the seeds' part is 1: sd sqrt(3) of three seeds. To see
    4 % needs the error 4 / 2.80 = 1.43, whose square 2.04 leaves 1.04 for the examples' 3."""
    row = HEADLINE | {"relative_gain": 1.0, "low": -2.92, "high": 4.92, "p": 0.6}
    row |= {"seed_sd": 3**0.5}
    (line,) = of(judged(tmp_path, {"headline": [row]}), "BIGRec").itertuples()
    wanted = (4 / (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))) ** 2
    assert line.needed == f"{3 / (wanted - 1):.1f} × the examples"
    # The seeds make up most of it: no number of examples helps, but seeds do.
    row |= {"seed_sd": 1.8 * 3**0.5}
    (line,) = of(judged(tmp_path, {"headline": [row]}), "BIGRec").itertuples()
    examples = 4 - 1.8**2
    assert line.needed == f"{int(np.ceil(3 * 1.8**2 / (wanted - examples)))} seeds"


def test_what_is_not_given_is_not_listed(tmp_path: Path) -> None:
    found = judged(tmp_path, {})
    assert found.empty
    assert "verdict" in found
    assert table(found, Labels()).rows["Claim"].item() == "This study measures none."


def test_gains_judge_the_parts(tmp_path: Path) -> None:
    less = {"difference": -0.02, "low": -0.03, "high": -0.01}
    even = {"difference": 0.0, "low": -0.01, "high": 0.01, "p": 0.9}
    gains = [
        GAIN | {"objective": "causal", "difference": 0.02, "low": 0.01, "high": 0.03},
        GAIN | less | {"objective": "weighted"},
        # Other metrics and histories are not read.
        GAIN | {"objective": "causal", "k": 10, "difference": 9, "low": 9, "high": 9},
        GAIN | {"objective": "cft", "difference": 9, "low": 9, "high": 9},
        GAIN | less | {"objective": "cft", "history": "without"},
        GAIN | even | {"objective": "cft", "base": "causal"},
    ]
    found = judged(tmp_path, {"gains": gains})
    (causal,) = of(found, "causal loss helps").itertuples()
    assert (causal.effect, causal.low, causal.high) == (0.02, 0.01, 0.03)
    assert causal.verdict == "supported"
    assert list(of(found, "weights help by")["verdict"]) == ["not supported"]
    assert list(of(found, "beat the causal loss")["verdict"]) == ["undecided at this size"]
    assert of(found, "beat the token weights").empty
    # Without the history a lower accuracy is what is claimed.
    assert list(of(found, "leans less")["verdict"]) == ["supported"]
    # Holm within the families, by hand: 3 and 2 times 0.01 for the parts, .01 for the history.
    assert sorted(found["p_holm"].dropna()) == pytest.approx([0.01, 0.03, 0.03, 0.9])


def test_headlines_go_to_their_claims(tmp_path: Path) -> None:
    row = HEADLINE | {"decoder": "search"}
    headline = [
        HEADLINE | {"relative_gain": 9.0, "low": 1.0, "high": 19.0},
        row | {"relative_gain": -9.0, "low": -19.0, "high": -1.0, "p": 0.02},
        row | {"decoder": "assisted", "relative_gain": 2.0, "low": -1.0, "high": 5.0, "p": 0.2},
        row | {"backbone": "other", "relative_gain": 5.0, "low": -1.0, "high": 9.0, "p": 0.5},
    ]
    headline[-1]["dataset"] = "books"
    found = judged(tmp_path, {"headline": headline}, beyond=("toy",))
    primary = found[found["family"] == "primary"]
    assert list(primary["effect"]) == [9.0, -9.0]
    assert list(primary["verdict"]) == ["supported", "not supported"]
    assert list(primary["p_holm"]) == pytest.approx([0.02, 0.02])
    assert list(of(found, "CFT beats D3")["decoder"]) == ["assisted"]
    assert list(of(found, "other backbones")["dataset"]) == ["books"]
    assert list(of(found, "beyond Amazon")["dataset"]) == ["toy"] * 3
    # A line that two claims of a family share is one test.
    assert list(of(found, "beyond Amazon")["p_holm"]) == pytest.approx([0.04, 0.06, 0.4])
    assert list(of(found, "CFT beats D3")["p_holm"]) == pytest.approx([0.4])


def test_a_line_of_one_seed_is_no_test_of_its_family(tmp_path: Path) -> None:
    row = GAIN | {"difference": 0.02, "low": 0.01, "high": 0.03}
    gains = [
        row | {"objective": "causal", "p": 0.03},
        row | {"objective": "causal", "backbone": "other", "seeds": 1, "p": 0.001},
    ]
    found = judged(tmp_path, {"gains": gains}).set_index("backbone")
    assert found.loc["tiny", ["p_holm", "verdict"]].tolist() == [0.03, "supported"]
    assert np.isnan(found.loc["other", "p_holm"])
    assert found.loc["other", "verdict"] == "undecided with one seed"


def test_the_primary_claims_are_about_the_mean_of_the_headline(tmp_path: Path) -> None:
    headline = [
        HEADLINE | {"dataset": name, "relative_gain": gain, "low": 1.0, "high": 9.0}
        for name, gain in (("toy", 3.0), ("books", 5.0), ("steam", 7.0), (ALL, 4.0))
    ]
    found = judged(tmp_path, {"headline": headline}, headline=("toy", "books"))
    assert list(found.loc[found["family"] == "primary", "dataset"]) == [ALL]
    assert list(of(found, "CFT beats BIGRec")["dataset"]) == ["toy", "books", "steam"]


def test_balance_positions_grid_lengths_and_search(tmp_path: Path) -> None:
    grid = GAIN | {"low": 0.5, "high": 0.6, "value": 0.5}
    grid |= {"range": 0.02, "range_low": 0.005, "range_high": 0.03}
    length = GAIN | {"objective": "cft", "low": 0.5, "high": 0.6}
    search = WHERE | SIZE | {"objective": "cft", "metric": "ndcg", "k": 10}
    found = judged(
        tmp_path,
        {
            "balance": [BALANCE | CLOSER, BALANCE | FARTHER | {"k": 20}],
            "positions": [
                WHERE
                | {"objective": "plain", "position": position, "value": effect, "p": 0.01}
                | {"low": effect - 0.1, "high": effect + 0.1, "n": 9, "users": 3, "seeds": 3}
                for position, effect in (("1", 7.0), ("halves", 0.3))
            ]
            + [
                WHERE
                | {"objective": "cft", "position": position, "base": "plain", "p": 0.01}
                | {"measure": measure, "value": value, "low": value - 0.1, "high": value + 0.1}
                | {"n": 9, "users": 3, "seeds": 3}
                for position, measure, value in (
                    ("target", "with_history", -0.4),
                    ("titles", "with_history", 0.4),
                    ("target", "without_history", -40.0),
                )
            ],
            "sensitivity": [
                grid | {"parameter": "alpha"},
                grid | {"parameter": "alpha", "value": 0.6},
                grid | {"parameter": "beta", "range_high": 0.014},
                grid | {"parameter": "base", "range": None},
            ],
            "history_length": [
                length | {"length": 10, "difference": None},
                length | {"length": 20} | CLOSER,
                length | {"length": 50} | FARTHER,
            ],
            "search_error": [
                search | {"beams": None, "difference": 0.0, "low": 0.0, "high": 0.0},
                search | {"beams": 10, "difference": -0.3, "low": -0.4, "high": -0.2},
                search | {"beams": 50, "difference": -0.1, "low": -0.2, "high": 0.0},
            ],
        },
    )
    for words, effect, verdict_of in (
        ("balanced", -0.1, "supported"),
        ("first tokens", 0.3, "supported"),
        ("target more likely$", -0.4, "not supported"),
        ("among all titles", 0.4, "supported"),
        ("target less likely", -40, "supported"),
        # The range in percent of plain's 0.5, whatever the gain.
        ("on alpha", 4, "undecided at this size"),
        ("on beta", 4, "supported"),
        ("Longer histories", 0.1, "supported"),
        ("Beam search", -0.1, "undecided at this size"),
    ):
        (line,) = of(found, words).itertuples()
        assert (line.effect, line.verdict) == (pytest.approx(effect), verdict_of), words
    assert of(found, "on alpha")["high"].item() == pytest.approx(6)


def test_another_history_is_judged_by_the_contrast_on_the_seeds_that_the_base_shares(
    tmp_path: Path,
) -> None:
    """A third seed of the objective says nothing of a difference to a base that lacks it."""
    seeds = {"seeds": 3, "shared_seeds": 2}
    row = GAIN | seeds | {"objective": "cft", "history": "wrong", "low": 0.1, "high": 0.2}
    # What is kept counts, not the difference, which is smaller where less can be lost.
    row |= {"contrast": 0.02, "contrast_low": 0.01, "contrast_high": 0.03, "contrast_p": 0.01}
    row |= {"kept_contrast": -9.0, "kept_contrast_low": -16.0, "kept_contrast_high": -2.0}
    other = row | {"history": "without", "kept_contrast": 9, "kept_contrast_low": 9}
    balance = BALANCE | CLOSER | seeds
    analyses = {"dependence": [row | {"kept_contrast_p": 0.04}, other], "balance": [balance]}
    found = judged(tmp_path, analyses)
    (line,) = of(found, "own history").itertuples()
    assert (line.effect, line.low, line.high, line.p_holm) == (-9, -16, -2, 0.04)
    for claim in ("own history", "balanced"):
        (line,) = of(found, claim).itertuples()
        assert (line.seeds, line.verdict) == (2, "supported")


def test_times_are_judged_by_the_interval_of_their_logarithms(tmp_path: Path) -> None:
    row = {"dataset": "toy", "backbone": "tiny", "objective": "cft", "examples": 9}
    row |= {"crowded": False, "tokens_per_step": None, "peak_memory_mb": None}
    train = row | {"phase": "training", "decoder": None, "history": None}
    decode = row | {"phase": "decoding", "decoder": "search", "history": "with"}
    cost = [
        *(train | {"seed": i, "relative": r} for i, r in enumerate((1.2, 1.3, 1.4))),
        *(decode | {"seed": i, "relative": r} for i, r in enumerate((1.0, 1.05, 1.2))),
        decode | {"seed": 1, "relative": 9.0, "history": "without"},
        decode | {"seed": 0, "relative": 1.0, "decoder": "grounded"},
    ]
    found = judged(tmp_path, {"cost": cost})
    (training,) = of(found, "training time").itertuples()
    peer = stats.ttest_1samp(np.log([1.2, 1.3, 1.4]), 0).confidence_interval()
    assert training.effect == pytest.approx(stats.gmean([1.2, 1.3, 1.4]))
    assert (training.low, training.high) == pytest.approx(tuple(np.exp(peer)))
    assert training.verdict == "not supported"
    decoding = of(found, "to recommend").set_index("decoder")
    assert decoding.loc["search", "verdict"] == "undecided at this size"
    # One seed has no interval.
    assert decoding.loc["grounded", "effect"] == 1.0
    assert decoding.loc["grounded", ["low", "high"]].isna().all()
    assert decoding.loc["grounded", "verdict"] == "undecided with one seed"


def test_times_of_a_crowded_machine_are_no_results(tmp_path: Path) -> None:
    row = {"dataset": "toy", "backbone": "tiny", "phase": "training", "examples": 9}
    cost = [
        row | {"objective": objective, "seed": seed, "relative": relative, "crowded": crowded}
        for objective, seed, relative, crowded in [
            ("plain", 0, 1.0, True),  # The base's company spoils the ratio as well.
            ("plain", 1, 1.0, False),
            ("cft", 0, 1.3, False),
            ("cft", 1, 1.3, False),
        ]
    ]
    tokens = {"plain": 100, "cft": 120}
    cost = [
        one
        | {"decoder": None, "history": None, "peak_memory_mb": None}
        | {"tokens_per_step": tokens[one["objective"]] + one["seed"]}
        for one in cost
    ]
    # Tokens do not hang on the machine: 120/100 and 121/101.
    (line,) = judged(tmp_path, {"cost": cost}).itertuples()
    assert line.claim.startswith("CFT runs twice the tokens")
    assert line.effect == pytest.approx(np.sqrt(120 / 100 * 121 / 101))
    assert line.verdict == "not supported"


def test_every_decoder_and_data_set_has_its_own_largest(tmp_path: Path) -> None:
    """A decoder with short lists, and a set with a short ladder, keep their lines."""
    balance = BALANCE | CLOSER
    length = GAIN | FARTHER | {"objective": "cft", "low": 0.2, "high": 0.4}
    found = judged(
        tmp_path,
        {
            "balance": [balance, balance | {"decoder": "beams-5", "k": 5}],
            "history_length": [
                length | {"length": 50, "difference": 0.2},
                length | {"dataset": "other", "length": 100, "difference": 0.1},
                length | {"dataset": "other", "length": 20, "difference": 0.3},
            ],
        },
    )
    assert list(of(found, "balanced")["decoder"]) == ["search", "beams-5"]
    assert list(of(found, "Longer histories")["effect"]) == [0.2, 0.1]


def test_a_grid_of_few_seeds_is_not_listed(tmp_path: Path) -> None:
    grid = GAIN | {"seeds": 2, "value": 0.5, "range": 0.02, "range_low": 0.0, "range_high": 0.03}
    rows = [grid | {"parameter": name} for name in ("alpha", "base")]
    assert judged(tmp_path, {"sensitivity": rows}).empty


def test_the_table_shows_every_line(tmp_path: Path) -> None:
    gains = [
        GAIN
        | {"objective": "causal", "dataset": name}
        | {"difference": 0.02, "low": low, "high": 0.03}
        for name, low in (("toy", 0.01), ("other", -0.01))
    ]
    found = table(judged(tmp_path, {"gains": gains}), Labels(datasets={"toy": "Toy set"}))
    foot = pd.DataFrame({"about": ["device", "settings"], "words": ["a machine", "Set."]})
    write(found, foot, tmp_path / "table.csv")
    shown = read_csv(tmp_path / "table.csv")
    assert list(shown["Seeds"].astype(str).unique()) == ["3"]
    lines = shown[shown["Claim"] == "The causal loss helps by itself"]
    assert list(lines["Data set"]) == ["Toy set", "other"]
    assert list(lines["Effect"]) == ["+0.0200 [+0.0100, +0.0300]", "+0.0200 [−0.0100, +0.0300]"]
    assert list(lines["Verdict"]) == ["supported", "undecided at this size"]
    assert len(shown) == 2
    text = (tmp_path / "table.md").read_text()
    assert "9 test examples of 3 users; seeds per row: 3." in text
    assert "Device: a machine." in text
