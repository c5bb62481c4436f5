"""Two results folders side by side: did a study reproduce?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.cells import BASE, BASELINES, Cell, cell_of
from scripts.columns import fitted
from scripts.command import InputError, run
from scripts.contracts import CUTOFFS, PER_EXAMPLE, RECOMMENDATIONS
from scripts.evaluate.blocks import codes, read_block
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.measure import estimates, measured, minus
from scripts.files import entries, read_json, read_table, write_csv
from scripts.labels import one_line
from scripts.rows import UNKNOWN
from scripts.tables.format import markdown, number, with_interval

#: What stands below the table.
NOTE = (
    "Differences: ours minus theirs, paired, over the test examples and seeds that both have; 0 "
    "alone: equal to the last digit. Same training: equal steps, best epoch and validation loss, "
    "likewise. Same lists: item by item or, where a folder holds no lists, by the targets' ranks. "
    "95 % intervals draw users and, crossed with them, seeds; of one seed they say nothing of "
    "other trainings. About one in twenty leaves 0 out by chance."
)

#: Of both folders, ours first.
Both = tuple[Any, Any]


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a results folder; an InputError where there is none."""
    file = folder / "manifest.json"
    found = read_json(file, needed=False)
    parts = [found.get(key) for key in ("data", "trainings")]
    if not all(isinstance(part, dict) for part in parts) or found.get("k") not in CUTOFFS:
        raise InputError(
            f"{file}: is no manifest of a study; name a folder of results, such as results/paper, "
            "in which this version has made the report"
        )
    return found


def differing(manifests: Both) -> pd.DataFrame:
    """Settings and records that differ, but for those of single trainings: name, ours, theirs."""
    ours, theirs = (
        {key: str(value) for key, value in entries(one | {"trainings": {}})} for one in manifests
    )
    rows = [
        (key, ours.get(key, UNKNOWN), theirs.get(key, UNKNOWN))
        for key in ours | theirs
        if ours.get(key) != theirs.get(key)
    ]
    frame = pd.DataFrame(rows, columns=["Record", "Ours", "Theirs"], dtype=object)
    return frame.map(lambda text: fitted(one_line(text), 60))


def paired(cells: list[Cell], metrics: Both, columns: list[str]) -> tuple[Both, int]:
    """Metrics of the examples that both folders have, and how many only one has.

    Raises:
        InputError: no example is shared, or one is not the same user's.
    """
    blocks = [
        read_block({cell: files[cell] for cell in cells}, PER_EXAMPLE, ["user", *columns])
        for files in metrics
    ]
    first, second = (block[cells[0]]["user"] for block in blocks)
    shared = first.index.intersection(second.index)
    if shared.empty or not first[shared].equals(second[shared]):
        files = " and ".join(str(one[cells[0]]) for one in metrics)
        raise InputError(f"{files} are not of the same test examples; nothing can be paired")
    frames = tuple({cell: one.loc[shared] for cell, one in block.items()} for block in blocks)
    return frames, len(first.index.symmetric_difference(second.index))


def same_lists(cell: Cell, folders: Both, frames: Both) -> bool:
    """Whether a cell's lists are equal, item by item; by the targets' ranks where one has none."""
    ours, theirs = (frame[cell]["rank"] for frame in frames)
    paths = [folder / "recommendations" / f"{cell.path}.parquet" for folder in folders]
    if not ours.equals(theirs) or not all(path.is_file() for path in paths):
        return ours.equals(theirs)
    columns = ["example_id", "rank", "item_id"]
    lists = (read_table(path, RECOMMENDATIONS, columns) for path in paths)
    first, second = (one[one["example_id"].isin(ours.index)] for one in lists)
    return first.reset_index(drop=True).equals(second.reset_index(drop=True))


def estimated(frames: dict[Cell, pd.DataFrame], name: str, column: str, draws: Draws) -> Any:
    """Means with 95 % intervals: of every cell, and of its recommender over all seeds.

    Args are those of `measured`, for one column, and the name of the result.

    Returns:
        frame of `name`, `…_low`, `…_high`; the index is (cell of seed 0, its seed or None for all).
    """
    users = codes(next(iter(frames.values()))["user"])
    values = np.stack([frame[column].to_numpy(float) for frame in frames.values()], axis=-1)
    single = estimates(values[None], users, draws)
    pooled = measured(frames, "", draws, [column], pool=True)
    keys = [(cell._replace(seed=0), cell.seed) for cell in frames]
    keys += [(cell, None) for cell in dict.fromkeys(cell for cell, _ in keys)]
    found = pd.concat([single, pooled])[["value", "low", "high"]]
    found.columns = [name, f"{name}_low", f"{name}_high"]
    return found.set_axis(pd.Index(keys, tupleize_cols=False))


