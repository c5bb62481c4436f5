"""How much a model leans on the history: the same decoding with it, without it, with another user's
and with its items in another order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.analyse.blocks import blocks_of, codes, read_block
from scripts.analyse.bootstrap import RESAMPLES, cluster_bootstrap, unbounded, widened
from scripts.analyse.measure import COMPARED, METRICS, estimates, split_name, within
from scripts.cells import Cell, cell_of
from scripts.command import InputError, run
from scripts.contracts import PER_EXAMPLE, RECOMMENDATIONS
from scripts.files import read_table, write_csv

CONTRAST = ["contrast", "contrast_low", "contrast_high", "contrast_p"]
KEPT = ["kept_contrast", "kept_contrast_low", "kept_contrast_high", "kept_contrast_p"]
COLUMNS = [
    *("dataset", "backbone", "decoder", "objective", "history", "metric", "k"),
    *("value", "low", "high", "seed_sd", *COMPARED, "kept", "base", *CONTRAST, *KEPT),
    *("seeds", "shared_seeds", "examples", "users"),
]
ESTIMATES = ["value", "low", "high", "p"]


def overlaps(first: Path, second: Path, top: int) -> pd.Series:
    """Share of the first list's top items that the second list's top holds as well.

    Args:
        first: ranked lists.
        second: ranked lists of the same examples.
        top: depth of both.

    Returns:
        float64 by `example_id`, in ascending order; all NaN where a list is shorter than `top`.
    """
    one, two = (
        table[table["rank"] <= top]
        for table in (
            read_table(path, RECOMMENDATIONS, ["example_id", "rank", "item_id"])
            for path in (first, second)
        )
    )
    shared = one.merge(two, on=["example_id", "item_id"]).groupby("example_id").size()
    listed = [table.groupby("example_id").size() for table in (one, two)]
    known = min(sizes.min() for sizes in listed) >= top
    return shared.reindex(listed[0].index, fill_value=0) / (top if known else np.nan)


def dependence(
    metrics: list[Path],
    recommendations: list[Path],
    output: Path,
    k: int = 10,
    base: str = "plain",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> None:
    """Compare accuracy and lists under every history, per LLM, decoder and objective.

    All differences are paired: the same examples and seeds, and the same wrong and shuffled
    histories for every model. Intervals and p-values draw users and, crossed with them, seeds (see
    `cluster_bootstrap`).

    Args:
        metrics: per-example metrics of LLM cells; baselines and cells whose model is seen under
            one history alone are ignored.
        recommendations: ranked lists of the same cells.
        output: CSV to write: dataset, backbone, decoder, objective, history, metric (hr, ndcg, or
            overlap: the share of the top K with the history that is in this top K too, null for
            shorter lists), k, value, low, high, seed_sd (over seeds, null for one), difference (to
            the value with the history; null for it and for the overlap) with difference_low,
            difference_high and p, kept (percent of the value with the history, null likewise and
            where that is 0), base (objective that the next are measured against), contrast
            (the difference minus the base's, or the overlap minus the base's; null for the base)
            with contrast_low, contrast_high and contrast_p, kept_contrast (kept minus the base's:
            of a less accurate model less can be lost, which is no lesser dependence) with
            kept_contrast_low, kept_contrast_high and kept_contrast_p, seeds (of value and
            difference), shared_seeds (of the contrasts: those that the base has, too), examples,
            users. P-values are two-sided and not adjusted.
        k: depth at which the lists are compared with those with the history.
        base: name of the objective that the others are compared with.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    lists = {cell_of(path): path for path in recommendations}
    parts = [pd.DataFrame(columns=COLUMNS)]
    llms = [path for path in metrics if not cell_of(path).is_baseline]
    for cells in blocks_of(llms).values():
        frames = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
        users = codes(next(iter(frames.values()))["user"])
        probed = [cell for cell in frames if cell.history != "with" and _shown(cell) in frames]
        values = {cell: _measures(frames[cell]) for cell in frames}
        for cell in probed:
            values[cell][:, -1] = overlaps(_listed(lists, _shown(cell)), _listed(lists, cell), k)
        changes = {cell: values[cell] - values[_shown(cell)] for cell in probed}
        for cell in probed:  # An overlap is one with the list with the history already.
            changes[cell][:, -1] = values[cell][:, -1]
        for model in dict.fromkeys(_shown(cell)._replace(seed=0) for cell in probed):
            found = _conditions(model, values, changes, base, users, resamples, seed)
            found.loc[found["metric"] == "overlap", "k"] = k
            parts.append(found.assign(examples=len(users), users=users.max() + 1)[COLUMNS])
    write_csv(pd.concat(parts[1:] or parts, ignore_index=True), output)


def _shown(cell: Cell) -> Cell:
    """The same cell with the history."""
    return cell._replace(history="with")


