"""Two results folders side by side: did a study reproduce?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.cells import BASE, BASELINES, Cell, cell_of
from scripts.command import InputError, run
from scripts.contracts import CUTOFFS, PER_EXAMPLE, RECOMMENDATIONS
from scripts.evaluate.blocks import codes, identity, read_block
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.measure import estimates, measured, minus
from scripts.files import read_json, read_table, write_csv
from scripts.rows import UNKNOWN
from scripts.tables.format import markdown, number, with_interval

#: What stands below the table.
NOTE = (
    "Differences: ours minus theirs, paired, over the test examples and seeds that both have; 0 "
    "alone: equal to the last digit. Same training: equal steps, best epoch and validation loss, "
    "likewise. 95 % intervals draw users and, crossed with them, seeds; of one seed they say "
    "nothing of other trainings. About one in twenty leaves 0 out by chance."
)

#: Metrics of baselines and of models.
LAYOUT = (
    f"metrics/*/{BASELINES}/*/seed-[0-9]*.parquet",
    "metrics/*/*/*/seed-[0-9]*/*/*.parquet",
)

#: Of each folder, ours first.
Both = tuple[Any, Any]


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a results folder.

    Raises:
        InputError: it is not there, or is none.
    """
    file = folder / "manifest.json"
    remedy = "name a folder of results, in which the study's report was made by this version"
    if not file.is_file():
        raise InputError(f"{file}: is not there; {remedy}")
    found = read_json(file)
    parts = [found.get(key) for key in ("data", "trainings")] if isinstance(found, dict) else [None]
    if not all(isinstance(part, dict) for part in parts) or found.get("k") not in CUTOFFS:
        raise InputError(f"{file}: is no manifest; {remedy}")
    return found


