"""Table of the settings of the models, and how they were chosen."""

from __future__ import annotations

import pandas as pd

from scripts.labels import Labels
from scripts.rows import UNKNOWN, in_order, listed, plain_number, span
from scripts.tables.format import Table, names_of

#: Columns of the table by setting.
SETTINGS = {
    **{"alpha": "α", "beta": "β", "token_weights": "Token weights"},
    **{"learning rate": "Learning rate"},
    **{"training examples": "Training examples", "epoch": "Epoch", "g": "g"},
}


def choices(choices: pd.DataFrame, labels: Labels) -> Table:
    """List the settings of every objective, with the values of its seeds."""
    frame = choices.assign(value=plain_number(choices["value"]))
    keys = ["dataset", "backbone", "objective"]
    rows = []
    for key, cell in in_order(frame, keys).groupby(keys, sort=False):
        row = names_of(labels, keys, key)
        row |= dict.fromkeys(SETTINGS.values(), UNKNOWN)
        for setting, of_setting in cell.groupby("setting", sort=False):
            row[SETTINGS[setting]] = "; ".join(
                described(values, f"{labels.decoder(decoder)} " if decoder else "")
                for decoder, values in of_setting.groupby("decoder", sort=False)
            )
        rows.append(row)
    notes = [
        'What stands without an "of" is set in the config before training. Where it stands, the '
        "value was chosen from those after it: the epoch whose model is kept by the lowest loss, "
        "all else by the highest NDCG@10, on so many examples of the validation split. "
        f"By seed ({listed(frame['seed'])}) where the seeds differ. "
        "Nothing was chosen on the test split. Baselines train on the whole training split."
    ]
    return Table(pd.DataFrame(rows), notes, left=3)


def described(rows: pd.DataFrame, before: str) -> str:
    """Values of a setting by seed, with what they were chosen from and on."""
    values = list(rows["value"])
    text = before + ", ".join(values[:1] if len(set(values)) == 1 else values)
    candidates = rows["candidates"].dropna().unique()
    if not len(candidates):
        return text
    return f"{text} of {' / '.join(candidates)} ({span(rows['examples'])} examples)"