def _measures(frame: pd.DataFrame) -> np.ndarray:
    """Float (n, m): `METRICS` of every example and, still unknown, the overlap."""
    return np.column_stack([frame[METRICS].to_numpy(float), np.full(len(frame), np.nan)])


def _listed(lists: dict[Cell, Path], cell: Cell) -> Path:
    """The lists of a cell.

    Raises:
        InputError: they were not given.
    """
    if cell not in lists:
        raise InputError(f"no recommendations were given for {cell}; add their path")
    return lists[cell]


def kept(means: np.ndarray) -> np.ndarray:
    """Percent of the accuracy with the history that another history leaves.

    Args:
        means: float (…, 2m): m means under the other history, then the same with the own.

    Returns:
        float (…, m); NaN where there is none with the own history.
    """
    here, own = np.split(means, 2, axis=-1)
    return 100 * here / np.where(own > 0, own, np.nan)


def _kept_contrasts(
    cells: list[Cell],
    values: dict[Cell, np.ndarray],
    base: str,
    users: np.ndarray,
    resamples: int,
    seed: int,
) -> np.ndarray:
    """What a history leaves of an objective's accuracy, less what it leaves of the base's.

    Returns:
        float (m, 4): the columns `KEPT` of every measure; NaN where a measure is unknown.
    """

    def contrast(means: np.ndarray) -> np.ndarray:
        ours, bases = np.split(means, 2, axis=-1)
        return kept(ours) - kept(bases)

    rows = []
    for cell in cells:
        rival = cell._replace(objective=base)
        rows.append(np.hstack([values[one] for one in (cell, _shown(cell), rival, _shown(rival))]))
    both = np.stack(rows)
    found = np.full((both.shape[2] // 4, len(KEPT)), np.nan)
    value, of_seeds = contrast(both.mean(axis=(0, 1))), contrast(both.mean(axis=1))
    known = ~np.isnan(value)
    if known.any():
        columns = np.tile(known, 4)
        samples = contrast(cluster_bootstrap(both[:, :, columns], users, resamples, seed))
        samples = widened(samples, value[known], of_seeds[:, known])
        found[known] = [
            (one, *unbounded(sample)) for one, sample in zip(value[known], samples.T, strict=True)
        ]
    return found


def _conditions(
    model: Cell,
    values: dict[Cell, np.ndarray],
    changes: dict[Cell, np.ndarray],
    base: str,
    users: np.ndarray,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """The rows of one objective and decoder under every history, without examples and users.

    Args:
        model: the cell with the history, of whichever seed.
        values: per cell float (n, m), `METRICS` and the overlap of every example.
        changes: per cell with another history the differences to the one with the history.
        base: name of the base objective.
        users: int (n,), whose example it is.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    parts = []
    for history in dict.fromkeys(cell.history for cell in values):
        here = model._replace(history=history)
        own = [cell for cell in values if cell._replace(seed=0) == here]
        own = [cell for cell in own if history == "with" or cell in changes]
        if not own:
            continue
        paired = [] if history == "with" else own
        rivals = [
            cell
            for cell in paired
            if cell.objective != base and cell._replace(objective=base) in changes
        ]
        # Each with its own seeds: a condition may have been run for some of them only.
        arrays = {
            "value": [values[cell] for cell in own],
            "difference": [changes[cell] for cell in paired],
            "contrast": [changes[c] - changes[c._replace(objective=base)] for c in rivals],
        }
        found = {
            name: estimates(np.stack(each), users, resamples, seed)
            for name, each in arrays.items()
            if each
        }
        names = [split_name(name) for name in METRICS] + [{"metric": "overlap", "k": 0}]
        part = pd.DataFrame(names).assign(
            **{name: getattr(here, name) for name in COLUMNS[:5]},
            base=base if rivals else None,
            seeds=len(own),
            shared_seeds=len(rivals) or None,
        )
        part[[*ESTIMATES[:3], "seed_sd"]] = within(found["value"])[[*ESTIMATES[:3], "seed_sd"]]
        for name, columns in (("difference", COMPARED), ("contrast", CONTRAST)):
            part[columns] = found[name][ESTIMATES].to_numpy() if name in found else np.nan
        part.loc[part["metric"] == "overlap", COMPARED] = np.nan
        part[["kept", *KEPT]] = np.nan
        if paired:
            own_mean = np.mean([values[_shown(cell)] for cell in own], axis=(0, 1))
            here_mean = part["value"].to_numpy(float)
            part["kept"] = kept(np.concatenate([here_mean, own_mean]))
        if rivals:
            part[KEPT] = _kept_contrasts(rivals, values, base, users, resamples, seed)
        part.loc[part["metric"] == "overlap", ["kept", *KEPT]] = np.nan
        parts.append(part if paired else part[part["metric"] != "overlap"])
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    run(dependence)
