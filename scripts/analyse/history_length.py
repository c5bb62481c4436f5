"""Accuracy, time and memory against the length of the histories."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.cost import cost
from scripts.cells import Cell, Model, cell_of
from scripts.command import InputError
from scripts.contracts import EXAMPLES, PER_EXAMPLE
from scripts.evaluate.blocks import read_block
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.measure import COMPARED, METRICS, adjusted, compared
from scripts.files import read_table
from scripts.rows import in_order

#: What is taken from the run records; the name of the phase is put before it.
COSTS = [
    *("seconds", "seconds_per_step", "seconds_per_prompt", "tokens_per_step", "peak_memory_mb"),
    *("relative", "truncated_share"),
]
COLUMNS = [
    *("dataset", "backbone", "decoder", "objective", "length", "metric", "k"),
    *("value", "low", "high", "seed_sd", *COMPARED, "p_holm"),
    *("seeds", "shared_seeds", "examples", "users", "device"),
]


def history_length(
    metrics: list[Path],
    runs: list[Path],
    decodings: list[Path],
    tests: list[Path],
    lengths: dict[str, tuple[str, int]],
    k: int,
    draws: Draws = DRAWS,
) -> pd.DataFrame:
    """Lay cells that differ in the length of their histories side by side.

    All lengths have the same test examples, so their differences are paired.

    Args:
        metrics: per-example metrics of the cells.
        runs: `run.json` of their models.
        decodings: run record beside their recommendations.
        tests: `<data set>/examples/test.parquet` of every data set.
        lengths: data set as the paths name it -> the data set that it is cut from, and its length.
        k: the cut-off whose comparisons are adjusted.
        draws: of the bootstrap.

    Returns:
        dataset, backbone, decoder, objective, length, metric, k, value, low, high (95 % interval
        over users and seeds), seed_sd, difference, difference_low, difference_high, p (to the
        shortest length of the same seed; null for that one itself), p_holm (adjusted over HR and
        NDCG at `k`), seeds, shared_seeds (of the difference), examples, users, device. Beside `hr`
        and `ndcg` at every k, `metric` is `mean_history` (titles in an example's history, before a
        prompt is shortened to fit) or a measure of `cost` with its phase before it, such as
        `training_seconds_per_step`, without k and interval; `truncated_share` is the share of the
        phase's examples that lost titles to fit.
    """
    cells = {cell_of(path): path for path in metrics}
    blocks: dict[tuple[str, str], dict[Cell, Path]] = {}
    for cell, path in sorted(cells.items(), key=lambda entry: lengths[entry[0].dataset][1]):
        blocks.setdefault((lengths[cell.dataset][0], cell.backbone), {})[cell] = path
    test_of = {path.parent.parent.name: path for path in tests}
    parts = [
        accuracy_by_length(members, test_of, block[1], draws) for block, members in blocks.items()
    ]
    identities = pd.DataFrame(list(cells))[[*Model._fields, "decoder"]].drop_duplicates()
    parts.append(mean_over_seeds(costs_by_length(cost(runs, decodings), identities)))
    frame = pd.concat(parts, ignore_index=True)
    frame["p_holm"] = adjusted(frame["p"], frame["k"] == k)
    frame["length"] = frame["dataset"].map(lambda name: lengths[name][1])
    frame["dataset"] = frame["dataset"].map(lambda name: lengths[name][0])
    order = ["dataset", "backbone", "decoder", "objective", "length"]
    return in_order(frame.sort_values("length", kind="stable"), order)[COLUMNS]


def accuracy_by_length(
    cells: dict[Cell, Path], test_of: dict[str, Path], block: str, draws: Draws
) -> pd.DataFrame:
    """Accuracy of the cells of one block, the shortest length first, and their mean history:
    `COLUMNS`, without length and device."""
    frames = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
    shortest: dict[Cell, Cell] = {}
    for cell in frames:
        shortest.setdefault(cell._replace(dataset=""), cell)
    values = compared(frames, lambda cell: shortest[cell._replace(dataset="")], block, draws)
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
        [values.rename(columns={"block": "backbone"}), mean_over_seeds(pd.DataFrame(histories))],
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


def costs_by_length(costs: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Time and memory of the cells; a model's training stands with each of its decoders.

    Args:
        costs: of the models and of their recommendations, as `cost` gathers them.
        cells: data set, backbone, objective, seed and decoder of every cell.

    Returns:
        `COLUMNS` without k, intervals, differences, length and users.
    """
    model = list(Model._fields)
    frame = costs.assign(truncated_share=costs["truncated_prompts"] / costs["examples"])
    training = frame[frame["phase"] == "training"].drop(columns="decoder").merge(cells, on=model)
    frame = pd.concat([training, frame[frame["phase"] == "decoding"]], ignore_index=True)
    frame[COSTS] = frame[COSTS].astype(float)
    long = frame.melt([*model, "decoder", "phase", "examples", "device"], COSTS, "measure").dropna(
        subset="value"
    )
    return long.assign(metric=long["phase"] + "_" + long["measure"])
