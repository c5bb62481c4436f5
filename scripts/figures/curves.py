"""Figure of the training curves."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing


def curves(values: pd.DataFrame, labels: Labels) -> Drawing:
    """Draw the smoothed training loss and the validation loss, per objective and seed."""
    data = style.some(values.sort_values("step", kind="stable"))
    looks = style.looks(data["objective"])
    runs = ["dataset", "backbone", "objective", "seed"]
    train = data[data["split"] == "train"]
    # A centred moving average over a twentieth of the run.
    smooth = train.groupby(runs)["loss"].transform(
        lambda loss: loss.rolling(max(1, len(loss) // 20), center=True, min_periods=1).mean()
    )
    data = data.assign(smoothed=smooth)
    blocks = list(data.groupby(["dataset", "backbone"], sort=False))
    figure, axes = style.wrapped(len(blocks), style.PAGE, 1.8, across=3)
    columns = min(3, len(blocks))
    for i, (axis, ((dataset, backbone), here)) in enumerate(zip(axes, blocks, strict=True)):
        for (objective, _), run_ in here.groupby(["objective", "seed"], sort=False):
            colour, marker = looks[objective]
            line, points = run_[run_["split"] == "train"], run_[run_["split"] == "valid"]
            axis.plot(line["step"], line["smoothed"], color=colour, linewidth=0.9, alpha=0.8)
            axis.plot(
                points["step"], points["loss"], marker, ls=":", color=colour, mec="white", mew=0.5
            )
        axis.set_xlabel("optimiser step")
        axis.set_ylabel("loss" if i % columns == 0 else "")
        axis.locator_params(axis="x", nbins=5)
        # Learned token weights seek the worst tokens, whose loss is many times the mean.
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(NullLocator())
        style.panel_name(axis, labels.dataset(dataset), labels.block(backbone))
    handles = [style.handle(n, look, "") for n, look in looks.items()]
    handles.append(style.handle("training (smoothed)", (style.NEUTRAL, "")))
    handles.append(style.handle("validation", (style.NEUTRAL, "o"), ":"))
    style.legend(figure, handles, across=6)
    return Drawing(figure, data)
