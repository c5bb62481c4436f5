"""Log-probability of each token of the target with the history and without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.cells import BASE, Model, model_of
from scripts.command import InputError
from scripts.contracts import TOKEN_EFFECTS
from scripts.evaluate.blocks import codes
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.measure import estimates
from scripts.files import read_csv, read_table

#: Last position that stands alone.
LAST = 12

#: The positions in their order: later ones are pooled, the last token (eos) stands apart.
POSITIONS = [*(str(p) for p in range(1, LAST + 1)), f"{LAST + 1}+", "eos"]

#: What is measured of every token, in nats: log p(token | history), log p(token | no history), the
#: causal loss with a minus, which is the first again where the second is alike for all tokens, and
#: the first less the second.
MEASURES = ["with_history", "without_history", "causal", "effect"]

COLUMNS = [
    *("dataset", "backbone", "objective", "base", "position", "measure"),
    *("value", "low", "high", "p", "seed_sd", "n", "users", "seeds"),
]

#: What says that two models were measured on the same tokens.
TOKENS = ["example_id", "user", "position", "tokens"]


def name_positions(frame: pd.DataFrame) -> pd.Series:
    """The name in `POSITIONS` of every token; the last token of an answer is always `eos`."""
    names = frame["position"].clip(upper=LAST + 1).astype(str)
    names = names.where(frame["position"] <= LAST, f"{LAST + 1}+")
    return names.where(frame["position"] < frame["tokens"], "eos")


def halves(frame: pd.DataFrame) -> pd.DataFrame:
    """By how much the effect on a title's first half exceeds that on its second half.

    The first token, an opening quote, and the last two, the closing quote and eos, are left out:
    they are the same in every answer, and plain models need no history for them. So is the middle
    one of an odd number. Where a tokenizer joins the closing quote to the end of a title, that end
    is left out with it.

    Args:
        frame: token effects in the order of the positions, with `effect`.

    Returns:
        `effect`: its mean over the first half minus that over the second, by `example_id` and
        `user`; examples with fewer than two tokens in between are absent.
    """
    between = frame[(frame["position"] > 1) & (frame["position"] < frame["tokens"] - 1)]
    half = (between["tokens"] - 3) // 2
    first = between["effect"].where(between["position"] <= 1 + half)
    second = between["effect"].where(between["position"] >= between["tokens"] - 1 - half)
    examples = [between["example_id"], between["user"]]
    means = pd.DataFrame({"first": first, "second": second}).groupby(examples).mean()
    return (means["first"] - means["second"]).dropna().to_frame("effect")


def measured(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`MEASURES` of one model.

    Args:
        frame: token effects in the order of the positions, with `effect`.

    Returns:
        by position those of every token, of `target` their sums over each whole answer, and of
        `halves` those of `halves`; the index is the user.
    """
    names = name_positions(frame)
    tokens = frame.set_index("user")[MEASURES]
    found = {name: tokens[(names == name).to_numpy()] for name in POSITIONS}
    examples = {
        "target": frame.groupby(["example_id", "user"])[MEASURES].sum(),
        "halves": halves(frame),
    }
    found |= {name: values.droplevel("example_id") for name, values in examples.items()}
    return {name: values for name, values in found.items() if len(values)}


def among_titles(audits: list[Path]) -> dict[Model, dict[str, pd.DataFrame]]:
    """Log-probability of the target among all titles: `with_history` by user, of each model.

    Raises:
        InputError: two models of a block were audited on different examples.
    """
    found, firsts = {}, {}
    for path in audits:
        model, frame = model_of(path), read_csv(path)
        frame = frame[frame["beams"].isna()].rename(columns={"among_titles": MEASURES[0]})
        first, examples = firsts.setdefault(model[:2], (path, frame["example_id"]))
        if not frame["example_id"].equals(examples):
            raise InputError(f"{path}: other examples than in {first}; rerun both")
        found[model] = {"titles": frame.set_index("user")[MEASURES[:1]]}
    return found


