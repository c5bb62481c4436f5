"""Every figure draws, from many panels down to one, and gives the same bytes again."""

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from scripts import style
from scripts.command import InputError, step_of
from scripts.contracts import CUTOFFS
from scripts.figures.gains import gains
from scripts.labels import Labels
from scripts.study.outputs import OUTPUTS
from tests.tiny_study import as_read

FIGURES = {output.name: output for output in OUTPUTS if output.figure}


def draw(name: str, frame: pd.DataFrame, path: Path, labels: Labels | None = None) -> None:
    """Draw a figure of the analysis as it is read from its CSV."""
    options = {"k": 10} if "k" in FIGURES[name].figure_options else {}
    step = step_of("scripts.figures", [name])
    style.save(step(as_read(frame), labels or Labels(), **options), path)


def texts(svg: Path) -> str:
    """All that is written in a figure, without blanks: it may be broken into lines."""
    return "".join("".join(ElementTree.parse(svg).getroot().itertext()).split())


def product(**columns: list) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(columns.values(), names=columns)
    frame = index.to_frame(index=False)
    numbers = np.random.default_rng(0).uniform(0.1, 0.2, len(frame))
    return frame.assign(value=numbers, low=numbers - 0.05, high=numbers + 0.05)


def inputs(name: str, objectives: list[str], datasets: list[str]) -> pd.DataFrame:
    cells = {"dataset": datasets, "backbone": ["tiny"], "objective": objectives, "seed": [0, 1]}
    metric = {"metric": ["hr", "ndcg"], "k": list(CUTOFFS)}
    if name == "data":
        points = [
            *[("popularity", "1", 9), ("popularity", "4", 5), ("history", "1", 1.0)],
            *[("history", "7", 0.2), ("cut", "7", 0.2), ("month", "2017-12", 0.4)],
            *[("month", "2018-01", 0.6), ("valid", "2018-01-03", 0.1), ("test", "2018-01-20", 0.1)],
        ]
        frame = pd.DataFrame(points, columns=["curve", "x", "y"])
        return pd.concat([frame.assign(dataset=dataset) for dataset in datasets])
    if name in {"gains", "accuracy", "sensitivity", "history_length", "dependence"}:
        del cells["seed"]
    if name == "gains":
        frame = product(**cells, **metric, decoder=["grounded"], history=["with"], base=["plain"])
        return frame.rename(columns={"value": "difference"})
    if name == "strata":
        members = pd.DataFrame(
            [("activity", "1–3"), ("activity", "4"), ("popularity", "cold"), ("popularity", "4")],
            columns=["by", "stratum"],
        )
        frame = product(**cells, **metric, decoder=["grounded"]).query("seed == 0")
        frame = frame.merge(members, how="cross").rename(columns={"value": "difference"})
        frame.loc[frame["stratum"] == "cold", ["low", "high"]] = np.nan
        return frame.assign(base="plain", examples=9)
    if name == "positions":
        del cells["seed"]
        measures = ["with_history", "without_history", "causal", "effect"]
        places = ["1", "2", "13+", "eos", "target", "titles"]
        frame = product(**cells, position=places, measure=measures).assign(base=None, n=9, users=3)
        frame = frame[(frame["position"] != "titles") | (frame["measure"] == measures[0])]
        compared = frame["position"].isin(["target", "titles"]) & (frame["objective"] != "plain")
        halves = product(**cells, position=["halves"], measure=["effect"])
        return pd.concat([frame, frame[compared].assign(base="plain"), halves])
    if name == "curves":
        frame = product(**cells, split=["train", "valid"], step=[1, 2, 3], epoch=[1])
        frame["equal_weight_loss"] = (frame["value"] + 1).where(frame["split"] == "valid")
        return frame.rename(columns={"value": "loss"}).drop(columns=["low", "high"])
    if name == "token_weights":
        frame = product(**cells, position=[1, 2, 3]).rename(columns={"value": "weight"})
        return frame.assign(alpha=0.1, tokens=9)
    if name == "cost":
        trained = product(**cells, phase=["training"]).assign(seconds_per_step=1.0)
        lists = product(**cells, phase=["decoding"], decoder=["grounded"], history=["with"])
        frame = pd.concat([trained, lists.assign(seconds_per_prompt=lists["value"])])
        return frame.assign(relative=1.0, peak_memory_mb=100.0)
    if name == "dependence":
        histories = ["with", "without", "wrong", "shuffled"]
        cells |= {"baseline": [""], "decoder": ["grounded", "constrained"], "history": histories}
        given = cells | {"baseline": ["mine"], "decoder": [""], "objective": [""]}
        frame = pd.concat([product(**cells, **metric), product(**given, **metric)])
        frame = frame.reset_index(drop=True)
        frame[["difference", "difference_low", "difference_high"]] = [-0.1, -0.12, -0.08]
        frame.loc[frame["history"] == "with", "difference"] = np.nan
        overlap = frame[(frame["history"] != "with") & (frame["k"] == 10)]
        overlap = overlap[overlap["metric"] == "hr"].assign(metric="overlap", difference=np.nan)
        return pd.concat([frame, overlap]).assign(examples=9, users=3)
    if name == "history_length":
        lengths = {"decoder": ["grounded"], "length": [10, 50]}
        records = ["training_seconds_per_step", "training_peak_memory_mb", "mean_history"]
        costs = product(**cells, **lengths, metric=records)
        frame = pd.concat([product(**cells, **metric, **lengths), costs], ignore_index=True)
        frame.loc[frame["k"].isna(), ["low", "high"]] = np.nan
        return frame
    if name == "sensitivity":
        frame = product(**cells, **metric, decoder=["grounded"], parameter=["alpha", "beta"])
        base = frame.assign(parameter="base", parameter_value=np.nan).drop_duplicates(
            [*cells, *metric]
        )
        return pd.concat([frame.assign(parameter_value=0.1), base]).assign(examples=9, users=3)
    cells["block"] = cells.pop("backbone")
    if name == "balance":
        return balance_rows(cells)
    frame = product(**cells, **metric, decoder=["grounded"]).assign(history="with")
    frame = frame.assign(baseline=None, examples=9, users=3)
    baseline = frame.assign(baseline="sasrec", objective=None, decoder=None)
    return pd.concat([frame, baseline]).drop_duplicates(
        [c for c in frame if c not in {"value", "low", "high"}]
    )


