"""Accuracy, time and memory against the length of the histories."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.blocks import read_block
from scripts.analyse.bootstrap import RESAMPLES
from scripts.analyse.cost import costs
from scripts.analyse.measure import COMPARED, METRICS, compared
from scripts.cells import Cell, cell_of
from scripts.command import InputError, run
from scripts.contracts import EXAMPLES, PER_EXAMPLE
from scripts.files import read_table, write_csv
from scripts.rows import in_order

#: What is taken from the run records; the name of the stage is put before it.
COSTS = [
    "seconds",
    "seconds_per_step",
    "seconds_per_prompt",
    "tokens_per_step",
    "peak_memory_mb",
    "relative",
    "truncated_share",
]
COLUMNS = [
    *("dataset", "backbone", "decoder", "objective", "length", "metric", "k"),
    *("value", "low", "high", "seed_sd", *COMPARED),
    *("seeds", "shared_seeds", "examples", "users", "device"),
]
#: Columns that name a model.
MODEL = ["dataset", "backbone", "objective", "seed"]


def history_length(
    metrics: list[Path],
    models: list[Path],
    decodings: list[Path],
    tests: list[Path],
    lengths: dict[str, tuple[str, int]],
    output: Path,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> None:
    """Lay cells that differ in the length of their histories side by side.

    All lengths have the same test examples, so their differences are paired.

    Args:
        metrics: per-example metrics of the cells.
        models: `run.json` of their models.
        decodings: run record beside their recommendations.
        tests: `<data set>/examples/test.parquet` of every data set.
        lengths: data set as the paths name it -> the data set that it is cut from, and its length.
        output: CSV to write: dataset, backbone, decoder, objective, length, metric, k, value, low,
            high (95 % interval over users and seeds), seed_sd, difference, difference_low,
            difference_high, p (to the shortest length of the same seed; null for that one itself),
            seeds, shared_seeds (of the difference), examples, users, device. Beside `hr` and
            `ndcg` at every k, `metric` is `mean_history` (titles in an example's history, before a
            prompt is shortened to fit) or a measure of `cost.csv` with its stage before it, such as
            `training_seconds_per_step`, without k and interval; `truncated_share` is the share of
            the stage's examples that lost titles to fit.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    cells = {cell_of(path): path for path in metrics}
    blocks: dict[tuple[str, str], dict[Cell, Path]] = {}
    for cell, path in sorted(cells.items(), key=lambda entry: lengths[entry[0].dataset][1]):
        blocks.setdefault((lengths[cell.dataset][0], cell.backbone), {})[cell] = path
    test_of = {path.parent.parent.name: path for path in tests}
    parts = [
        accuracy_by_length(members, test_of, block[1], resamples, seed)
        for block, members in blocks.items()
    ]
    identities = pd.DataFrame(list(cells))[[*MODEL, "decoder"]].drop_duplicates()
    parts.append(mean_over_seeds(costs_by_length(models, decodings, identities)))
    frame = pd.concat(parts, ignore_index=True)
    frame["length"] = frame["dataset"].map(lambda name: lengths[name][1])
    frame["dataset"] = frame["dataset"].map(lambda name: lengths[name][0])
    order = ["dataset", "backbone", "decoder", "objective", "length"]
    write_csv(in_order(frame.sort_values("length", kind="stable"), order)[COLUMNS], output)


def accuracy_by_length(
    cells: dict[Cell, Path], test_of: dict[str, Path], block: str, resamples: int, seed: int
) -> pd.DataFrame:
    """Accuracy of the cells of one block, and their mean history.

    Args:
        cells: the block's metrics, the shortest length first.
        test_of: test examples by data set.
        block: name of the block.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        `COLUMNS`, without length and device.
    """
    frames = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
    shortest: dict[Cell, Cell] = {}
    for cell in frames:
        shortest.setdefault(cell._replace(dataset=""), cell)
    values = compared(
        frames, lambda cell: shortest[cell._replace(dataset="")], block, resamples, seed
    )
    histories = []
    for cell, frame in frames.items():
        test = read_table(test_of[cell.dataset], EXAMPLES, ["example_id", "history"])
        shown = test.set_index("example_id")["history"].reindex(frame.index)
        if shown.isna().any():
            raise InputError(
                f"{test_of[cell.dataset]}: lacks examples of {cells[cell]}; rerun the lists"
            )
        mean = {"metric": "mean_history", "value": shown.map(len).mean(), "examples": len(shown)}
        histories.append(cell._asdict() | mean | {"users": frame["user"].nunique()})
    return pd.concat(
        [
            values.rename(columns={"recommender": "backbone"}),
            mean_over_seeds(pd.DataFrame(histories)),
        ],
        ignore_index=True,
    )


def mean_over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Means of `value` over the seeds, with `seed_sd` and `seeds`; of the rest the first seed's."""
    groups = frame.groupby(["dataset", "backbone", "decoder", "objective", "metric"], sort=False)
    return (
        groups.first()
        .assign(
            value=groups["value"].mean(),
            seed_sd=groups["value"].std(ddof=1),
            seeds=groups["seed"].nunique(),
        )
        .reset_index()
    )


def costs_by_length(models: list[Path], decodings: list[Path], cells: pd.DataFrame) -> pd.DataFrame:
    """Time and memory of the cells; a model's training stands with each of its decoders.

    Args:
        models: `run.json` of the models.
        decodings: run record beside their recommendations.
        cells: data set, backbone, objective, seed and decoder of every cell.

    Returns:
        `COLUMNS` without k, intervals, differences, length and users.
    """
    frame = costs(models, decodings)
    frame["truncated_share"] = frame["truncated_prompts"] / frame["examples"]
    training = frame[frame["stage"] == "training"].drop(columns="decoder").merge(cells, on=MODEL)
    frame = pd.concat([training, frame[frame["stage"] == "decoding"]], ignore_index=True)
    frame[COSTS] = frame[COSTS].astype(float)
    long = frame.melt([*MODEL, "decoder", "stage", "examples", "device"], COSTS, "measure").dropna(
        subset="value"
    )
    return long.assign(metric=long["stage"] + "_" + long["measure"])


if __name__ == "__main__":
    run(history_length)
