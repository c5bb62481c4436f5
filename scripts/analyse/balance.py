"""How recommendations spread over item popularity and over the catalogue, against the users' own
histories."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from scripts.cells import BASE, Cell, cell_of
from scripts.command import InputError, progress
from scripts.contracts import CUTOFFS, RECOMMENDATIONS
from scripts.data.rules import GROUPS
from scripts.evaluate.blocks import blocks_of, codes, read_block
from scripts.evaluate.bootstrap import (
    DRAWS,
    Between,
    Draws,
    between,
    cluster_bootstrap,
    interval,
    jackknife_error,
    p_value,
    widened,
)
from scripts.evaluate.catalogue import Catalogue, folder_of, read_catalogue
from scripts.evaluate.measure import COMPARED, adjusted
from scripts.evaluate.spread import CONCENTRATION, SPREAD, concentration, count_groups, spread
from scripts.examples import read_examples

#: Groups of users that the jackknife leaves out, one at a time.
LEFT_OUT = 100

#: Decimals of differences: what is smaller is rounding, and must not look like an effect.
DECIMALS = 12

COLUMNS = [
    *("dataset", "block", "baseline", "objective", "decoder", "k", "measure", "group"),
    *("value", "low", "high", "seed_sd"),
    *("base", *COMPARED, "p_holm"),
    *("seeds", "shared_seeds", "examples", "users"),
]
#: Measures whose differences are one family of comparisons.
FAMILIES = (["total_variation"], ["gini", "coverage"])


class Block(NamedTuple):
    """What all recommenders of a block are measured against."""

    examples: pd.Index
    """`example_id`, ascending."""
    users: np.ndarray
    """int64 (n,), whose example it is."""
    left_out: np.ndarray
    """int64 (n,), the group of users with which the jackknife leaves it out."""
    history: np.ndarray
    """int64 (n, GROUPS), items of each group in the example's history."""
    catalogue: Catalogue
    draws: Draws


class Counted(NamedTuple):
    """The lists of one method; C cut-offs K, S seeds, n examples, J groups that are left out."""

    groups: np.ndarray
    """float64 (S, n, C, GROUPS), items of each group in the example's top K."""
    concentration: np.ndarray
    """float64 (S, C, 2), `concentration` of all examples."""
    without: np.ndarray
    """float64 (S, C, J, 2), the same when a group of users is left out."""
    resampled: np.ndarray
    """float64 (resamples, C, GROUPS + 2), `spread` of resamples, the same users in every method."""


def balance(
    recommendations: list[Path], datasets: list[Path], k: int, draws: Draws = DRAWS
) -> pd.DataFrame:
    """Spread of the top K over popularity groups and the catalogue, beside the histories'.

    Shares count list entries: all entries of the top K of a block's examples, and all entries of
    these examples' histories (docs/paper.md §7), by title (`scripts.evaluate.catalogue`). Every
    measure is taken of each seed, then averaged: of averaged shares, the opposite errors of two
    trainings would cancel. Lists made without the history are ignored.

    Intervals of shares and distances draw users and, crossed with them, seeds with replacement,
    `widened` for few seeds.
    Resampled distances lie too high, as noise adds distance; their 95 % intervals are therefore
    the basic ones, which reflect the resamples about the value. Intervals of Gini index and
    coverage are the value ± Student's t × `jackknife_error`, of what this many users would give.

    Args:
        recommendations: ranked lists of all cells, baselines included.
        datasets: `preparation.json` in the folder of every data set.
        k: depth of the lists whose comparisons are adjusted.
        draws: of the bootstrap and of the groups that the jackknife leaves out.

    Returns:
        one row per method, K and measure: dataset, block, baseline, objective, decoder (all three
        empty for the histories, which have no K), k, measure (share, total_variation and
        jensen_shannon to the histories, gini, coverage), group (of a share: 0 rarest to 4), value,
        low, high, seed_sd (null for one seed); for an objective with its base on the same seeds
        base, difference (to it, paired), difference_low, difference_high, p (of the difference from
        0), p_holm (adjusted over the differences at `k` of one of `FAMILIES`); seeds (of the
        value), shared_seeds (of the difference: those that the base has, too), examples, users. A K
        beyond the shortest list is absent.
    """
    parts = []
    shown = [path for path in recommendations if cell_of(path).history == "with"]
    for (dataset, name), cells in blocks_of(shown).items():
        first = next((c for c in cells if not c.baseline), next(iter(cells)))
        lists = read_block({first: cells[first]}, RECOMMENDATIONS, ["rank"])[first]
        block, seen = _block(lists.index.unique(), folder_of(dataset, datasets), draws)
        methods: dict[Cell, list[int]] = {}
        for cell in cells:
            methods.setdefault(cell._replace(seed=0), []).append(cell.seed)
        found = [seen]
        counted = {
            method: _count(cells, first, method, seeds, block)
            for method, seeds in progress(methods.items(), f"balance, {dataset}, {name}")
        }
        for method, seeds in methods.items():
            cutoffs, ours = counted[method]
            rows = _values(ours, block).assign(k=np.repeat(cutoffs, len(SPREAD + CONCENTRATION)))
            reference = method._replace(objective=BASE)
            common = [s for s in seeds if reference._replace(seed=s) in cells]
            if not method.baseline and method.objective != BASE and common:
                alike = [
                    _of_seeds(counted[other][1], methods[other], common, block)
                    for other in methods
                    if other._replace(objective=BASE) == reference
                    and other.objective != BASE
                    and set(common) <= set(methods[other])
                ]
                theirs = _of_seeds(counted[reference][1], methods[reference], common, block)
                same = _of_seeds(ours, seeds, common, block)
                rows = rows.assign(
                    base=BASE, shared_seeds=len(common), **_differences(same, theirs, alike, block)
                )
            names = {key: getattr(method, key) for key in ("baseline", "objective", "decoder")}
            found.append(rows.assign(**names, seeds=len(seeds)))
        sizes = {"examples": len(block.examples), "users": block.users.max() + 1}
        part = pd.concat(found, ignore_index=True)
        parts.append(part.assign(dataset=dataset, block=name, **sizes))
    frame = pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS)
    frame["p_holm"] = np.nan
    for family in FAMILIES:
        rows = (frame["k"] == k) & frame["measure"].isin(family)
        frame["p_holm"] = frame["p_holm"].fillna(adjusted(frame["p"], rows))
    return frame