def entries(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The entries of nested JSON, each with its keys joined by dots."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        value = {str(i): one for i, one in enumerate(value)}
    if isinstance(value, dict):
        for name, one in value.items():
            yield from entries(one, f"{key}.{name}" if key else name)
    else:
        yield key, str(value)


def differing(manifests: Both) -> pd.DataFrame:
    """Settings and records that differ, one row each: what, ours, theirs.

    Those of single trainings are left out; they are told with their cells.
    """
    ours, theirs = (
        dict(entries({key: part for key, part in one.items() if key != "trainings"}))
        for one in manifests
    )
    rows = [
        {"Record": key, "Ours": ours.get(key, UNKNOWN), "Theirs": theirs.get(key, UNKNOWN)}
        for key in ours | theirs
        if ours.get(key) != theirs.get(key)
    ]
    frame = pd.DataFrame(rows, columns=["Record", "Ours", "Theirs"])
    return frame.map(lambda text: text if len(text) <= 60 else f"{text[:59]}…")


def paired(cells: list[Cell], metrics: Both, columns: list[str]) -> tuple[Both, int]:
    """The examples of some cells that both folders have, and how many only one has.

    Args:
        cells: of one data set and backbone, or its baselines.
        metrics: per cell its file.
        columns: what to read besides the user.

    Raises:
        InputError: no example is shared, or one is not the same user's.
    """
    blocks = [
        read_block({cell: files[cell] for cell in cells}, PER_EXAMPLE, ["user", *columns])
        for files in metrics
    ]
    first, second = (block[cells[0]] for block in blocks)
    shared = first.index.intersection(second.index)
    files = " and ".join(str(one[cells[0]]) for one in metrics)
    if shared.empty or not first["user"][shared].equals(second["user"][shared]):
        raise InputError(f"{files} are not of the same test examples; nothing can be paired")
    frames = tuple({cell: one.loc[shared] for cell, one in block.items()} for block in blocks)
    return frames, len(first.index.symmetric_difference(second.index))


def same_lists(cell: Cell, folders: Both, examples: pd.Index) -> bool:
    """Whether a cell's lists are equal, item by item; not where a folder came without its lists."""
    paths = [folder / "recommendations" / f"{cell.path}.parquet" for folder in folders]
    if not all(path.is_file() for path in paths):
        return False
    columns = ["example_id", "rank", "item_id"]
    ours, theirs = (read_table(path, RECOMMENDATIONS, columns) for path in paths)
    ours, theirs = (one[one["example_id"].isin(examples)] for one in (ours, theirs))
    return ours.reset_index(drop=True).equals(theirs.reset_index(drop=True))


def estimated(frames: dict[Cell, pd.DataFrame], column: str, draws: Draws) -> pd.DataFrame:
    """Means with 95 % intervals: of every cell, and of its recommender over all seeds.

    Args:
        frames: per cell the column `user` and what is measured, on the same examples.
        column: what is measured.
        draws: of the bootstrap.

    Returns:
        value, low, high; the index is (cell, seed), where the cell's own seed is 0 and `seed` tells
        it, null over all seeds.
    """
    users = codes(next(iter(frames.values()))["user"])
    values = np.stack([frame[column].to_numpy(float) for frame in frames.values()], axis=-1)
    single = estimates(values[None], users, draws)
    pooled = measured(frames, "", draws, [column], pool=True)
    keys = [(cell._replace(seed=0), cell.seed) for cell in frames]
    keys += [(cell, None) for cell in dict.fromkeys(cell for cell, _ in keys)]
    found = pd.concat([single, pooled])[["value", "low", "high"]]
    return found.set_axis(pd.Index(keys, tupleize_cols=False))


def rows_of(
    cells: list[Cell], folders: Both, manifests: Both, metrics: Both, k: int, draws: Draws
) -> pd.DataFrame:
    """One row per cell, and one per recommender over all seeds that both folders have.

    Args are those of `paired`, `compare` and `estimated`.

    Returns:
        the columns of `identity` without the block; cells, same_lists and same_ranks (how many),
        same_trainings (null where a manifest has none), examples, left_out (those that one folder
        has alone); and ours, theirs, difference, gain_ours, gain_theirs, gain_difference, each with
        `…_low` and `…_high`. A gain is over `plain` with the same seeds.
    """
    column = f"ndcg@{k}"
    (ours, theirs), left_out = paired(cells, metrics, ["rank", column])
    examples = ours[cells[0]].index
    difference = {cell: minus(ours[cell], theirs[cell], [column]) for cell in cells}
    parts = {"ours": ours, "theirs": theirs, "difference": difference}
    bases = {cell: cell._replace(objective=BASE) for cell in cells if cell.objective != BASE}
    bases = {cell: base for cell, base in bases.items() if base in ours}
    for name, frames in [*parts.items()] if bases else ():
        parts[f"gain_{name}"] = {
            cell: minus(frames[cell], frames[base], [column]) for cell, base in bases.items()
        }
    numbers = pd.concat(
        [
            estimated(frames, column, draws).rename(
                columns={"value": name, "low": f"{name}_low", "high": f"{name}_high"}
            )
            for name, frames in parts.items()
        ],
        axis=1,
    )
    facts = {}
    for cell in cells:
        ranks = ours[cell]["rank"].equals(theirs[cell]["rank"])
        trained = [one["trainings"].get(cell.model) for one in manifests]
        facts[cell._replace(seed=0), cell.seed] = {
            "cells": 1,
            "same_lists": int(ranks and same_lists(cell, folders, examples)),
            "same_ranks": int(ranks),
            "same_trainings": int(trained[0] == trained[1]) if all(trained) else None,
        }
    rows = []
    for cell, seed in numbers.index:
        own = pd.DataFrame(
            [fact for key, fact in facts.items() if key[0] == cell and seed in (key[1], None)]
        )
        names = identity(cell, "") | {"backbone": cell.backbone, "seed": seed}
        rows.append(names | own.sum(min_count=1).to_dict())
    frame = pd.DataFrame(rows, index=numbers.index).drop(columns="block")
    frame["seed"] = frame["seed"].astype("Int64")
    return frame.assign(examples=len(examples), left_out=left_out).join(numbers)


def compare(ours: Path, theirs: Path, output: Path | None = None, draws: Draws = DRAWS) -> None:
    """Print what differs between two results folders, and by how much, as Markdown.

    Settings and records first, then the cells that one folder has alone, then for all others paired
    differences (ours minus theirs) in NDCG@K over the test examples that both have, and the gains
    over plain in both. A folder needs `manifest.json` and `metrics/` alone; with `recommendations/`
    whole lists are compared as well.

    Args:
        ours: folder of results.
        theirs: another one.
        output: CSV of all numbers, of single seeds as well.
        draws: of the bootstrap.

    Raises:
        InputError: no cell can be compared.
    """
    folders = (ours, theirs)
    manifests = tuple(map(manifest_of, folders))
    metrics = tuple(
        {cell_of(path): path for pattern in LAYOUT for path in sorted(folder.glob(pattern))}
        for folder in folders
    )
    differences = differing(manifests)
    print("## Settings and records that differ\n")
    print("None." if differences.empty else markdown(differences, [], set()))

    both = [cell for cell in metrics[0] if cell in metrics[1]]
    changed = differing(manifests)["Record"].str.extract(r"^data\.(.+)\.(?:catalogue|test)$")[0]
    other = set(changed.dropna())
    cells = [cell for cell in both if cell.dataset not in other]
    if not cells:
        why = f"they prepared {', '.join(sorted(other))} otherwise" if other else "they share none"
        raise InputError(f"{ours} and {theirs}: no cell can be compared, as {why}")
    print("\n## Cells\n")
    for who, mine, others in (("ours", *metrics), ("theirs", *metrics[::-1])):
        alone = [cell.path for cell in mine if cell not in others]
        if alone:
            print(f"- Only {who} has {len(alone)}: {', '.join(alone)}")
    for name in sorted(other):
        print(f"- {name} is left out: its catalogue or its test examples are not the same.")

    k = min(one["k"] for one in manifests)
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.dataset, cell.backbone), []).append(cell)
    frame = pd.concat(
        [rows_of(group, folders, manifests, metrics, k, draws) for group in groups.values()]
    )
    if output is not None:
        write_csv(frame, output)
    pooled = frame[frame["seed"].isna()]
    for row in pooled.drop_duplicates(["dataset", "backbone"]).itertuples():
        if row.left_out:
            print(f"- {row.dataset} {row.backbone}: {row.left_out} examples are in one alone.")
    print(f"\n{markdown(shown(pooled, k), [NOTE], set())}\n{closing(pooled, k)}")


