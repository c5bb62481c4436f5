"""The statistics of the prepared data sets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.contracts import CATALOGUE, INTERACTIONS
from scripts.data.prepared import earlier_interactions, read_splits
from scripts.examples import summary
from scripts.files import entries, read_json, read_table


def lengths(folder: Path) -> dict[str, dict[str, float]]:
    """Lengths in a data set as the preparation wrote it: summaries of `history_length` (items, as
    the examples hold them), `earlier_interactions` (the histories before they were cut) and
    `title_words` (of the catalogue)."""
    titles = read_table(folder / "catalogue.parquet", CATALOGUE, ["title"])["title"]
    interactions = read_table(folder / "interactions.parquet", INTERACTIONS, ["user"])
    histories = read_splits(folder, ["history"])["history"]
    return {
        "history_length": summary(histories.map(len)),
        "earlier_interactions": summary(earlier_interactions(interactions["user"])),
        "title_words": summary(titles.map(lambda title: len(title.split()))),
    }


def statistics(datasets: list[Path], title_tokens: list[Path]) -> pd.DataFrame:
    """Gather what the preparation of every data set counted, and how long histories and titles are.

    Args:
        datasets: `preparation.json` in the folder of every data set.
        title_tokens: `<dataset>/<backbone>.json` of the pairs that the study compares.

    Returns:
        dataset, statistic, value (text).
    """
    rows = []
    for file in datasets:
        folder = file.parent
        facts = read_json(file) | lengths(folder)
        facts["title_tokens"] = {
            path.stem: read_json(path) for path in title_tokens if path.parent.name == folder.name
        }
        for key, value in entries(facts):
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            rows.append({"dataset": folder.name, "statistic": key, "value": text})
    return pd.DataFrame(rows, columns=["dataset", "statistic", "value"], dtype=object)