def _block(examples: pd.Index, dataset: Path, draws: Draws) -> tuple[Block, pd.DataFrame]:
    """What a block is measured against, and the rows of the histories themselves.

    Raises:
        InputError: the test split lacks an example, or has an item that the catalogue lacks.
    """
    catalogue, test = read_catalogue(dataset), dataset / "examples" / "test.parquet"
    table = read_examples(test, len(catalogue.title_of))[["example_id", "user", "history"]]
    table = table.set_index("example_id").reindex(examples)
    if table["user"].isna().any():
        raise InputError(f"{test}: lacks examples of the lists; rerun the lists")
    users = codes(table["user"])
    order = np.random.default_rng(draws.seed).permutation(users.max() + 1)
    left_out = (order % LEFT_OUT)[users]
    titles = catalogue.title_of[np.concatenate(table["history"].to_numpy())]
    rows = np.repeat(np.arange(len(examples)), table["history"].map(len))
    history = np.bincount(
        rows * GROUPS + catalogue.group[titles], minlength=len(examples) * GROUPS
    ).reshape(-1, GROUPS)
    block = Block(examples, users, left_out, history, catalogue, draws)
    value, without = concentration(left_out[rows], titles, left_out.max() + 1, len(catalogue.group))
    groups = history[None, :, None].astype(float)
    resampled = _resampled(groups, block)
    rows_of = _values(Counted(groups, value[None, None], without[None, None], resampled), block)
    own = rows_of["measure"].isin(["share", "gini", "coverage"])
    return block, rows_of[own].assign(seeds=1)


def _count(
    cells: dict[Cell, Path], first: Cell, method: Cell, seeds: list[int], block: Block
) -> tuple[list[int], Counted]:
    """Read the lists of a method, one seed at a time, and give the cut-offs that every list reaches
    and what is counted of them; the block's examples are those of the cell `first`."""
    listed = []
    for s in seeds:
        cell = method._replace(seed=s)
        pair = {first: cells[first], cell: cells[cell]}
        frame = read_block(pair, RECOMMENDATIONS, ["rank", "item_id"])[cell]
        depth = int(frame.groupby(level=0)["rank"].max().min())
        top = frame.loc[frame["rank"].to_numpy() <= depth, "item_id"].to_numpy()
        listed.append(block.catalogue.title_of[top].reshape(-1, depth))
    cutoffs = [k for k in CUTOFFS if k <= min(titles.shape[1] for titles in listed)]
    size = len(block.catalogue.group)
    parts = block.left_out.max() + 1
    measured = [
        [
            concentration(np.repeat(block.left_out, k), titles[:, :k].ravel(), parts, size)
            for k in cutoffs
        ]
        for titles in listed
    ]
    groups = np.stack([count_groups(block.catalogue.group[titles], cutoffs) for titles in listed])
    return cutoffs, Counted(
        groups,
        np.array([[value for value, _ in by_k] for by_k in measured]),
        np.array([[without for _, without in by_k] for by_k in measured]),
        _resampled(groups, block),
    )


def _of_seeds(method: Counted, seeds: list[int], wanted: list[int], block: Block) -> Counted:
    """The lists of some of a method's seeds."""
    if wanted == seeds:
        return method
    of_each = [part[[seeds.index(s) for s in wanted]] for part in method[:3]]
    return Counted(*of_each, _resampled(of_each[0], block))


