"""Table of the models that were tried on the validation split."""

from __future__ import annotations

import pandas as pd

from scripts.labels import Labels
from scripts.rows import UNKNOWN, in_order, listed, span
from scripts.tables.format import Table, names_of, number


def tuning(tuning: pd.DataFrame, labels: Labels) -> Table:
    """List every point with its NDCG@10 on the validation examples, the chosen ones in bold."""
    keys = ["dataset", "backbone", "objective", "decoder"]
    frame = in_order(tuning, keys)
    columns = {"alpha": "α", "beta": "β", "learning_rate": "Learning rate"}
    rows = [
        names_of(labels, keys, [row[key] for key in keys])
        | {
            shown: UNKNOWN if pd.isna(row[name]) else f"{row[name]:g}"
            for name, shown in columns.items()
        }
        | {"NDCG@10": number(row["value"]), "Chosen": "yes" if row["chosen"] else "no"}
        for row in frame.to_dict("records")
    ]
    unset = frame["learning_rate"].isna()
    notes = [
        f"{span(frame['examples'])} examples of the validation split, one training each, with the "
        f"seed {listed(frame['seed'])}: small differences may be chance. The highest, of equal "
        "ones the first, is chosen for all seeds of the experiments. Nothing was chosen on the "
        "test split.",
        f"{UNKNOWN}: the learning rate of the backbone's training." * bool(unset.any()),
    ]
    bold = {(i, "NDCG@10") for i in range(len(rows)) if frame["chosen"].iloc[i]}
    return Table(pd.DataFrame(rows), notes, left=len(keys), bold=bold)
