"""How much a model leans on the history: the same decoding with it, without it, with another user's
and with its items in another order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.cells import BASE, Cell, cell_of
from scripts.command import InputError
from scripts.contracts import PER_EXAMPLE, RECOMMENDATIONS
from scripts.evaluate.blocks import blocks_of, codes, read_block
from scripts.evaluate.bootstrap import (
    DRAWS,
    Draws,
    between,
    cluster_bootstrap,
    holm,
    unbounded,
    widened,
)
from scripts.evaluate.measure import (
    COMPARED,
    METRICS,
    compared,
    enough,
    enough_hits,
    minus,
    split_name,
    with_differences,
)
from scripts.files import read_table
from scripts.rows import in_order

METHOD = ["baseline", "decoder", "objective"]
CONTRAST = ["contrast", "contrast_low", "contrast_high", "contrast_p"]
KEPT = ["kept_contrast", "kept_contrast_low", "kept_contrast_high", "kept_contrast_p"]
COLUMNS = [
    *("dataset", "backbone", *METHOD, "history", "metric", "k"),
    *("value", "low", "high", "seed_sd", *COMPARED, "kept", "base", *CONTRAST, *KEPT),
    *("seeds", "shared_seeds", "examples", "users"),
]
ADJUSTED = ["p_holm", "contrast_p_holm", "kept_contrast_p_holm"]


def overlaps(first: Path, second: Path, top: int) -> pd.Series:
    """Share of the first list's top items that the second list's top holds as well, for lists of
    the same examples: float64 by `example_id`, ascending; all NaN where a list is shorter than
    `top`."""
    columns = ["example_id", "rank", "item_id"]
    tables = (read_table(path, RECOMMENDATIONS, columns) for path in (first, second))
    one, two = (table[table["rank"] <= top] for table in tables)
    shared = one.merge(two, on=["example_id", "item_id"]).groupby("example_id").size()
    listed = [table.groupby("example_id").size() for table in (one, two)]
    known = min(sizes.min() for sizes in listed) >= top
    return shared.reindex(listed[0].index, fill_value=0) / (top if known else np.nan)


def dependence(
    metrics: list[Path], recommendations: list[Path], k: int, draws: Draws = DRAWS
) -> pd.DataFrame:
    """Compare accuracy and lists under every history, per LLM, decoder and objective, and of given
    lists (`scripts.baselines.given_lists`).

    All differences are paired: the same examples and seeds, and the same wrong and shuffled
    histories for every model. Intervals and p-values draw users and, crossed with them, seeds (see
    `cluster_bootstrap`).

    Args:
        metrics: per-example metrics; recommenders that are seen under one history alone are
            ignored.
        recommendations: ranked lists of the same cells.
        k: depth at which the lists are compared with those with the history.
        draws: of the bootstrap.

    Returns:
        dataset, backbone (or block), baseline (empty for a model), decoder, objective (both empty
        for a baseline), history, metric (hr, ndcg, or overlap: the share of
        the top K with the history that is in this top K too, null for shorter lists), k, value,
        low, high, seed_sd (over seeds, null for one), difference (to the value with the history;
        null for it and for the overlap) with difference_low, difference_high and p, kept (percent
        of the value with the history, null likewise and without
        `enough_hits` there), base (objective that the
        next are measured against), contrast (the difference minus the base's, or the overlap minus
        the base's; null for the base) with contrast_low, contrast_high and contrast_p,
        kept_contrast (kept minus the base's: of a less accurate model less can be lost, which is no
        lesser dependence) with kept_contrast_low, kept_contrast_high and kept_contrast_p, seeds (of
        value and difference), shared_seeds (of the contrasts: those that the base has, too),
        examples, users; p_holm, contrast_p_holm and kept_contrast_p_holm, the two-sided p-values
        adjusted over those of NDCG and overlap at `k` together, null beyond them.
    """
    lists = {cell_of(path): path for path in recommendations}
    columns = [*METRICS, f"overlap@{k}"]
    parts = [pd.DataFrame(columns=COLUMNS)]
    for (_, block), cells in blocks_of(metrics).items():
        read = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
        probed = [cell for cell in read if cell.history != "with" and _shown(cell) in read]
        models = {_shown(cell)._replace(seed=0) for cell in probed}
        frames = {
            cell: frame.assign(**{columns[-1]: np.nan})
            for cell, frame in read.items()
            if _shown(cell)._replace(seed=0) in models
        }
        if not frames:
            continue
        for cell in probed:
            frames[cell][columns[-1]] = overlaps(
                _listed(lists, _shown(cell)), _listed(lists, cell), k
            )
        # An overlap is one with the list with the history already.
        changes = {cell: minus(frames[cell], frames[_shown(cell)], METRICS) for cell in probed}
        rivals = {
            cell: minus(changes[cell], changes[cell._replace(objective=BASE)], columns)
            for cell in probed
            if cell.objective != BASE and cell._replace(objective=BASE) in changes
        }
        part = compared(frames, _shown, block, draws, columns).drop(columns="shared_seeds")
        part = with_differences(part, rivals, CONTRAST, block, draws, columns)
        part["base"] = part["contrast"].where(part["contrast"].isna(), BASE)
        # The accuracy with the history, of the same seeds.
        own = part["value"] - part["difference"]
        hits = (own * part["examples"] * part["seeds"]).where(part["metric"] == "hr")
        of_k = hits.groupby([part[name] for name in (*METHOD, "history", "k")])
        part["kept"] = 100 * part["value"] / own.where(enough(of_k.transform("max")))
        part = part.merge(_kept_contrasts(rivals, frames, draws), how="left")
        parts.append(part.rename(columns={"block": "backbone"}))
    frame = pd.concat(parts[1:] or parts, ignore_index=True)
    frame = frame[(frame["metric"] != "overlap") | (frame["history"] != "with")]
    frame = in_order(frame, ["dataset", "backbone", *METHOD, "history"])[COLUMNS]
    family = (frame["k"] == k) & (frame["metric"] != "hr")
    p = frame[["p", "contrast_p", "kept_contrast_p"]].astype(float).where(family)
    return frame.join(pd.DataFrame(holm(p.to_numpy().ravel()).reshape(p.shape), columns=ADJUSTED))


def _shown(cell: Cell) -> Cell:
    """The same cell with the history."""
    return cell._replace(history="with")


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
        means: float (…, 2m): m means under the other history, then the same with its own.

    Returns:
        float (…, m); NaN where there is none with the user's own history.
    """
    here, own = np.split(means, 2, axis=-1)
    return 100 * here / np.where(own > 0, own, np.nan)


def _kept_contrasts(
    rivals: Iterable[Cell], frames: dict[Cell, pd.DataFrame], draws: Draws
) -> pd.DataFrame:
    """What a history leaves of an objective's accuracy, less what it leaves of the base's.

    Args:
        rivals: cells whose base was shown the same history.
        frames: per cell the column `user` and `METRICS`.
        draws: of the bootstrap.

    Returns:
        objective, decoder, history, metric, k and `KEPT`; NaN where a metric is unknown.
    """

    def contrast(means: np.ndarray) -> np.ndarray:
        ours, bases = np.split(means, 2, axis=-1)
        return kept(ours) - kept(bases)

    methods: dict[tuple[str, str, str], list[np.ndarray]] = {}
    for cell in rivals:
        base = cell._replace(objective=BASE)
        four = [
            frames[one][METRICS].to_numpy(float) for one in (cell, _shown(cell), base, _shown(base))
        ]
        key = (cell.objective, cell.decoder, cell.history)
        methods.setdefault(key, []).append(np.hstack(four))
    users = codes(next(iter(frames.values()))["user"])
    names = pd.DataFrame([split_name(name) for name in METRICS])
    parts = [names.head(0).assign(objective="", decoder="", history="", **dict.fromkeys(KEPT, 0.0))]
    trainings = {
        key: contrast(np.stack(of_seeds).mean(axis=1)) for key, of_seeds in methods.items()
    }
    for (objective, decoder, history), of_seeds in methods.items():
        both = np.stack(of_seeds)
        contrasts = np.full((len(METRICS), len(KEPT)), np.nan)
        per_seed = trainings[objective, decoder, history]
        peers = [
            means
            for (_, *other), means in trainings.items()
            if other == [decoder, history] and len(means) == len(per_seed)
        ]
        value = contrast(both.mean(axis=(0, 1)))
        known = ~np.isnan(value)
        for own in np.split(both, 4, axis=2)[1::2]:
            known &= enough_hits(own)
        value = np.where(known, value, np.nan)
        if known.any():
            samples = contrast(cluster_bootstrap(both[:, :, np.tile(known, 4)], users, draws))
            pooled = between(np.stack(peers)[..., known]) if len(both) > 1 else None
            samples = widened(samples, value[known], per_seed[:, known], pooled)
            contrasts[known] = [
                (one, *unbounded(sample))
                for one, sample in zip(value[known], samples.T, strict=True)
            ]
        part = names.join(pd.DataFrame(contrasts, columns=KEPT))
        parts.append(part.assign(objective=objective, decoder=decoder, history=history))
    return pd.concat(parts, ignore_index=True)
