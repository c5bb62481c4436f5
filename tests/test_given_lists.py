"""Lists of other programs: ours go out and come back the same, and what does not fit is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from scripts.baselines.given_lists import recommend
from scripts.command import InputError
from scripts.contracts import CATALOGUE, CUTOFFS, PER_EXAMPLE
from scripts.evaluate.per_example import evaluate
from scripts.evaluate.trec import export
from scripts.files import read_table, write_table
from tests.small_data import lists_of, write_catalogue, write_examples, write_recommendations

#: Ids as bad as sources have them.
USERS = ["ann lee", "50%", "bob:2", "%20"]
#: Item 2 is another edition of item 0, which stands for both.
TITLES = ["Up", "Heat", "Up", *(f"title {i}" for i in range(3, 80))]
STANDING = [item for item in range(80) if item != 2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """A prepared data set of 40 test examples, ten a user; the first target is item 2."""
    folder = tmp_path_factory.mktemp("data")
    file = write_catalogue(folder / "catalogue.parquet", TITLES, [1, *[0] * 79])
    items = read_table(file, CATALOGUE)
    write_table(items.assign(item=["a b", "1%", *items["item"][2:]]), file, CATALOGUE)
    targets = np.random.default_rng(0).integers(3, 80, 40).tolist()
    rows = [(USERS[i % 4], [1], target) for i, target in enumerate([2, *targets[1:]])]
    examples = folder / "examples"
    write_examples(examples / "train.parquet", [(user, [0], 1) for user in USERS])
    write_examples(examples / "valid.parquet", [("50%", [0, 1], 1)], first=4)
    write_examples(examples / "test.parquet", rows, first=5)
    return folder


@pytest.fixture
def exported(dataset: Path, tmp_path: Path, request) -> Path:
    """Lists of 50 items with equal scores, as a run with qrels beside their Parquet file."""
    rng = np.random.default_rng(1)
    rows = [
        (example, rank, item)
        for example in range(5, getattr(request, "param", 45))
        for rank, item in enumerate(rng.permutation(STANDING)[:50], 1)
    ]
    write_recommendations(tmp_path / "ours.parquet", rows)
    export(tmp_path / "ours.parquet", dataset, "ours", tmp_path / "ours.run")
    return tmp_path


def rows_of(run: Path) -> pd.DataFrame:
    """A run with the source's ids."""
    names = ["example", "Q0", "item", "rank", "score", "tag"]
    frame = pd.read_csv(run, sep=" ", names=names, dtype={"item": str})
    ids = frame[["example", "item"]].map(unquote)
    return ids.assign(score=frame["score"])


@pytest.mark.parametrize("name", ["ours.run", "given.csv", "given.parquet"])
def test_what_goes_out_comes_back(dataset: Path, exported: Path, name: str) -> None:
    rows = rows_of(exported / "ours.run").sample(frac=1, random_state=0)
    rows.to_csv(exported / "given.csv", index=False)
    rows.to_parquet(exported / "given.parquet")
    recommend(exported / name, dataset, exported / "back.parquet")
    assert lists_of(exported / "back.parquet") == lists_of(exported / "ours.parquet")


@pytest.mark.parametrize("exported", [45, 20], indirect=True, ids=["all", "sub-sample"])
def test_agrees_with_ranx(dataset: Path, exported: Path) -> None:
    """Also where the target is another edition of what is listed."""
    ranx = pytest.importorskip("ranx")
    test, items = dataset / "examples/test.parquet", dataset / "catalogue.parquet"
    evaluate([exported / "ours.parquet"], test, items, [exported / "metrics"])
    ours = read_table(exported / "metrics", PER_EXAMPLE)
    assert ours["rank"].notna().iloc[0]
    assert ours["rank"].isna().any()
    qrels = ranx.Qrels.from_file(str(exported / "ours.qrels"), kind="trec")
    run = ranx.Run.from_file(str(exported / "ours.run"), kind="trec")
    names = [line.split()[0] for line in (exported / "ours.qrels").read_text().splitlines()]
    for metric, theirs in (("hr", "hit_rate"), ("ndcg", "ndcg")):
        for k in CUTOFFS:
            ranx.evaluate(qrels, run, f"{theirs}@{k}")
            found = [run.scores[f"{theirs}@{k}"][name] for name in names]
            np.testing.assert_allclose(ours[f"{metric}@{k}"], found, atol=1e-6)


def test_ties_and_editions_by_hand(dataset: Path, exported: Path) -> None:
    """Equal scores stay in the order of the file; a title keeps its best place."""
    rows = rows_of(exported / "ours.run")
    first = rows["example"] == "ann lee:3"
    items = ["i5", "i2", "i4", "a b", "i3"]
    by_hand = pd.DataFrame(
        {"example": "ann lee:3", "item": items, "score": [1, 2, 1, 0, float("-inf")]}
    )
    pd.concat([by_hand, rows[~first]]).to_csv(exported / "given.csv", index=False)
    recommend(exported / "given.csv", dataset, exported / "back.parquet", depth=20)
    back = lists_of(exported / "back.parquet")
    assert back[5] == [0, 5, 4, 3]
    assert {len(items) for items in back.values()} == {4, 20}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows.assign(score=rows["score"].where(rows.index != 0)),
            "scores that are no numbers: 1; the first: 'ann lee:3, ",
        ),
        (
            lambda rows: rows.replace({"example": {"ann lee:3": "5", "50%:4": "6"}}),
            "examples that the test split lacks: 2; the first: '5', '6'; name them as the exp",
        ),
        (
            lambda rows: rows[rows.index >= 200],
            "test examples without a list, of 40: 4; the first: 'ann lee:3', '50%:4', 'bob:2:3'; r",
        ),
        (
            lambda rows: rows.replace({"item": {"i4": "4", "i5": "5"}}),
            "items that the catalogue lacks: 2; the first: ",
        ),
        (
            lambda rows: pd.concat([rows, rows.iloc[50:60]]),
            "items that stand twice in a list: 10; the first: '50%:4, ",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    dataset: Path, exported: Path, change: Callable, message: str
) -> None:
    change(rows_of(exported / "ours.run")).to_csv(exported / "given.csv", index=False)
    with pytest.raises(InputError, match=re.escape(f"given.csv: {message}")):
        recommend(exported / "given.csv", dataset, exported / "back.parquet")


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("text.parquet", "text", "example, item, score (Could not open"),
        ("latin.csv", "\xff,\n", "example, item, score ('utf-8' codec"),
        ("short.csv", "example,item\n", "example, item, score (Usecols do not match"),
        ("more.run", "a Q0 i3 1 1 tag\nb Q0 i3 1 1 tag more\n", "rank, score, tag (Error"),
        ("seven.run", "a Q0 i3 1 1 tag more\n", "example, Q0, item, rank, score, tag (Length"),
    ],
)
def test_files_that_are_none(
    dataset: Path, tmp_path: Path, name: str, text: str, fault: str
) -> None:
    (tmp_path / name).write_text(text, "latin-1")
    message = f"{name}: cannot be read as ranked lists with columns .*{re.escape(fault)}"
    with pytest.raises(InputError, match=message):
        recommend(tmp_path / name, dataset, tmp_path / "back.parquet")