def balance_rows(cells: dict[str, list]) -> pd.DataFrame:
    """Of the objectives, a baseline and the histories."""
    cells = {name: values for name, values in cells.items() if name != "seed"}
    shares = product(**cells, measure=["share"], group=list(range(5))).assign(value=0.2)
    distances = product(**cells, measure=["total_variation"])
    frame = pd.concat([shares, distances]).assign(k=10, decoder="grounded")
    frame["base"] = frame["objective"].map(lambda name: None if name == "plain" else "plain")
    frame[["difference", "difference_low", "difference_high"]] = frame[["value", "low", "high"]]
    baseline = frame.assign(baseline="sasrec", objective=None, decoder=None, base=None)
    histories = shares.assign(objective=None)
    keys = ["dataset", "block", "baseline", "objective", "decoder", "measure", "group"]
    return pd.concat([histories, baseline, frame]).drop_duplicates(keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("several", [False, True])
def test_draws_in_four_formats(tmp_path: Path, name: str, several: bool) -> None:
    """Of several data sets and backbones, which need not share their objectives."""
    shown = Labels(datasets={"a": "_$x_$ {d} <&>"}, backbones={"tiny": "\\frac{$ 😀 日本"})
    frame = inputs(name, ["plain"], ["a"])
    if several:
        whole = inputs(name, ["plain", "weighted", "causal", "cft", "cft-alpha0.3"], ["a", "b"])
        other = inputs(name, ["plain", "cft"], ["a"]).replace("tiny", "other")
        frame = pd.concat([whole, other]).drop_duplicates()
    draw(name, frame, tmp_path / "figure.pdf", shown)
    assert shown.datasets["a"].replace(" ", "") in texts(tmp_path / "figure.svg")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "figure.svg").read_text()
    # What is printed: every text in one size, at the width of a column or of a page.
    assert set(re.findall(r"font-size: ([\d.]+)px|font: ([\d.]+)px", svg)) == {("8", "")}
    assert svg.count("<text") == svg.count("font-size")
    width = float(re.search(r'<svg [^>]*width="([\d.]+)pt"', svg)[1]) / 72
    assert round(width, 6) in {3.3, 6.9}
    # The PDF embeds its font as an outline font (type 42), not as bitmaps or drawings (type 3).
    assert b"/Type3" not in (tmp_path / "figure.pdf").read_bytes()
    assert set(pd.read_csv(tmp_path / "figure.csv")["dataset"]) == set(frame["dataset"])


