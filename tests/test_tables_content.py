"""Every table from tidy CSV: the rows it has and what it must not claim."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.analyse.accuracy import accuracy as analyse_accuracy
from scripts.analyse.balance import balance as analyse_balance
from scripts.analyse.dependence import dependence as analyse_dependence
from scripts.analyse.gains import gains as analyse_gains
from scripts.analyse.headline import headline as analyse_headline
from scripts.analyse.search_error import search_error as analyse_search_error
from scripts.analyse.sensitivity import sensitivity as analyse_sensitivity
from scripts.analyse.tuning import tuning as analyse_tuning
from scripts.cells import cell_of
from scripts.command import InputError
from scripts.contracts import CUTOFFS
from scripts.data.settings import Published, References
from scripts.evaluate.bootstrap import Draws
from scripts.evaluate.measure import METRICS
from scripts.files import read_csv, write_csv, write_json
from scripts.labels import Labels, Method
from scripts.tables.ablation import ablation
from scripts.tables.accuracy import accuracy
from scripts.tables.backbones import backbones
from scripts.tables.balance import balance
from scripts.tables.beyond_amazon import beyond_amazon
from scripts.tables.concentration import concentration
from scripts.tables.cost import cost
from scripts.tables.cutoffs import cutoffs
from scripts.tables.dependence import dependence
from scripts.tables.format import Table, write
from scripts.tables.search_error import search_error
from scripts.tables.sensitivity import sensitivity
from scripts.tables.statistics import show, statistics
from scripts.tables.tuning import tuning
from tests.tiny_study import (
    as_read,
    baseline,
    catalogue,
    llm,
    metrics,
    prepared,
    recommendations,
    split,
)

LABELS = Labels(datasets={"toy": "Toy"}, baselines={"pop": "Most popular"})
METHODS = [
    Method(label="BIGRec", objective="plain", decoder="grounded"),
    Method(label="BIGRec + CFT", objective="cft", decoder="grounded", base="BIGRec"),
    Method(label="absent", objective="cft", decoder="constrained", base="BIGRec"),
]
FEW = Draws(resamples=50)

pytestmark = pytest.mark.usefixtures("any_hits")


def datasets_of(paths: list[Path]) -> list[str]:
    return list({cell_of(path).dataset for path in paths})


def written(table: Table, folder: Path) -> pd.DataFrame:
    """The CSV of a table; its Markdown is `t.md`."""
    write(table, None, folder / "t.csv")
    return read_csv(folder / "t.csv")


@pytest.fixture
def measured(tmp_path: Path) -> list[Path]:
    return [
        metrics(tmp_path, baseline("pop"), [1, None, None, None]),
        metrics(tmp_path, llm("plain", 0), [2, None, 1, None]),
        metrics(tmp_path, llm("plain", 1), [2, None, None, None]),
        metrics(tmp_path, llm("cft", 0), [2, 1, 1, None]),
        metrics(tmp_path, llm("cft", 1), [2, 1, 1, None]),
    ]


def analysed(measured: list[Path], bases: tuple[str, ...] = ("plain",)) -> dict[str, pd.DataFrame]:
    """The analyses of accuracy by name."""
    frames = {
        "accuracy": analyse_accuracy(measured, FEW),
        "gains": analyse_gains(measured, {base: [] for base in bases}, Draws(resamples=4000)),
        "headline": analyse_headline(measured, datasets_of(measured), FEW),
    }
    return {name: as_read(frame) for name, frame in frames.items()}


def test_accuracy(tmp_path: Path, measured: list[Path]) -> None:
    found = accuracy(**analysed(measured), labels=LABELS, methods=METHODS, references={})
    table = written(found, tmp_path)
    assert table["Method"].tolist() == [
        *("Most popular", "BIGRec", "BIGRec + CFT"),
        *("gain over BIGRec", "difference to BIGRec", "Most popular"),
    ]
    assert table["Data set"].unique().tolist() == ["Toy"]
    by_name = table.drop_duplicates("Method").set_index("Method")
    # HR@5 of plain is 2/4 and 1/4, of cft 3/4 twice.
    assert by_name.loc["Most popular", "HR@5"].startswith("0.2500 [")
    assert by_name.loc["BIGRec", "HR@5"].startswith("0.3750 [")
    assert by_name.loc["BIGRec + CFT", "HR@5"].startswith("0.7500 [")
    assert by_name.loc["gain over BIGRec", "HR@5"].startswith("+100.0 %; p ")
    assert by_name.loc["difference to BIGRec", "HR@5"].startswith("+0.3750 [")
    text = (tmp_path / "t.md").read_text()
    assert "**0.7500 [" in text
    assert "undecided" in text
    assert "4 test examples of 3 users; seeds per row: 1 to 2" in text
    assert "outside reference" not in text


def test_p_values_are_adjusted_over_the_comparisons_that_are_shown(
    tmp_path: Path, measured: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"hr@5": 0.01, "hr@10": 0.04, "ndcg@5": 0.03, "ndcg@10": 0.005}
    # The other cut-offs are not shown and do not count.
    p = [points.get(metric, 0.0) for metric in METRICS]
    here = "scripts.evaluate.measure.p_value"
    monkeypatch.setattr(here, lambda samples: np.resize(p, samples.shape[1]))
    # Neither do differences without the history, nor those to another base.
    cells = [llm(objective, history="without") for objective in ("plain", "cft")]
    paths = [*measured, *(metrics(tmp_path, cell, [1, None, None, None]) for cell in cells)]
    frames = analysed(paths, ("plain", "cft"))
    assert frames["gains"]["p_holm"].count() == 2 * 4
    table = accuracy(**frames, labels=LABELS, methods=METHODS, references={})
    gain = written(table, tmp_path).set_index("Method").loc["gain over BIGRec"]
    found = [gain[name].partition("; p ")[2] for name in ("HR@5", "HR@10", "NDCG@5", "NDCG@10")]
    # Holm's method by hand, see test_holm.
    assert found == ["0.030", "0.060", "0.060", "0.020"]


def test_outside_references_stand_apart(tmp_path: Path, measured: list[Path]) -> None:
    frames = analysed(measured)
    ours = written(accuracy(**frames, labels=LABELS, methods=METHODS, references={}), tmp_path)
    values = {"D3": {"hr@5": 0.9, "ndcg@10": 0.8}}
    references = {"toy": References(source="a paper", setting="a model", methods=values)}
    said = [METHODS[0], METHODS[1].model_copy(update={"published_gain": "9.8 % there"})]
    found = accuracy(**frames, labels=LABELS, methods=said, references=references)
    table = written(found, tmp_path)
    outside = table.iloc[-1]
    assert (outside["Data set"], outside["Method"]) == ("Toy (outside reference)", "D3")
    assert outside[["HR@5", "HR@10", "NDCG@10"]].tolist() == ["0.9000", "–", "0.8000"]
    pd.testing.assert_frame_equal(table.iloc[:-1], ours)
    text = (tmp_path / "t.md").read_text()
    assert "**0.9000" not in text
    assert "for comparison only (Toy): a paper; a model." in text
    assert "no result of this study: BIGRec + CFT: 9.8 % there." in text


def test_cutoffs(tmp_path: Path, measured: list[Path]) -> None:
    table = written(cutoffs(as_read(analyse_accuracy(measured, FEW)), LABELS, METHODS), tmp_path)
    table = table.drop_duplicates("Method").set_index("Method")
    assert len([name for name in table if name.startswith(("HR@", "NDCG@"))]) == 2 * len(CUTOFFS)
    assert table.loc["Most popular", "HR@1"] == "0.2500"
    assert table.loc["BIGRec", "HR@5"] == "0.3750 ± 0.1768"
    assert table.loc["BIGRec + CFT", "HR@5"] == "0.7500 ± 0.0000"
    assert "**0.7500 ± 0.0000**" in (tmp_path / "t.md").read_text()


def test_ablation(tmp_path: Path, measured: list[Path]) -> None:
    frames = analysed(measured)
    table = written(ablation(frames["accuracy"], frames["gains"], LABELS), tmp_path)
    table = table.set_index("Objective")
    assert table.loc["plain", "Δ HR@5"] == "–"
    assert table.loc["cft", "HR@5"] == "0.7500 ± 0.0000"
    assert table.loc["cft", "Δ HR@5"].startswith("+0.3750 [")


def test_backbones_and_sets_beyond(tmp_path: Path, measured: list[Path]) -> None:
    other = [
        metrics(tmp_path, llm("plain", backbone="big"), [1, None]),
        metrics(tmp_path, llm("cft", backbone="big"), [1, 1]),
        *(
            metrics(tmp_path, llm(objective)._replace(dataset="far"), [1, None])
            for objective in ("plain", "cft")
        ),
    ]
    frames = analysed([*measured, *other])
    inputs = {"gains": frames["gains"], "headline": frames["headline"]}
    inputs |= {"labels": LABELS, "methods": METHODS}
    table = written(backbones(**inputs), tmp_path)
    assert table["Data set"].unique().tolist() == ["Toy"]
    assert table["Backbone"].tolist() == ["tiny", "tiny", "big", "big"]
    shown = table["HR@5"].str.partition(" ")[0].tolist()
    assert shown == ["+100.0", "+0.3750", "+100.0", "+0.5000"]
    table = written(beyond_amazon(**inputs, datasets=["far"]), tmp_path)
    assert table[["Data set", "Method", "Row"]].to_numpy().tolist() == [
        ["far", "BIGRec + CFT", "gain over BIGRec"],
        ["far", "BIGRec + CFT", "difference to BIGRec"],
    ]
    assert table["HR@5"].tolist() == ["+0.0 %; p 1.000", "+0.0000 [+0.0000, +0.0000]"]
    # The mean over data sets, of the backbone that has two.
    last = written(accuracy(frames["accuracy"], **inputs, references={}), tmp_path).iloc[-1]
    assert last["Data set"] == "mean of 2 data sets"
    assert last["Method"] == "BIGRec + CFT, gain over BIGRec"


def test_names_may_look_like_numbers_or_nothing(tmp_path: Path) -> None:
    """The tables are those of a plain word."""
    cells = [baseline("word"), llm("plain"), llm("word"), llm("word", history="without")]
    cells = [one._replace(dataset="word") for one in cells]
    cells = [one._replace(backbone="word", decoder="word") for one in cells[1:]] + cells[:1]
    paths = [metrics(tmp_path, one, [i + 1, None, 1]) for i, one in enumerate(cells)]
    points = {"word": {"alpha": 0.1, "beta": 1.0}}
    analyses = {
        "accuracy": analyse_accuracy(paths, FEW),
        "gains": analyse_gains(paths, {"plain": [], "word": []}, FEW),
        "headline": analyse_headline(paths, datasets_of(paths), FEW),
        "sensitivity": analyse_sensitivity(paths[:2], points, "word", FEW),
    }

    def tables(name: str) -> list[dict]:
        frames = {key: as_read(frame.replace("word", name)) for key, frame in analyses.items()}
        grid = sensitivity(frames.pop("sensitivity"), Labels())
        parts = ablation(frames["accuracy"], frames["gains"], Labels())
        methods = [
            Method(label="base", objective="plain", decoder=name),
            Method(label=name, objective=name, decoder=name, base="base"),
        ]
        whole = accuracy(**frames, labels=Labels(), methods=methods, references={})
        return [one.rows.replace(name, "word").to_dict("list") for one in (whole, parts, grid)]

    expected = tables("word")
    assert "gain over base" in expected[0]["Method"]
    assert "word" in expected[1]["Objective"]
    for name in ("007", "1e5", "NA", "true"):
        assert tables(name) == expected, name


def test_balance_and_dependence(tmp_path: Path) -> None:
    catalogue(tmp_path, [0, 1, 2, 3, 4])
    split(tmp_path, [[0, 1], [2, 3]])
    cells = [llm(), llm(history="without")]
    lists = [recommendations(tmp_path, c, {0: [4, 3, 2], 1: [4, 3, 1]}) for c in cells]
    found = as_read(analyse_balance(lists, prepared(tmp_path), 1, FEW))
    table = written(balance(found, LABELS, k=1), tmp_path).set_index("Method")
    assert table.loc["users' histories", "Group 0"] == 25
    assert table.loc["plain, grounded", "Group 4"] == 100
    assert table.loc["plain, grounded", "Distance"] == "1.000"
    assert table.loc["plain, grounded", "95 % interval"] == "[1.000, 1.000]"
    table = written(concentration(found, LABELS, k=1), tmp_path).set_index("Method")
    assert table.loc["users' histories", "Coverage"].startswith("0.800 [")
    assert table.loc["plain, grounded", "Coverage"].startswith("0.200 [")
    assert table.loc["plain, grounded", "Gini"].startswith("0.800 [")
    measured = [metrics(tmp_path, c, [1, None]) for c in cells]
    found = as_read(analyse_dependence(measured, lists, 10, FEW))
    table = written(dependence(found, LABELS, k=10), tmp_path)
    row = table.iloc[0]
    assert (row["History"], row["NDCG@10"], row["Δ NDCG@10"]) == ("with", 0.5, "–")
    row = table.iloc[1]
    assert row["History"] == "without"
    # Not known: the lists are shorter.
    assert row["Overlap@10"] == "–"
    assert row["Δ NDCG@10"] == "+0.0000 [+0.0000, +0.0000]; p 1.000"
    assert row["Δ beyond base"] == "–"
    # Given lists of two histories join it, on the model's examples and on all; of one they do not.
    given = [baseline("mine"), baseline("mine")._replace(history="wrong"), baseline("other")]
    lists += [recommendations(tmp_path, c, {0: [4], 1: [4]}) for c in given]
    measured += [metrics(tmp_path, c, [1, 1]) for c in given[:1]]
    measured += [metrics(tmp_path, c, [1, None]) for c in given[1:]]
    found = as_read(analyse_dependence(measured, lists, 10, FEW))
    table = written(dependence(found, LABELS, k=10), tmp_path)
    mine = table[table["Objective"] == "mine"]
    assert mine["Examples of"].tolist() == ["tiny", "tiny", "full test split", "full test split"]
    assert mine["NDCG@10"].tolist() == [1, 0.5] * 2
    assert mine["Decoder"].tolist() == ["–"] * 4
    assert len(table) == 6


def test_sensitivity(tmp_path: Path, measured: list[Path]) -> None:
    points = {"cft": {"alpha": 0.1, "beta": 0.25}}
    found = as_read(analyse_sensitivity(measured[1:], points, "cft", FEW))
    table = written(sensitivity(found, LABELS), tmp_path)
    assert table["Varied"].tolist() == ["α = 0.1", "base", "β = 0.25"]
    table = table.set_index("Varied")
    # Both rows of the centre are one comparison: its p-values are adjusted once.
    assert table.loc["α = 0.1", "Δ HR@5"] == table.loc["β = 0.25", "Δ HR@5"]
    assert table.loc["base", "Δ HR@5"] == "–"


def test_what_was_tried_and_what_was_chosen(tmp_path: Path) -> None:
    paths = []
    tried = {"cft-a": (0.1, None, 0.2), "cft-b": (0.3, 1e-3, 0.25), "plain-c": (0.0, 1e-3, 0.1)}
    for name, (alpha, rate, ndcg) in tried.items():
        paths.append(tmp_path / f"{llm(name, 1000 if rate else 3).path}.json")
        objective = {"alpha": alpha, "beta": 1.0, "learning_rate": rate}
        write_json({"objective": objective, "validation_ndcg": ndcg, "examples": 50}, paths[-1])
    objectives = {name: name.partition("-")[0] for name in tried}
    table = written(tuning(as_read(analyse_tuning(paths, objectives)), LABELS), tmp_path)
    assert table[["Objective", "α", "Learning rate", "NDCG@10", "Chosen"]].to_numpy().tolist() == [
        ["cft", 0.1, "–", 0.2, "no"],
        ["cft", 0.3, "0.001", 0.25, "yes"],
        ["plain", 0.0, "0.001", 0.1, "yes"],
    ]
    assert "with the seed 3, 1000: " in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_cost(tmp_path: Path) -> None:
    row = {
        **{"dataset": "toy", "backbone": "tiny", "objective": "cft", "seed": 0},
        **{"phase": "training", "decoder": None, "history": None, "device": "cpu", "examples": 64},
        **{"steps": 10, "seconds": 20.0, "seconds_per_step": 2.0, "seconds_per_epoch": 19.0},
        **{"load_average": 1.25, "threads": 1, "cores": 2, "tokens_per_step": 100.0},
        **{"peak_memory_mb": 500.0, "truncated_prompts": 0, "seconds_per_prompt": None},
        **{"relative": 1.9, "crowded": False},
    }
    decoding = row | {"phase": "decoding", "decoder": "grounded", "history": "with"}
    decoding |= {"seconds_per_step": None, "seconds_per_prompt": 0.5, "steps": None}
    decoding |= {"seconds_per_epoch": None, "load_average": 4.0, "crowded": True}
    table = written(cost(as_read(pd.DataFrame([row, decoding])), LABELS), tmp_path)
    assert table["Phase"].tolist() == ["training", "grounded, with"]
    assert table["Seconds per step / prompt"].tolist() == [2, 0.5]
    assert table["Steps"].tolist() == ["10", "–"]
    assert table["Seconds per epoch"].tolist() == ["19.0", "–"]
    text = (tmp_path / "t.md").read_text()
    assert "Device: cpu. Seeds: 0." in text
    assert "1 of 2 runs were on a machine with over one process more than it has cores: " in text
    assert "1.2 to 4.0 on 2 cores;" in text
    assert "their times say little" in text
    written(cost(as_read(pd.DataFrame([row])), LABELS), tmp_path)
    assert "their times say little" not in (tmp_path / "t.md").read_text()


VIDEO_GAMES = {
    **{"first_malformed": "x", "lines.read": "9000", "users": "12", "title_tokens.q2.5_a.max": "9"},
    **{"title_tokens.q2.5_a.mean": "3.25", "title_tokens.q2.5_a.too_long": "2"},
    **{"splits.train.cold_targets": "0", "splits.test.cold_targets": "2"},
    **{"splits.test.tied_targets": "4", "tied_steps.in_order_of.item": "0.9"},
    **{"tied_steps.sorted_by": "item", "items_that_share_a_title": "25"},
    **{"splits.test.examples": "8", "items": "1010", "window.start": "2013-10"},
}


def statistics_table(tmp_path: Path, values: dict, published: Published | None) -> pd.DataFrame:
    rows = [{"dataset": "toy", "statistic": key, "value": value} for key, value in values.items()]
    labels = LABELS.model_copy(update={"backbones": {"q2.5_a": "Q 2.5_a"}})
    known = {"toy": published} if published else {}
    return written(statistics(as_read(pd.DataFrame(rows)), labels, known), tmp_path)


def test_statistics(tmp_path: Path) -> None:
    table = statistics_table(tmp_path, VIDEO_GAMES, None)
    assert table.to_numpy().tolist() == [
        ["prepared", "users", "12"],
        ["prepared", "items", "1,010"],
        ["prepared", "items that share a title", "25"],
        ["prepared", "tied steps: sorted by", "item"],
        ["prepared", "window: start", "2013-10"],
        ["prepared", "title tokens, Q 2.5_a", "3.25 / 9"],
        ["prepared", "titles too long for training.max_tokens, Q 2.5_a", "2"],
        ["test", "examples", "8"],
        ["test", "cold targets", "2 (25.0 %)"],
        ["test", "tied targets", "4 (50.0 %)"],
        ["raw", "lines: read", "9,000"],
        ["raw", "lines: malformed", "0"],
    ]
    assert table.columns.tolist() == ["Group", "Statistic", "Toy"]
    assert "published numbers" not in (tmp_path / "t.md").read_text()
    assert show("0.01234567") == "0.01235"
    assert show(None) == "–"


def test_a_reason_that_one_set_lacks_is_0_there(tmp_path: Path) -> None:
    reasons = ("lines.malformed.no JSON", "dropped_reviews.repeated")
    rows = [("toy", key, 3) for key in reasons] + [("other", "users", 2)]
    frame = as_read(pd.DataFrame(rows, columns=["dataset", "statistic", "value"]))
    # Its label is that of another column.
    labels = Labels(datasets={"toy": "Toy", "other": "Group"})
    table = written(statistics(frame, labels, {}), tmp_path).set_index("Statistic").astype(str)
    both = ["Toy", "Group (data set)"]
    assert table.loc["repeated", both].tolist() == ["3", "0"]
    assert table.loc["lines: malformed: no JSON", both].tolist() == ["3", "0"]
    assert table.loc["users", both].tolist() == ["–", "2"]


@pytest.mark.parametrize(
    ("numbers", "differences", "says"),
    [
        ({"items": 1010, "test": 8}, ["0", "0"], "All agree exactly: items, test: examples."),
        (
            {"items": 1000, "test": 8},
            ["+10 (+1.00 %)", "0"],
            "Agree exactly: test: examples. Differ: items. Why: reason not known.",
        ),
        (
            {"items": 2020, "start": "2012-09", "note": "another release"},
            ["−1,010 (−50.00 %)", "+13 months"],
            "Differ: items, window: start. Why: our window starts in 2013-10, the published one "
            "starts in 2012-09; another release.",
        ),
        ({"items": 1010, "note": "another release"}, ["0"], "All agree exactly: items."),
        ({"train": 7}, ["–"], "Not known for ours: train: examples."),
    ],
)
def test_published_statistics_stand_apart(
    tmp_path: Path, numbers: dict, differences: list[str], says: str
) -> None:
    published = Published(source="a later paper", **numbers)
    table = statistics_table(tmp_path, VIDEO_GAMES, published)
    assert table.loc[table["Group"] == "difference", "Toy"].tolist() == differences
    text = (tmp_path / "t.md").read_text()
    assert f"Toy: published numbers: a later paper. {says}\n" in text
    # Ours stand as they would without the published ones.
    ours = table[~table["Group"].isin(["published", "difference"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, statistics_table(tmp_path, VIDEO_GAMES, None))


def test_a_window_without_a_start_is_a_reason(tmp_path: Path) -> None:
    values = VIDEO_GAMES | {"window.start": None}
    published = Published(source="x", items=9, start="2012-10")
    table = statistics_table(tmp_path, values, published).set_index(["Group", "Statistic"])["Toy"]
    assert table["difference", "window: start"] == "no bound"
    text = (tmp_path / "t.md").read_text()
    assert "Why: our window has no start, the published one starts in 2012-10." in text


def test_published_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no number to compare with"):
        Published(source="x", note="y")


def audited(tmp_path: Path, seed: int, **changed: list) -> Path:
    """An audit of two examples: the search misses the target of the first one."""
    frame = pd.DataFrame(
        {
            "example_id": [1, 2] * 3,
            "user": ["ann", "bob"] * 3,
            "beams": pd.array([None, None, 5, 5, 10, 10], dtype="Int64"),
            "rank": pd.array([1, 30, None, None, None, None], dtype="Int64"),
            "overlap": [1.0, 1.0, 0.3, 0.5, 0.3, 0.5],
            "proven": [True, True, False, True, False, True],
        }
        | changed
    )
    path = tmp_path / f"toy/tiny/plain/seed-{seed}.csv"
    write_csv(frame, path)
    return path


def test_search_error_of_several_seeds(tmp_path: Path) -> None:
    found = pd.array([1, 30, None, None, 1, None], dtype="Int64")
    paths = [audited(tmp_path, 0), audited(tmp_path, 1, rank=found, proven=[True] * 6)]
    frame = analyse_search_error(paths, FEW).query("beams == 10 and metric == 'hr'")
    (row,) = frame.itertuples()
    # The one training finds neither target, the other that of the first example.
    assert (row.value, row.difference, row.proven, row.seeds) == (0.25, -0.25, 0.75, 2)
    other = audited(tmp_path, 2, example_id=[3, 2] * 3)
    with pytest.raises(InputError, match=r"seed-2\.csv: other examples or widths"):
        analyse_search_error([paths[0], other])


def test_search_error(tmp_path: Path) -> None:
    found = as_read(analyse_search_error([audited(tmp_path, 0)], Draws(resamples=400)))
    assert set(found["seeds"]) == {1}
    table = written(search_error(found, LABELS), tmp_path).set_index("Beams")
    assert table.loc["exact", "HR@10"] == "0.5000"
    assert table.loc["exact", "Δ HR@10"] == "–"
    columns = ["Overlap@10", "Proven", "HR@10", "NDCG@10"]
    assert table.loc["10", columns].tolist() == ["0.400 [0.300, 0.500]", "0.50", "0.0000", "0.0000"]
    # A list of five has no tenth place.
    assert table.loc["5", columns].tolist() == ["0.400 [0.300, 0.500]", "0.50", "–", "–"]
    assert table.loc["5", "Δ HR@10"] == "–"
    # In a quarter of the draws of two users both are the second, whose change is 0: p is twice
    # that, adjusted over two comparisons.
    effect, p = table.loc["10", "Δ HR@10"].split("; p ")
    assert effect == "−0.5000 [−1.0000, +0.0000]"
    assert float(p) == pytest.approx(1, abs=0.1)
