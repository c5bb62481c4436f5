"""The effect of the history on each token of the target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.cells import model_of
from scripts.command import InputError
from scripts.contracts import TOKEN_EFFECTS
from scripts.evaluate.blocks import codes
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.measure import estimates
from scripts.files import read_table

#: Last position that stands alone.
LAST = 12

#: The positions in their order: later ones are pooled, the last token (eos) stands apart.
POSITIONS = [*(str(p) for p in range(1, LAST + 1)), f"{LAST + 1}+", "eos"]


def name_positions(frame: pd.DataFrame) -> pd.Series:
    """The name in `POSITIONS` of every token; the last token of an answer is always `eos`."""
    names = frame["position"].clip(upper=LAST + 1).astype(str)
    names = names.where(frame["position"] <= LAST, f"{LAST + 1}+")
    return names.where(frame["position"] < frame["tokens"], "eos")


def halves(frame: pd.DataFrame) -> pd.Series:
    """By how much the effect on a title's first half exceeds that on its second half.

    The first token, an opening quote, and the last two, the closing quote and eos, are left out:
    they are the same in every answer, and plain models need no history for them. So is the middle
    one of an odd number. Where a tokenizer joins the closing quote to the end of a title, that end
    is left out with it.

    Args:
        frame: token effects in the order of the positions, with `effect`.

    Returns:
        mean effect over the first half minus that over the second, by `example_id`; examples with
        fewer than two tokens in between are absent.
    """
    between = frame[(frame["position"] > 1) & (frame["position"] < frame["tokens"] - 1)]
    half = (between["tokens"] - 3) // 2
    first = between["effect"].where(between["position"] <= 1 + half)
    second = between["effect"].where(between["position"] >= between["tokens"] - 1 - half)
    means = pd.DataFrame({"first": first, "second": second}).groupby(between["example_id"]).mean()
    return (means["first"] - means["second"]).dropna()


def positions(effects: list[Path], draws: Draws = DRAWS) -> pd.DataFrame:
    """Average log p(token | history) - log p(token | no history) per token position.

    Args:
        effects: token effects of every model.
        draws: of the bootstrap.

    Returns:
        dataset, backbone, objective, position (1 to 12, `13+` pooled, `eos` for the last token,
        which counts nowhere else; `halves` for the mean of `halves`), effect (nats), low, high
        (95 % interval over users and, crossed with them, seeds), p (two-sided, against 0, not
        adjusted), seed_sd (null for one seed), n (tokens, or examples for `halves`), users, seeds.

    Raises:
        InputError: two seeds of a model were measured on different tokens.
    """
    models: dict[tuple[str, ...], list[Path]] = {}
    for path in effects:
        models.setdefault(model_of(path)[:3], []).append(path)
    rows = []
    for (dataset, backbone, objective), paths in models.items():
        frames = [read_table(path, TOKEN_EFFECTS) for path in paths]
        tokens = frames[0][["example_id", "user", "position", "tokens"]]
        for path, frame in zip(paths, frames, strict=True):
            if not frame[tokens.columns].equals(tokens):
                raise InputError(f"{path}: other tokens than in {paths[0]}; rerun both")
            frame["effect"] = frame["with_history"].astype(float) - frame["without_history"]
        named = tokens.groupby(name_positions(tokens)).indices
        measured = {
            position: (
                np.stack([frame["effect"].to_numpy()[named[position]] for frame in frames]),
                tokens["user"].iloc[named[position]],
            )
            for position in POSITIONS
            if position in named
        }
        contrast = pd.concat([halves(frame) for frame in frames], axis=1)
        if len(contrast):
            of_user = tokens.groupby("example_id")["user"].first()
            measured["halves"] = contrast.to_numpy().T, of_user.loc[contrast.index]
        for position, (values, users) in measured.items():
            user = codes(users)
            found = estimates(values[:, :, None], user, draws)
            rows.append(
                {"dataset": dataset, "backbone": backbone, "objective": objective}
                | {"position": position}
                | found.rename(columns={"value": "effect"}).iloc[0].to_dict()
                | {"n": values.shape[1], "users": user.max() + 1, "seeds": len(values)}
            )
    return pd.DataFrame(rows)