def test_what_a_block_lacks_has_no_panel() -> None:
    """The first data set has no grounded lists, the second no others."""
    one = inputs("gains", ["cft"], ["a"]).assign(decoder="constrained")
    frame = pd.concat([one, inputs("gains", ["cft"], ["b"])])
    drawn = [axis for axis in gains(frame, Labels()).figure.axes if axis.axison]
    assert [axis.get_ylabel() for axis in drawn] == ["a\ntiny", "", "b\ntiny", ""]
    assert [axis.get_xlabel() for axis in drawn] == ["K"] * 4


def test_validations_are_drawn_with_equal_weights(tmp_path: Path) -> None:
    draw("curves", inputs("curves", ["plain", "cft"], ["a"]), tmp_path / "figure.pdf")
    drawn = pd.read_csv(tmp_path / "figure.csv").groupby("split")["drawn"].agg(["min", "max"])
    assert drawn.loc["train"].between(0.1, 0.2).all()
    assert drawn.loc["valid"].between(1.1, 1.2).all()


def test_costs_without_a_base_are_relative_to_nothing(tmp_path: Path) -> None:
    draw("cost", inputs("cost", ["cft"], ["a"]).assign(relative=np.nan), tmp_path / "figure.pdf")
    svg = (tmp_path / "figure.svg").read_text()
    assert "seconds per step" in svg
    assert "time / plain" not in svg


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw("accuracy", inputs("accuracy", ["plain", "cft"], ["a"]), tmp_path / f"{name}.pdf")
    for ending in (".pdf", ".svg", ".png", ".csv"):
        one = (tmp_path / "one").with_suffix(ending).read_bytes()
        assert one == (tmp_path / "two").with_suffix(ending).read_bytes(), ending


def test_an_empty_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Nothing to draw"):
        draw("accuracy", inputs("accuracy", ["plain"], ["a"]).head(0), tmp_path / "figure.pdf")


def test_a_name_looks_alike_in_every_figure() -> None:
    looks = style.looks(["other", "cft", "plain", "gru4rec"])
    assert list(looks) == ["plain", "cft", "gru4rec", "other"]
    assert style.looks(["another", "other"])["other"] == looks["other"]
    named = [*style.OBJECTIVES, *style.BASELINES]
    assert len(set(style.looks([*named, *"abcdefgh"]).values())) == len(named) + 8
    assert len({marker for _, marker in style.looks(named).values()}) == len(named)


#: Linear RGB as people without one kind of cone see it (Machado et al. 2009, severity 1).
SIGHTS = {
    "full": np.eye(3),
    "protanopia": [
        *([0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216]),
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        *([0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413]),
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(colour: str, sight: str) -> np.ndarray:
    """CIELAB (D65) of a colour under a kind of sight."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SIGHTS[sight]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("group", ["OBJECTIVES", "BASELINES"])
def test_colours_differ_for_the_colour_blind(group: str, sight: str) -> None:
    colours = [colour for colour, _ in getattr(style, group).values()]
    for one, two in itertools.combinations(colours, 2):
        assert np.linalg.norm(lab(one, sight) - lab(two, sight)) > 12, (one, two)


@pytest.mark.parametrize("count", [3, 4, 6])
def test_data_sets_have_a_panel_each(tmp_path: Path, count: int) -> None:
    names = list("abcdef"[:count])
    frame = inputs("data", [], names)
    # The histories of one are never cut.
    frame = frame[~((frame["dataset"] == "a") & (frame["curve"] == "cut"))]
    labels = Labels(datasets={name: f"_${name}_$" for name in names})
    draw("data", frame, tmp_path / "figure.pdf", labels)
    # Above its panel and in the legend.
    assert [texts(tmp_path / "figure.svg").count(f"_${name}_$") for name in names] == [2] * count
    assert pd.read_csv(tmp_path / "figure.csv")["dataset"].nunique() == count
