"""Figure of the training curves."""

from __future__ import annotations

import pandas as pd

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

#: The panels of each data set and backbone.
PANELS = {"train": ["training loss"], "valid": ["validation loss,", "equal weights"]}


def curves(values: pd.DataFrame, labels: Labels) -> Drawing:
    """Draw the smoothed training loss and, beside it, the validation loss with equal token weights,
    per objective and seed."""
    data = style.some(values.sort_values("step", kind="stable"))
    looks = style.looks(data["objective"])
    runs = ["dataset", "backbone", "objective", "seed"]
    train = data[data["split"] == "train"]
    # A centred moving average over a twentieth of the run.
    smooth = train.groupby(runs)["loss"].transform(
        lambda loss: loss.rolling(max(1, len(loss) // 20), center=True, min_periods=1).mean()
    )
    data = data.assign(drawn=smooth.reindex(data.index).fillna(data["equal_weight_loss"]))
    blocks = list(data.groupby(["dataset", "backbone"], sort=False))
    figure, axes = style.grouped(len(blocks), len(PANELS), 1.6)
    for row, ((dataset, backbone), here) in zip(axes, blocks, strict=True):
        row[1].sharex(row[0])
        block = [labels.dataset(dataset), labels.block(backbone)]
        for axis, (split, name) in zip(row, PANELS.items(), strict=True):
            for (objective, _), run in here[here["split"] == split].groupby(runs[2:], sort=False):
                colour, marker = looks[objective]
                if split == "train" and len(run) > 1:
                    marker = ""
                line = "-" if split == "train" else ":"
                axis.plot(
                    run["step"], run["drawn"], color=colour, marker=marker, ls=line, lw=0.9, ms=3
                )
            axis.set_xlabel("optimiser step")
            axis.locator_params(nbins=4)
            style.panel_name(axis, *(block if split == "train" else []), *name)
        losses = here.loc[here["split"] == "train", "drawn"]
        # Learned token weights seek the worst tokens, whose loss is many times the mean.
        if losses.max() > 4 * losses.min():
            row[0].set_yscale("log")
            style.log_ticks(row[0].yaxis)
        row[0].set_xlim(left=0)
        row[0].set_ylabel("loss (nats)")
    style.legend(figure, [style.handle(n, look) for n, look in looks.items()], across=5)
    return Drawing(figure, data)
