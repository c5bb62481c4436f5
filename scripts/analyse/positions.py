"""The effect of the history on each token of the target."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.blocks import codes
from scripts.analyse.bootstrap import cluster_bootstrap, interval
from scripts.cells import model_of
from scripts.command import run
from scripts.contracts import TOKEN_EFFECTS
from scripts.files import read_table, write_csv

#: Last position that stands alone.
LAST = 12

#: The positions in their order: later ones are pooled, the last token (eos) stands apart.
POSITIONS = [*(str(p) for p in range(1, LAST + 1)), f"{LAST + 1}+", "eos"]


def name_positions(frame: pd.DataFrame) -> pd.Series:
    """The name in `POSITIONS` of every token; the last token of an answer is always `eos`."""
    names = frame["position"].clip(upper=LAST + 1).astype(str)
    names = names.where(frame["position"] <= LAST, f"{LAST + 1}+")
    return names.where(frame["position"] < frame["tokens"], "eos")


def positions(effects: list[Path], output: Path, resamples: int = 2000, seed: int = 0) -> None:
    """Average log p(token | history) - log p(token | no history) per token position.

    Args:
        effects: token effects of every model.
        output: CSV to write: dataset, backbone, objective, seed, position (1 to 12, `13+`
            pooled, `eos` for the last token, which counts nowhere else), effect (nats), low, high
            (95 % interval over users), n (tokens), users.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    rows = []
    for path in effects:
        dataset, backbone, objective, model_seed = model_of(path)
        frame = read_table(path, TOKEN_EFFECTS)
        frame["effect"] = frame["with_history"].astype(float) - frame["without_history"]
        named = dict(list(frame.groupby(name_positions(frame))))
        for position in (p for p in POSITIONS if p in named):
            tokens = named[position]
            users = codes(tokens["user"])
            drawn = cluster_bootstrap(tokens[["effect"]].to_numpy(float), users, resamples, seed)
            low, high = interval(drawn[:, 0])
            rows.append(
                {
                    "dataset": dataset,
                    "backbone": backbone,
                    "objective": objective,
                    "seed": model_seed,
                    "position": position,
                    "effect": tokens["effect"].mean(),
                    "low": low,
                    "high": high,
                    "n": len(tokens),
                    "users": users.max() + 1,
                }
            )
    write_csv(pd.DataFrame(rows), output)


if __name__ == "__main__":
    run(positions)
