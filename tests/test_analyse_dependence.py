from pathlib import Path

import numpy as np
import pytest

from scripts.analyse.dependence import dependence, overlaps
from scripts.command import InputError
from scripts.evaluate.bootstrap import Draws
from tests.tiny_study import USERS, llm, metrics, recommendations

HISTORIES = ("with", "without", "wrong")
#: Ranks of the target of four examples by objective, seed and history.
RANKS = {
    ("plain", 0): ([1, 1, 2, 2], [1, None, None, 2], [2, 2, 2, 2]),
    ("plain", 1): ([1, 2, 2, 1], [1, None, 2, 2], [2, 1, None, 2]),
    ("cft", 0): ([1, 1, 1, 2], [None] * 4, [2, None, 1, 2]),
    ("cft", 1): ([1, 1, 1, 1], [None, 1, None, None], [1, 2, None, 1]),
}
LISTS = {"with": range(10), "without": [9, 8, *range(10, 18)], "wrong": range(5, 15)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    paths, lists = [], []
    for (objective, seed), by_history in RANKS.items():
        for history, ranks in zip(HISTORIES, by_history, strict=True):
            cell = llm(objective, seed, history)
            paths.append(metrics(root, cell, ranks))
            lists.append(recommendations(root, cell, {i: LISTS[history] for i in range(4)}))
    # With a single history there is nothing to compare.
    paths.append(metrics(root, llm("cft", decoder="constrained"), [1, 1, 1, 1]))
    with pytest.MonkeyPatch.context() as patch:  # Hits by hand are few.
        patch.setattr("scripts.evaluate.measure.LEAST_HITS", 1)
        return dependence(paths, lists, k=10, draws=Draws(resamples=400))


def analysed(root, cells, k=10, depth=50):
    """The analysis of cells by their targets' ranks and the list that all their examples have."""
    paths = [metrics(root, cell, ranks, depth) for cell, (ranks, _) in cells.items()]
    lists = [
        recommendations(root, cell, dict.fromkeys(range(len(ranks)), shown))
        for cell, (ranks, shown) in cells.items()
    ]
    return dependence(paths, lists, k=k, draws=Draws(resamples=20))


def test_lists_are_compared_at_the_depth_that_is_asked_for(tmp_path):
    """Lists of five have no top 10, and are compared all the same."""
    shown = {"with": [0, 1, 2, 3, 4], "without": [4, 9, 3, 8, 7]}
    cells = {llm(history=name): ([1, 2, None, None], items) for name, items in shown.items()}
    found = analysed(tmp_path, cells, k=5, depth=5)
    assert set(found.loc[found["value"].isna(), "k"]) == {10, 20, 50}
    (row,) = found.query("metric == 'overlap'").itertuples()
    assert (row.k, row.value) == (5, pytest.approx(2 / 5))


def hits(objective, history):
    """(2, 4) HR@1 by hand."""
    which = HISTORIES.index(history)
    rows = [RANKS[objective, seed][which] for seed in (0, 1)]
    return np.array([[float(rank == 1) for rank in row] for row in rows])


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("objective", ["plain", "cft"])
def test_means_by_hand(study, objective, history):
    row = study.query("objective == @objective and history == @history and metric == 'hr' and k==1")
    row = row.iloc[0]
    value, own = hits(objective, history), hits(objective, "with")
    assert row["value"] == pytest.approx(value.mean())
    assert row["seed_sd"] == pytest.approx(value.mean(axis=1).std(ddof=1))
    assert (row["seeds"], row["examples"], row["users"]) == (2, 4, 3)
    if history == "with":
        assert row[["difference", "p", "contrast", "base"]].isna().all()
        return
    change = (value - own).mean()
    assert row["difference"] == pytest.approx(change)
    assert row["difference_low"] <= change <= row["difference_high"]
    if objective == "plain":
        assert row[["contrast", "contrast_p", "base"]].isna().all()
        return
    others = (hits("plain", history) - hits("plain", "with")).mean()
    assert row["base"] == "plain"
    assert row["contrast"] == pytest.approx(change - others)
    assert row["contrast_low"] <= change - others <= row["contrast_high"]


def test_what_is_kept_by_hand(study):
    rows = study.query("history == 'wrong' and metric == 'hr' and k == 1").set_index("objective")
    # HR@1 1/8 of 4/8, and 3/8 of 7/8.
    assert rows["kept"].to_dict() == {
        "plain": pytest.approx(100 / 4),
        "cft": pytest.approx(300 / 7),
    }
    assert np.isnan(rows.loc["plain", "kept_contrast"])
    assert rows.loc["cft", "kept_contrast"] == pytest.approx(300 / 7 - 100 / 4)
    assert study.query("history == 'with' or metric == 'overlap'")["kept"].isna().all()


def test_intervals_draw_users_and_seeds(study):
    """Against all pairs of draws: three users (ann has two examples) and two seeds."""
    change = (hits("cft", "without") - hits("cft", "with")).reshape(2, 4)
    change = change - (hits("plain", "without") - hits("plain", "with"))
    rows = [[i for i, user in enumerate(USERS) if user == name] for name in ("ann", "bob", "cid")]
    means = [
        np.mean([change[seed, [i for user in users for i in rows[user]]].mean() for seed in seeds])
        for users in np.ndindex(3, 3, 3)
        for seeds in np.ndindex(2, 2)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    row = study.query(
        "objective == 'cft' and history == 'without' and metric == 'hr' and k == 1"
    ).iloc[0]
    assert (row["contrast_low"], row["contrast_high"]) == pytest.approx((low, high), abs=0.13)


def test_overlap_is_with_the_list_with_the_history(study):
    rows = study[study["metric"] == "overlap"].set_index(["objective", "history"])
    assert set(rows.index) == {(o, h) for o in ("plain", "cft") for h in ("without", "wrong")}
    assert (rows["k"] == 10).all()
    for history, share in (("without", 0.2), ("wrong", 0.5)):
        for objective in ("plain", "cft"):
            row = rows.loc[(objective, history)]
            assert row[["value", "low", "high"]].tolist() == pytest.approx([share] * 3)
            assert np.isnan(row["difference"])
        assert row["contrast"] == 0
    assert set(study["decoder"]) == {"grounded"}


def test_a_condition_of_one_seed_is_paired_with_it_alone(tmp_path):
    """With both seeds the second's accuracy would count as a fall."""
    half = ([1, None, 1, None], [0])
    cells = {llm(): half, llm(seed=1): ([1, 1, 1, 1], [0]), llm(history="wrong"): half}
    rows = analysed(tmp_path, cells).query("metric == 'hr' and k == 1").set_index("history")
    assert rows["seeds"].to_dict() == {"with": 2, "wrong": 1}
    assert rows["value"].to_dict() == {"with": 0.75, "wrong": 0.5}
    assert rows.loc["wrong", "difference"] == 0


def test_a_contrast_counts_the_seeds_that_the_base_shares(tmp_path):
    seeds = {"plain": [0], "cft": [0, 1]}
    cells = [llm(o, s, h) for o in seeds for s in seeds[o] for h in ("with", "wrong")]
    rows = analysed(tmp_path, dict.fromkeys(cells, ([1, 1, None, 1], [0])))
    rows = rows.query("metric == 'hr' and k == 1").set_index(["objective", "history"])
    assert rows.loc[("cft", "wrong"), ["seeds", "shared_seeds"]].tolist() == [2, 1]
    assert rows.drop(index=("cft", "wrong"))["shared_seeds"].isna().all()


def test_overlap_counts_the_top_alone_and_is_unknown_beyond_a_list(tmp_path: Path) -> None:
    one = recommendations(tmp_path, llm(), {0: [1, 2, 3], 1: [1, 2, 3]})
    two = recommendations(tmp_path, llm("cft"), {0: [2, 1, 9], 1: [9, 8, 1]})
    assert overlaps(one, two, top=2).tolist() == [1, 0]
    assert overlaps(one, two, top=3).tolist() == pytest.approx([2 / 3, 1 / 3])
    short = recommendations(tmp_path, llm("causal"), {0: [1, 2, 3], 1: [1, 2]})
    for pair in ((one, short), (short, one)):
        assert overlaps(*pair, top=3).isna().tolist() == [True, True]


def test_a_pair_without_lists_is_named(tmp_path: Path) -> None:
    cells = [llm(), llm(history="without")]
    with pytest.raises(InputError, match="no recommendations were given"):
        dependence([metrics(tmp_path, c, [1]) for c in cells], [], k=10)