def rows_of(
    cells: list[Cell], folders: Both, manifests: Both, metrics: Both, k: int, draws: Draws
) -> pd.DataFrame:
    """One row per cell, and one per recommender over all seeds that both folders have.

    Args:
        cells: those in both of one data set and backbone, or its baselines.
        folders: where they lie.
        manifests: what each was made from.
        metrics: per cell its file.
        k: of NDCG@K.
        draws: of the bootstrap.

    Returns:
        the fields of `Cell` (seed: null over all); cells, same_lists and same_trainings (how many;
        null where a manifest has none), examples, left_out (those that one folder has alone); ours,
        theirs, difference, gain_ours, gain_theirs, gain_difference, each with `…_low` and `…_high`.
        A gain is over `plain` with the same seed.
    """
    column = f"ndcg@{k}"
    (ours, theirs), left_out = paired(cells, metrics, ["rank", column])
    difference = {cell: minus(ours[cell], theirs[cell], [column]) for cell in cells}
    parts = {"ours": ours, "theirs": theirs, "difference": difference}
    bases = {cell: cell._replace(objective=BASE) for cell in cells if cell.objective != BASE}
    for name, frames in [*parts.items()]:
        parts[f"gain_{name}"] = {
            cell: minus(frames[cell], frames[base], [column])
            for cell, base in bases.items()
            if base in frames
        }
    numbers = pd.concat(
        [estimated(frames, name, column, draws) for name, frames in parts.items() if frames], axis=1
    )
    same = {cell: same_lists(cell, folders, (ours, theirs)) for cell in cells}
    rows = []
    for cell, seed in numbers.index:
        own = [one for one in cells if one._replace(seed=0) == cell and seed in (one.seed, None)]
        trained = [[one["trainings"].get(c.model) for one in manifests] for c in own]
        known = all(map(all, trained))
        rows.append(
            cell._asdict()
            | {"seed": seed, "cells": len(own), "same_lists": sum(same[one] for one in own)}
            | {"same_trainings": sum(a == b for a, b in trained) if known else None}
            | {"examples": len(ours[cells[0]]), "left_out": left_out}
        )
    return pd.DataFrame(rows, numbers.index).astype({"seed": "Int64"}).join(numbers)


def compare(ours: Path, theirs: Path, output: Path | None = None, draws: Draws = DRAWS) -> None:
    """Print what differs between two results folders, and by how much, as Markdown.

    A folder needs `manifest.json` and `metrics/` alone. Differences are paired, ours minus theirs.

    Args:
        ours: folder of results.
        theirs: another one.
        output: CSV of all numbers, those of single seeds as well.
        draws: of the bootstrap.

    Raises:
        InputError: no cell can be compared.
    """
    folders = (ours, theirs)
    manifests = tuple(map(manifest_of, folders))
    metrics = tuple(
        {cell_of(path): path for path in sorted((folder / "metrics").rglob("*.parquet"))}
        for folder in folders
    )
    differences = differing(manifests)
    print("## Settings and records that differ\n")
    print("None." if differences.empty else markdown(differences, [], set()))
    print("\n## Cells\n")
    for who, mine, others in (("ours", *metrics), ("theirs", *metrics[::-1])):
        if alone := [cell.path for cell in mine if cell not in others]:
            print(f"- Only {who} has {len(alone)}: {', '.join(alone)}")
    changed = differences["Record"].str.extract(r"^data\.(.+)\.(?:catalogue|test)$")[0]
    for name in changed.dropna().unique():
        print(f"- {name} is left out: its catalogue or its test examples are not the same.")

    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in metrics[0]:
        if cell in metrics[1] and cell.dataset not in set(changed):
            groups.setdefault((cell.dataset, cell.backbone), []).append(cell)
    if not groups:
        raise InputError(f"{ours} and {theirs}: no cell is in both with the same test examples")
    k = min(one["k"] for one in manifests)
    frame = pd.concat(
        [rows_of(cells, folders, manifests, metrics, k, draws) for cells in groups.values()]
    )
    if output is not None:
        write_csv(frame, output)
    pooled = frame[frame["seed"].isna()]
    for row in pooled[pooled["left_out"] > 0].drop_duplicates(["dataset", "backbone"]).itertuples():
        whose = f"{row.dataset} {row.backbone or BASELINES}"
        print(f"- {whose}: {row.left_out} examples are in one alone.")
    print(f"\n{markdown(shown(pooled, k), [NOTE], set())}\n{closing(pooled, k)}")


def shown(pooled: pd.DataFrame, k: int) -> pd.DataFrame:
    """The rows over all seeds as the table shows them."""

    def text(row: dict, name: str) -> str:
        value, low, high = (row.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high"))
        signed = with_interval(value, low, high, sign=True) if any((value, low, high)) else "0"
        return signed if "difference" in name else number(value, sign="gain" in name)

    titles = {"ours": f"NDCG@{k} ours", "theirs": "theirs", "difference": "difference"}
    titles |= {"gain_ours": f"gain over {BASE} ours", "gain_theirs": "gain theirs"}
    titles |= {"gain_difference": "difference of gains"}
    return pd.DataFrame(
        {
            "Data set": row["dataset"],
            "Recommender": row["baseline"] or f"{row['backbone']} {row['objective']}",
            "Decoder": row["decoder"],
            "History": row["history"],
            **{name.capitalize(): str(row[name]) for name in ("examples", "cells")},
            "Same training": number(row["same_trainings"], 0),
            "Same lists": str(row["same_lists"]),
        }
        | {title: text(row, name) for name, title in titles.items()}
        for row in pooled.to_dict("records")
    )


def closing(pooled: pd.DataFrame, k: int) -> str:
    """The answer in a few sentences."""
    cells, same = pooled[["cells", "same_lists"]].sum()
    said = [f"{same} of {cells} cells have the same lists."]
    for name, what in (("difference", f"NDCG@{k}"), ("gain_difference", f"The gain over {BASE}")):
        numbers = pooled.reindex(columns=[name, f"{name}_low", f"{name}_high"]).dropna()
        numbers = numbers[(numbers != 0).any(axis=1)].to_numpy()
        if len(numbers):
            decided = (numbers[:, 1:].prod(axis=1) > 0).sum()
            said.append(
                f"{what} differs in {len(numbers)} of {len(pooled)} rows, by at most "
                f"{number(np.abs(numbers[:, 0]).max())}, and agrees within "
                f"±{number(np.abs(numbers[:, 1:]).max())}, the farthest end of an interval; "
                f"{decided} of these intervals leave 0 out."
            )
    return " ".join(said)


if __name__ == "__main__":
    run(compare)
