"""A case study: test examples chosen by a rule, with what every method recommends for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.cells import Cell, cell_of, model_of
from scripts.command import InputError
from scripts.contracts import RECOMMENDATIONS, TOKEN_EFFECTS
from scripts.evaluate.blocks import read_block
from scripts.evaluate.catalogue import folder_of
from scripts.examples import read_examples, read_titles
from scripts.files import read_table

#: Titles shown of each list.
TOP = 10

#: The second half of a list's name, where it is no history: a baseline's, or the target's tokens.
BASELINE, TOKENS = "baseline", "tokens"

COLUMNS = [
    *("dataset", "backbone", "decoder", "seed", "case", "example_id"),
    *("list", "position", "item_id", "title", "is_target", "target_rank", "depth"),
    *("token", "with_history", "without_history", "examples", "users"),
]


def choose(base: np.ndarray, objective: np.ndarray, seed: int) -> dict[str, int]:
    """The examples to show, by how far the target's rank moves.

    Ties go to the earlier example. An extreme that does not move in its direction is left out.

    Args:
        base: float (n,), the target's rank with the base, examples in ascending order.
        objective: float (n,), the same with the objective.
        seed: seed of the drawn example.

    Returns:
        name of the case -> index of the example: the one that moves up most, the one that moves
        down most, the (lower) median move, and one drawn with equal chances.
    """
    up = base - objective
    cases = {}
    if up.max() > 0:
        cases["moved up most"] = int(np.argmax(up))
    if up.min() < 0:
        cases["moved down most"] = int(np.argmin(up))
    median = np.sort(up)[(len(up) - 1) // 2]
    cases["median move"] = int(np.argmax(up == median))
    cases["drawn"] = int(np.random.default_rng(seed).integers(len(up)))
    return cases


def target_ranks(lists: pd.DataFrame, target: pd.Series, title: np.ndarray) -> pd.Series:
    """Rank of the target in each list; items with its title are the target too.

    Args:
        lists: `rank` and `item_id`, with the index `example_id`.
        target: item id of the target by `example_id`.
        title: object (items,), title of every item id.

    Returns:
        float by `example_id`, in the order of `target`; NaN where the list lacks it.
    """
    hit = title[lists["item_id"]] == title[target.loc[lists.index]]
    return lists[hit].groupby(level=0)["rank"].min().reindex(target.index).astype(float)


def cases(
    recommendations: list[Path], effects: list[Path], datasets: list[Path], seed: int = 0
) -> pd.DataFrame:
    """Show a few examples, chosen by a rule, with the lists of a base, an objective and others.

    Chosen are the examples whose target's rank moves up most and down most from the base to the
    objective, the one with the median move, and one drawn with equal chances (`choose`). A target
    beyond the lists counts as one rank beyond the depth that both recommenders list.

    Args:
        recommendations: ranked lists of the same examples: the base's, the objective's, and any
            that are shown beside them, such as the objective's without the history, or baselines'.
        effects: token effects of the models whose tokens are shown.
        datasets: `preparation.json` in the folder of their data set.
        seed: seed of the drawn example.

    Returns:
        dataset, backbone, decoder, seed, case, example_id, list (`history`, latest first; `target`;
        `<objective>, <history>`; `<baseline>, baseline`; `<objective>, tokens`: the target's),
        position from 1, item_id, title, is_target, target_rank (in the list, null where it is not
        held), depth (of the list), token, with_history, without_history (of tokens alone),
        examples, users (that the cases are chosen from).

    Raises:
        InputError: files do not hold the same examples.
    """
    if len(recommendations) < 2 or not effects:
        raise InputError("recommendations, effects: give those of the base and of the objective")
    files: dict[Cell, Path] = {cell_of(path): path for path in recommendations}
    lists = read_block(files, RECOMMENDATIONS, ["rank", "item_id"])
    examples = next(iter(lists.values())).index.unique()
    folder = folder_of(next(iter(files)).dataset, datasets)
    titles = np.array(read_titles(folder / "catalogue.parquet"), dtype=object)
    test = folder / "examples" / "test.parquet"
    table = read_examples(test, len(titles)).set_index("example_id").reindex(examples)
    if table["user"].isna().any():
        raise InputError(f"{test}: lacks examples of {recommendations[0]}; rerun the lists")
    tokens = {}
    for path in effects:
        found = read_table(path, TOKEN_EFFECTS).set_index("example_id")
        if not examples.isin(found.index).all():
            raise InputError(f"{path}: lacks examples of {recommendations[0]}; rerun it")
        shown = found[["position", "token", "with_history", "without_history"]]
        tokens[model_of(path).objective] = shown
    target = table["target"].astype(int)
    ranks = {cell: target_ranks(one, target, titles) for cell, one in lists.items()}
    depths = {cell: int(one.groupby(level=0).size().min()) for cell, one in lists.items()}
    base, objective = list(files)[:2]
    beyond = min(depths[base], depths[objective]) + 1
    moves = (ranks[cell].fillna(beyond).clip(upper=beyond).to_numpy() for cell in (base, objective))
    rows = []
    for case, i in choose(*moves, seed).items():
        example = examples[i]
        name = {"case": case, "example_id": example}
        shown = table["history"].loc[example][::-1][:TOP]
        parts = [("history", shown, {}), ("target", [target.loc[example]], {})]
        for cell, one in lists.items():
            top = one.loc[[example]].sort_values("rank")["item_id"].to_numpy()[:TOP]
            about = {"target_rank": ranks[cell].loc[example], "depth": depths[cell]}
            name_of = (cell.baseline, BASELINE) if cell.baseline else (cell.objective, cell.history)
            parts.append((", ".join(name_of), top, about))
        for kind, found, about in parts:
            rows += [
                name
                | about
                | {
                    "list": kind,
                    "position": position,
                    "item_id": item,
                    "title": titles[item],
                    "is_target": titles[item] == titles[target.loc[example]],
                }
                for position, item in enumerate(found, start=1)
            ]
        for objective, found in tokens.items():
            about = name | {"list": f"{objective}, {TOKENS}", "is_target": False}
            rows += [about | token for token in found.loc[[example]].to_dict("records")]
    frame = pd.DataFrame(rows).assign(
        dataset=base.dataset,
        backbone=base.backbone,
        decoder=base.decoder,
        seed=base.seed,
        examples=len(examples),
        users=table["user"].nunique(),
    )
    whole = ["item_id", "target_rank", "depth"]
    return frame.astype(dict.fromkeys(whole, "Int64"))[COLUMNS]