def read_blocks(
    effects: list[Path], audits: list[Path]
) -> dict[tuple[str, ...], dict[Model, dict]]:
    """What is `measured` of every model, and `among_titles` of those audited, by data set and
    backbone.

    Raises:
        InputError: two models of a block were measured on different tokens or examples.
    """
    audited = among_titles(audits)
    blocks: dict[tuple[str, ...], dict[Model, dict]] = {}
    firsts: dict[tuple[str, ...], tuple[Path, pd.DataFrame]] = {}
    for path in effects:
        model, frame = model_of(path), read_table(path, TOKEN_EFFECTS)
        first, tokens = firsts.setdefault(model[:2], (path, frame[TOKENS]))
        if not frame[TOKENS].equals(tokens):
            raise InputError(f"{path}: other tokens than in {first}; rerun both")
        logs = frame[MEASURES[:3]].astype(float)
        frame = frame.assign(**logs, effect=logs[MEASURES[0]] - logs[MEASURES[1]])
        blocks.setdefault(model[:2], {})[model] = measured(frame) | audited.get(model, {})
    return blocks


def positions(
    effects: list[Path], audits: list[Path] | None = None, draws: Draws = DRAWS
) -> pd.DataFrame:
    """Average log-probability of the target's tokens with the history, without it, and the effect.

    Of the whole target stands also what an objective changes, against plain on the same seeds. An
    effect can grow because the target is more likely with its history, or because it is less likely
    without it: only the first is use of the history.

    Args:
        effects: token effects of every model.
        audits: exact rankings of the search error's models.
        draws: of the bootstrap.

    Returns:
        dataset, backbone, objective, base (of a difference: what is subtracted, or else empty),
        position (1 to 12, `13+` pooled, `eos` for the last token, which counts nowhere else;
        `target` for the sum over the whole answer, quotes and eos included; `halves` for the mean
        of `halves`; `titles` for the whole target of the audited examples among all titles),
        measure (one of `MEASURES`), value (nats), low, high (95 % interval over users and, crossed
        with them, seeds), p (two-sided, against 0, not adjusted; null for a log-probability, which
        is never 0), seed_sd (null for one seed), n (tokens, or examples for `target`, `titles` and
        `halves`), users, seeds (of a difference: those that both have).

    Raises:
        InputError: two models of a block were measured on different tokens or examples.
    """
    parts = []
    for (dataset, backbone), models in read_blocks(effects, audits or []).items():
        means: dict[tuple[str, str, str], list[pd.DataFrame]] = {}
        for objective in dict.fromkeys(model.objective for model in models):
            ours = [model for model in models if model.objective == objective]
            for position in dict.fromkeys(p for model in ours for p in models[model]):
                having = [m for m in ours if position in models[m]]
                means[objective, "", position] = [models[m][position] for m in having]
                pairs = [(m, models.get(m._replace(objective=BASE), {})) for m in having]
                changes = [
                    models[m][position] - base[position] for m, base in pairs if position in base
                ]
                if objective != BASE and changes and position in ("target", "titles"):
                    means[objective, BASE, position] = changes
        # One bootstrap for all that is measured on the same tokens with equally many seeds.
        alike: dict[tuple[str, int], list[tuple[str, str, str]]] = {}
        for key, frames in means.items():
            alike.setdefault((key[2], len(frames)), []).append(key)
        found = {}
        for (_, seeds), keys in alike.items():
            values = [np.stack([frame.to_numpy() for frame in means[key]]) for key in keys]
            users = codes(means[keys[0]][0].index)
            rows = estimates(np.concatenate(values, axis=2), users, draws)
            for key, of_key in zip(keys, np.split(np.arange(len(rows)), len(keys)), strict=True):
                part = rows.iloc[of_key].assign(measure=means[key][0].columns)
                part[COLUMNS[:5]] = dataset, backbone, *key
                part[COLUMNS[-3:]] = len(users), users.max() + 1, seeds
                found[key] = part
        parts += [found[key] for key in means]
    frame = pd.concat(parts, ignore_index=True)
    # A log-probability itself is never above 0.
    own = (frame["base"] == "") & (frame["measure"] != "effect")
    high = frame["high"].clip(upper=0).where(own, frame["high"])
    return frame.assign(high=high, p=frame["p"].mask(own))[COLUMNS]