def _cut(method: Counted, cutoffs: int) -> Counted:
    """A method's first cut-offs alone."""
    groups, *others = method
    return Counted(groups[:, :, :cutoffs], *(part[:, :cutoffs] for part in others))


def _resampled(groups: np.ndarray, block: Block) -> np.ndarray:
    """`spread` of a method's groups, float (S, n, C, GROUPS), resampled: float64 (resamples, C,
    GROUPS + 2)."""
    seeds, examples = groups.shape[:2]
    history = np.broadcast_to(block.history, (seeds, examples, GROUPS))

    def of_training(means: np.ndarray) -> np.ndarray:
        counts = means.reshape(*means.shape[:-1], -1, GROUPS)
        measured = spread(counts[..., :-1, :], counts[..., -1, :])
        return measured.reshape(*means.shape[:-1], -1)

    columns = np.concatenate([groups.reshape(seeds, examples, -1), history], axis=-1)
    drawn = cluster_bootstrap(columns, block.users, block.draws, of_training)
    return drawn.reshape(block.draws.resamples, -1, len(SPREAD))


def _opened(samples: np.ndarray, of_seeds: np.ndarray, pooled: Between | None = None) -> np.ndarray:
    """Resamples of what `_spread` gives, float (resamples, C, GROUPS + 2), as intervals take them:
    the distances reflected about their value, which makes basic intervals, and all `widened`."""
    value = of_seeds.mean(axis=0)
    samples = samples.copy()
    samples[..., GROUPS:] = 2 * value[..., GROUPS:] - samples[..., GROUPS:]
    flat = (len(samples), -1)
    of_seeds = of_seeds.reshape(len(of_seeds), -1)
    wide = widened(samples.reshape(flat), value.ravel(), of_seeds, pooled)
    return wide.reshape(samples.shape)


def _spread(method: Counted, block: Block) -> np.ndarray:
    """`spread` of a method with every seed, float64 (S, C, GROUPS + 2)."""
    return spread(method.groups.mean(axis=1), block.history.mean(axis=0))


def _values(ours: Counted, block: Block) -> pd.DataFrame:
    """Value and interval of every measure of a method, C x measures rows in this order."""
    of_seeds = _spread(ours, block)
    low, high = interval(_opened(ours.resampled, of_seeds))
    mean = ours.concentration.mean(axis=0)
    error, df = jackknife_error(ours.concentration, ours.without)
    margin = special.stdtrit(df, 0.975) * error
    values = np.concatenate([of_seeds, ours.concentration], axis=-1)
    seed_sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)
    names = (SPREAD + CONCENTRATION) * values.shape[1]
    return pd.DataFrame(names, columns=["measure", "group"]).assign(
        value=values.mean(axis=0).ravel(),
        low=np.clip(np.hstack([low, mean - margin]), 0, None).ravel(),
        high=np.clip(np.hstack([high, mean + margin]), None, 1).ravel(),
        seed_sd=seed_sd.ravel(),
    )


def _differences(
    ours: Counted, theirs: Counted, alike: list[Counted], block: Block
) -> dict[str, np.ndarray]:
    """Paired differences of every measure, in the order of `_values`.

    Both methods have the same seeds; the cut-offs that only one of them reaches are missing. The
    between-seed variance of the distances is pooled over the objectives that were decoded `alike`
    with these seeds; that of Gini index and coverage is their own.
    """
    cutoffs = ours.groups.shape[2]
    both = min(cutoffs, theirs.groups.shape[2])
    one, two = _cut(ours, both), _cut(theirs, both)
    changes = [
        np.round(_spread(_cut(method, both), block) - _spread(two, block), DECIMALS)
        for method in (ours, *alike)
        if method.groups.shape[2] >= both
    ]
    of_seeds = changes[0]
    seeds = len(of_seeds)
    pooled = between(np.reshape(changes[1:], (-1, seeds, of_seeds[0].size))) if seeds > 1 else None
    change = np.round(one.resampled - two.resampled, DECIMALS)
    samples = _opened(change, of_seeds, pooled)
    low, high = interval(samples)
    change = np.round(one.concentration - two.concentration, DECIMALS)
    mean = change.mean(axis=0)
    error, df = jackknife_error(change, np.round(one.without - two.without, DECIMALS))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(mean == 0, 1.0, 2 * special.stdtr(df, -np.abs(mean) / error))
    margin = special.stdtrit(df, 0.975) * error
    columns = {
        "difference": np.hstack([of_seeds.mean(axis=0), mean]),
        "difference_low": np.hstack([low, mean - margin]),
        "difference_high": np.hstack([high, mean + margin]),
        "p": np.hstack([p_value(samples), p]),
    }
    missing = ((0, cutoffs - both), (0, 0))
    return {
        name: np.pad(column, missing, constant_values=np.nan).ravel()
        for name, column in columns.items()
    }
