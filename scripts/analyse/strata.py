"""Who gains: what an objective gains over its base by the user's activity and by the target's
popularity."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.analyse.gains import pairs
from scripts.cells import BASE, cell_of
from scripts.command import InputError, progress
from scripts.data.prepared import read_splits
from scripts.data.rules import GROUPS
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.catalogue import folder_of, read_catalogue
from scripts.evaluate.measure import METRICS, estimates, split_name
from scripts.examples import read_examples

#: Strata of activity.
ACTIVITY_STRATA = 4

#: Users whose metric must differ for an interval: to resample fewer tells nothing, and where no
#: metric differs at all it would tell of a certainty that nobody has.
LEAST_DIFFERING = 10

COLUMNS = [
    *("dataset", "backbone", "decoder", "objective", "base", "by", "stratum", "metric", "k"),
    *("base_value", "value", "difference", "low", "high", "seed_sd"),
    *("seeds", "examples", "users", "differing"),
]

#: Name of the stratum -> which of the test examples belong to it, bool (n,).
Strata = dict[str, np.ndarray]


def by_activity(activity: np.ndarray) -> Strata:
    """`ACTIVITY_STRATA` strata of about equally many examples, the least active users first, by the
    number of the user's earlier interactions, int (n,).

    An example belongs to the stratum in which the middle of its ties falls, so that examples of
    equal activity stay together. The strata are named by their least and greatest activity; one
    that ties leave empty is absent.
    """
    middle = pd.Series(activity).rank().to_numpy() - 1
    stratum = ACTIVITY_STRATA * middle // len(activity)
    strata = {}
    for i in np.unique(stratum):
        low, high = activity[stratum == i].min(), activity[stratum == i].max()
        strata[f"{low}" if low == high else f"{low}–{high}"] = stratum == i
    return strata


def by_popularity(group: np.ndarray, train_count: np.ndarray) -> Strata:
    """The popularity groups of the targets' titles, int (n,), those that never were a training
    target apart, by their numbers of training targets, int (n,).

    They are `cold`, then `0` (rarest) to the most popular; one without examples is absent.
    """
    strata = {"cold": train_count == 0}
    strata |= {f"{g}": (group == g) & (train_count > 0) for g in range(GROUPS)}
    return {name: members for name, members in strata.items() if members.any()}


def read_strata(dataset: Path) -> tuple[pd.Index, list[tuple[str, str, np.ndarray]]]:
    """The strata of a prepared data set's whole test split, whatever sub-sample a backbone is
    tested on: `example_id` of the test examples; and of every stratum what it is by (`activity`
    or `popularity`), its name and its members, bool (n,)."""
    every = read_splits(dataset, ["example_id", "user"]).sort_values("example_id")
    # Every interaction of a user but the first is an example.
    every["activity"] = every.groupby("user").cumcount() + 1
    catalogue = read_catalogue(dataset)
    test = read_examples(dataset / "examples" / "test.parquet", len(catalogue.title_of))
    activity = every.set_index("example_id")["activity"].loc[test["example_id"]]
    target = catalogue.title_of[test["target"]]
    kinds = {
        "activity": by_activity(activity.to_numpy()),
        "popularity": by_popularity(catalogue.group[target], catalogue.train_count[target]),
    }
    return pd.Index(test["example_id"]), [
        (by, name, members) for by, strata in kinds.items() for name, members in strata.items()
    ]


def compare(
    objective: np.ndarray, base: np.ndarray, users: np.ndarray, draws: Draws
) -> pd.DataFrame:
    """Paired differences within one stratum.

    Args:
        objective: float (seeds, n, m), metrics of every example.
        base: the same of the base, with the same seeds and examples.
        users: (n,), whose example it is.
        draws: of the bootstrap.

    Returns:
        m rows: base_value, value, difference, low, high, seed_sd, users, differing (users whose
            metric differs with some seed; no interval below `LEAST_DIFFERING`); no difference where
            a metric is NaN.
    """
    change = objective - base
    names, user = np.unique(users, return_inverse=True)
    differs = np.zeros((len(names), change.shape[2]), bool)
    np.logical_or.at(differs, user, (change != 0).any(axis=0))
    rows = estimates(change, users, draws).rename(columns={"value": "difference"})
    rows = rows.assign(
        base_value=base.mean(axis=(0, 1)),
        value=objective.mean(axis=(0, 1)),
        users=len(names),
        differing=differs.sum(axis=0),
    )
    rows.loc[rows["differing"] < LEAST_DIFFERING, ["low", "high"]] = np.nan
    return rows


def strata(metrics: list[Path], datasets: list[Path], draws: Draws = DRAWS) -> pd.DataFrame:
    """Compare every objective with its base within strata of the test examples.

    By activity: how many interactions the user had before the target's, whether or not they fit
    into the history that is shown; four strata of about equally many examples. By popularity: the
    group of the target's title, cold targets apart. Both are fixed by the data set alone, over its
    whole test split and before any metric is read. Differences are taken per example on the seeds
    that both have; their 95 % intervals draw the stratum's users and, crossed with them, seeds.

    Args:
        metrics: per-example metrics of LLM cells with the history; others are ignored.
        datasets: `preparation.json` in the folder of every data set.
        draws: of the bootstrap.

    Returns:
        dataset, backbone, decoder, objective, base, by (activity, popularity), stratum (in
        ascending order; `cold` before group `0`), metric, k, base_value, value, difference, low,
        high (null where `differing` is small), seed_sd (of the difference, null for one seed),
        seeds, examples, users, differing (users whose metric differs from the base's). A K beyond
        the lists is absent.
    """
    names = pd.DataFrame([split_name(column) for column in METRICS])
    parts = [pd.DataFrame(columns=COLUMNS)]
    shown = [path for path in metrics if cell_of(path).history == "with"]
    read = cache(lambda dataset: read_strata(folder_of(dataset, datasets)))
    for pair in progress(pairs(shown, {BASE: []}), "strata"):
        cell, base, ours, bases, users, tested, _ = pair
        test, parts_of_test = read(cell.dataset)
        place = test.get_indexer(tested)
        if (place < 0).any():
            raise InputError(
                f"{folder_of(cell.dataset, datasets)}: the test split lacks examples of the "
                "metrics; rerun the lists"
            )
        for by, stratum, members in parts_of_test:
            here = members[place]
            if not here.any():
                continue
            part = names.join(compare(ours[:, here], bases[:, here], users[here], draws)).assign(
                **{name: getattr(cell, name) for name in COLUMNS[:4]},
                base=base,
                by=by,
                stratum=stratum,
                seeds=len(ours),
                examples=here.sum(),
            )
            parts.append(part.dropna(subset="difference")[COLUMNS])
    return pd.concat(parts[1:] or parts, ignore_index=True)
