from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.command import InputError
from scripts.contracts import PER_EXAMPLE
from scripts.evaluate.per_example import evaluate
from scripts.files import read_table
from tests.small_data import write_catalogue, write_examples, write_recommendations


def metrics(
    folder: Path, titles: list[str], targets: list[int], lists: dict[int, list[int]]
) -> pd.DataFrame:
    rows = [(e, r, item) for e, items in lists.items() for r, item in enumerate(items, 1)]
    return metrics_of_rows(folder, titles, targets, rows)


def metrics_of_rows(
    folder: Path, titles: list[str], targets: list[int], rows: list[tuple[int, int, int]]
) -> pd.DataFrame:
    evaluate(
        [write_recommendations(folder / "lists", rows)],
        write_examples(folder / "test", [(f"u{t}", [0], t) for t in targets]),
        write_catalogue(folder / "items", titles),
        [folder / "metrics"],
    )
    return read_table(folder / "metrics", PER_EXAMPLE).set_index("example_id")


def test_best_rank_of_an_equal_title_counts(tmp_path: Path) -> None:
    titles = ["Heat", "Alien", "Heat", "Dune", "Big", "Jaws"]
    found = metrics(
        tmp_path,
        titles,
        targets=[0, 3, 5, 1],
        lists={0: [1, 2, 0], 1: [3, 1, 2], 2: [0, 1, 2]},  # example 3 was not sampled
    )
    assert found["user"].to_list() == ["u0", "u3", "u5"]
    assert found["rank"].fillna(-1).to_list() == [2, 1, -1]
    assert found["hr@1"].to_list() == [0, 1, 0]
    assert found["hr@3"].to_list() == [1, 1, 0]
    assert found["ndcg@3"].to_list() == pytest.approx([1 / np.log2(3), 1, 0])
    # Three are listed of five titles: what comes fourth or fifth is not known.
    assert found[["hr@5", "ndcg@5", "hr@10", "ndcg@50"]].isna().all(axis=None)


def test_a_list_of_all_titles_knows_every_cutoff(tmp_path: Path) -> None:
    titles = ["Heat", "Alien", "Heat", "Dune"]
    found = metrics(tmp_path, titles, [2, 3], {0: [0, 1, 3], 1: [1, 2, 3]})
    assert found["hr@50"].to_list() == [1, 1]
    assert found["ndcg@50"].to_list() == pytest.approx([1, 0.5])
    # As long as there are titles, but one is listed twice and so another is missing.
    found = metrics(tmp_path, titles, [3, 3], {0: [0, 1, 2], 1: [1, 2, 3]})
    assert found["hr@3"].to_list() == [0, 1]
    assert found["hr@5"].isna().all()


def test_the_shortest_list_sets_the_depth(tmp_path: Path) -> None:
    titles = [str(i) for i in range(20)]
    found = metrics(tmp_path, titles, [6, 6], {0: list(range(10)), 1: [1, 6, 2]})
    assert found["rank"].to_list() == [7, 2]
    assert found["hr@3"].to_list() == [0, 1]
    assert found[["hr@5", "hr@10"]].isna().all(axis=None)


def test_each_file_of_lists_has_measures_of_its_own(tmp_path: Path) -> None:
    """Lists of two decoders have the same name in two folders."""
    test = write_examples(tmp_path / "test", [("ann", [0], 1)])
    items = write_catalogue(tmp_path / "items", ["a", "b", "c"])
    rows = {"grounded/with": [(0, 1, 2), (0, 2, 1)], "constrained/with": [(0, 1, 1)]}
    lists = [write_recommendations(tmp_path / name, listed) for name, listed in rows.items()]
    measures = [tmp_path / "metrics" / name for name in rows]
    evaluate(lists, test, items, measures)
    assert [read_table(one, PER_EXAMPLE)["rank"].item() for one in measures] == [2, 1]
    with pytest.raises(InputError, match="--output: name one file for each of --rec"):
        evaluate(lists, test, items, measures[:1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no lists"),
        ([(9, 1, 0)], "example_id 9 is not in"),
        ([(0, 1, 0), (0, 1, 1)], "example_id 0, rank 1, item_id 1: ranks"),
        ([(0, 1, 0), (0, 3, 1)], "example_id 0, rank 3, item_id 1: ranks"),
        ([(0, 0, 0), (0, 1, 1)], "example_id 0, rank 0, item_id 0: ranks"),
        ([(0, 1, 0), (1, 1, 7)], "example_id 1, rank 1, item_id 7: the catalogue"),
        ([(0, 1, 2), (0, 2, 2)], "example_id 0, rank 2, item_id 2: the item is listed twice"),
    ],
)
def test_bad_lists_are_named(
    tmp_path: Path, rows: list[tuple[int, int, int]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        metrics_of_rows(tmp_path, ["a", "b", "c"], [0, 1], rows)
    assert not (tmp_path / "metrics").exists()


def test_ties_in_the_score_leave_the_rank_as_it_is(tmp_path: Path) -> None:
    """A recommender breaks its ties by its own rule; the metrics look at its ranks alone. All
    scores of these tests are equal."""
    found = metrics_of_rows(tmp_path, [*"abcd"], [1], [(0, 3, 0), (0, 1, 2), (0, 2, 1)])
    assert found["rank"].to_list() == [2]
    assert found["ndcg@3"].to_list() == pytest.approx([1 / np.log2(3)])