def shown(pooled: pd.DataFrame, k: int) -> pd.DataFrame:
    """The rows over all seeds as the table shows them."""

    def text(row: Any, name: str) -> str:
        value, low, high = (row.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high"))
        signed = with_interval(value, low, high, sign=True) if any((value, low, high)) else "0"
        return signed if "difference" in name else number(value, sign="gain" in name)

    def count(row: Any, name: str) -> str:
        known = pd.notna(row[name])
        return f"{row[name]:.0f} of {row['cells']}" if known else UNKNOWN

    columns = {
        f"NDCG@{k} ours": "ours",
        "theirs": "theirs",
        "difference": "difference",
        f"gain over {BASE} ours": "gain_ours",
        "gain theirs": "gain_theirs",
        "difference of gains": "gain_difference",
    }
    return pd.DataFrame(
        {
            "Data set": row["dataset"],
            "Recommender": row["baseline"] or f"{row['backbone']} {row['objective']}",
            "Decoder": row["decoder"],
            "History": row["history"],
            "Examples": str(row["examples"]),
            "Same training": count(row, "same_trainings"),
            "Same lists": count(row, "same_lists"),
            "Same ranks": count(row, "same_ranks"),
        }
        | {title: text(row, name) for title, name in columns.items()}
        for row in pooled.to_dict("records")
    )


def closing(pooled: pd.DataFrame, k: int) -> str:
    """The answer in a few sentences."""
    cells, lists, ranks = pooled[["cells", "same_lists", "same_ranks"]].sum()
    said = [f"{lists} of {cells} cells have the same lists; {ranks} rank every target alike."]
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
