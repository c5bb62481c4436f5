"""What was claimed of counterfactual fine-tuning, beside what this study measured of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from scripts.cells import BASE
from scripts.evaluate.bootstrap import holm
from scripts.files import read_csv

#: Verdicts.
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "not supported", "undecided at this size"
FEW_SEEDS = "undecided with so few seeds"
UNMEASURED = "not measured in this study"

#: An adjusted p-value from here on decides nothing.
LEVEL = 0.05

#: Seeds that a verdict needs. Two say too little of how far trainings differ: where that is more
#: than the users' error, 95 % intervals miss the truth in more than one of ten cases.
LEAST_SEEDS = 3

#: What every measurement brings.
LINE = [
    *("dataset", "backbone", "decoder", "effect", "low", "high", "p"),
    *("seeds", "examples", "users"),
]
COLUMNS = ["claim", "source", "measured", "unit", *LINE, "p_holm", "verdict"]

#: The accuracy that single claims are judged by: one of the headline's two metrics.
METRIC, K = "ndcg", 5

#: Decoding that takes up to this share more counts as free of cost.
MARGIN = 0.1


class Study(NamedTuple):
    """What the analyses do not say of a study."""

    beyond_amazon: list[str]
    """Its data sets that are not from Amazon, beside those that are."""
    grounding: list[str]
    """Its decoders that ground free text, as BIGRec does; the others search the catalogue, as D3
    does."""


class Claim(NamedTuple):
    """A claim and where its measurements are."""

    text: str
    source: Literal["paper", "paper's analyses", "readers"]
    """Whose it is: a claim of the paper that is known; the expected answer to a question that the
    paper analyses, whose own answer is not known here; or a question of its readers."""
    measured: str
    """What is measured."""
    analysis: str
    """The analysis that holds it."""
    lines: Callable[[pd.DataFrame, Study], pd.DataFrame]
    """Its rows of the analysis, with those of the columns `LINE` that it has."""
    side: Literal["above", "below"] = "above"
    """On which side of `bound` the claim has the effect."""
    bound: float = 0.0
    unit: str = ""


def verdict(low: float, high: float, p: float, seeds: int, side: str, bound: float) -> str:
    """Supported where the whole interval lies on the claim's side of the bound, not supported where
    it lies on the other.

    Undecided where the interval holds the bound or there is none, where the adjusted p-value is not
    below `LEVEL` (of many lines some intervals miss the bound by chance), and with fewer than
    `LEAST_SEEDS`: a claim is about what is trained, not about a training's luck.

    Args:
        low: lower end of the interval.
        high: its upper end.
        p: adjusted p-value; NaN where there is none, as of times.
        seeds: trainings of each objective.
        side: `above` or `below`, where the claim has the effect.
        bound: of what.
    """
    if seeds < LEAST_SEEDS:
        return FEW_SEEDS
    if p >= LEVEL:
        return UNDECIDED
    if low > bound:
        return SUPPORTED if side == "above" else CONTRADICTED
    if high < bound:
        return SUPPORTED if side == "below" else CONTRADICTED
    return UNDECIDED


def _headline(grounds: bool) -> Callable[[pd.DataFrame, Study], pd.DataFrame]:
    """Gains of cft with decoders of one kind."""

    def lines(headline: pd.DataFrame, study: Study) -> pd.DataFrame:
        rows = _cft(headline)
        return rows[rows["decoder"].isin(study.grounding) == grounds]

    return lines


def _cft(headline: pd.DataFrame) -> pd.DataFrame:
    rows = headline[headline["objective"] == "cft"]
    return rows.rename(columns={"relative_gain": "effect"})


def _other_backbones(headline: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Gains of cft with all backbones but the study's first."""
    rows = _cft(headline)
    return rows[rows["backbone"] != headline["backbone"].iloc[0]] if len(rows) else rows


def _beyond_amazon(headline: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Gains of cft on single data sets that are not from Amazon."""
    rows = _cft(headline)
    return rows[rows["dataset"].isin(study.beyond_amazon)]


def _gain(
    objective: str, base: str = BASE, history: str = "with"
) -> Callable[[pd.DataFrame, Study], pd.DataFrame]:
    """Gains of an objective over a base."""

    def lines(gains: pd.DataFrame, study: Study) -> pd.DataFrame:
        compared = (gains["objective"] == objective) & (gains["base"] == base)
        point = (gains["history"] == history) & (gains["metric"] == METRIC) & (gains["k"] == K)
        return gains[compared & point].rename(columns={"difference": "effect"})

    return lines


def _other_history(dependence: pd.DataFrame, study: Study) -> pd.DataFrame:
    """What another user's history leaves of cft's accuracy, less what it leaves of plain's."""
    wrong = (dependence["objective"] == "cft") & (dependence["history"] == "wrong")
    rows = dependence[wrong & (dependence["metric"] == METRIC) & (dependence["k"] == K)]
    names = {"kept_contrast": "effect", "kept_contrast_low": "low", "kept_contrast_high": "high"}
    names |= {"kept_contrast_p": "p", "shared_seeds": "seeds"}
    return rows.drop(columns=["low", "high", "p", "seeds"]).rename(columns=names)


def _distance(balance: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Differences of cft in the distance to the histories, at the largest K up to 10."""
    distances = (balance["objective"] == "cft") & (balance["measure"] == "total_variation")
    rows = balance[distances & (balance["k"] <= 10) & balance["difference"].notna()]
    rows = _greatest(rows, "k", ["dataset", "block", "decoder"])
    return rows.drop(columns=_OWN).rename(columns=_OF_DIFFERENCE | {"block": "backbone"})


#: What an analysis knows of a value itself, and the names of the same of its difference.
_OWN = ["low", "high", "seeds"]
_OF_DIFFERENCE = {
    "difference": "effect",
    "difference_low": "low",
    "difference_high": "high",
    "shared_seeds": "seeds",
}


def _greatest(frame: pd.DataFrame, column: str, keys: list[str]) -> pd.DataFrame:
    """The rows that are greatest in a column among those of the same keys."""
    return frame[frame[column] == frame.groupby(keys, dropna=False)[column].transform("max")]


def _halves(positions: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Contrasts of the titles' halves under plain fine-tuning."""
    halves = (positions["objective"] == BASE) & (positions["position"] == "halves")
    return positions[halves].rename(columns={"n": "examples"})


def _least(parameter: str) -> Callable[[pd.DataFrame, Study], pd.DataFrame]:
    """The point of a grid whose interval reaches lowest: where it is above 0, all are.

    Where it is below 0 it was picked among all points, and its p-value is multiplied by their
    number (Bonferroni).
    """

    def lines(sensitivity: pd.DataFrame, study: Study) -> pd.DataFrame:
        point = (sensitivity["metric"] == METRIC) & (sensitivity["k"] == K)
        rows = sensitivity[point & (sensitivity["parameter"] == parameter)]
        rows = rows.dropna(subset="difference").sort_values("difference_low", kind="stable")
        groups = rows.groupby(["dataset", "backbone", "decoder"], sort=False)
        picked = (rows["p"] * groups["p"].transform("count")).clip(upper=1)
        rows = rows.assign(p=rows["p"].where(rows["difference"] > 0, picked))
        rows = rows.loc[groups.head(1).index]
        return rows.drop(columns=_OWN).rename(columns=_OF_DIFFERENCE)

    return lines


def _longest(lengths: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Gains of cft at the longest histories over the shortest."""
    rows = lengths[(lengths["metric"] == METRIC) & (lengths["k"] == K)]
    rows = rows[(rows["objective"] == "cft") & rows["difference"].notna()]
    rows = _greatest(rows, "length", ["dataset", "backbone", "decoder"])
    return rows.drop(columns=_OWN).rename(columns=_OF_DIFFERENCE)


def _cost(stage: str) -> Callable[[pd.DataFrame, Study], pd.DataFrame]:
    """Time of cft over plain's: the geometric mean over seeds, and Student's interval of their
    logarithms. One seed has none, nor have times of which any was taken on a crowded machine."""

    def lines(cost: pd.DataFrame, study: Study) -> pd.DataFrame:
        shown = (cost["stage"] == stage) & cost["history"].isin(["", "with"])
        keys = ["dataset", "backbone", "decoder"]
        both = cost[shown & cost["objective"].isin(["cft", BASE])]
        groups = both[both["objective"] == "cft"].groupby(keys, sort=False)
        logs = groups["relative"].agg(lambda ratios: np.log(ratios).mean())
        spread = groups["relative"].agg(lambda ratios: np.log(ratios).std(ddof=1))
        seeds = groups["relative"].count()
        crowded = both.groupby(keys)["crowded"].any().reindex(seeds.index)
        margin = (stats.t.ppf(0.975, seeds - 1) * spread / np.sqrt(seeds)).mask(crowded)
        bounds = {"effect": logs, "low": logs - margin, "high": logs + margin}
        ratios = pd.DataFrame({name: np.exp(log) for name, log in bounds.items()})
        return ratios.assign(seeds=seeds, examples=groups["examples"].first()).reset_index()

    return lines


def _exact(search_error: pd.DataFrame, study: Study) -> pd.DataFrame:
    """What the widest search loses against the exact ranking."""
    rows = search_error[(search_error["metric"] == METRIC) & search_error["beams"].notna()]
    rows = _greatest(rows[rows["objective"] == "cft"], "beams", ["dataset", "backbone"])
    return rows.rename(columns={"difference": "effect"})


#: Every claim, in the order of the table.
CLAIMS = [
    Claim(
        "CFT is more accurate than BIGRec (the paper: by 9.8 % on average)",
        "paper",
        "mean relative gain in NDCG@5 and HR@5 over plain fine-tuning, grounded decoding",
        *("headline", _headline(grounds=True)),
        unit=" %",
    ),
    Claim(
        "CFT is more accurate than D3 (the paper: by 9.5 % on average)",
        "paper",
        "mean relative gain in NDCG@5 and HR@5 over plain fine-tuning, constrained decoding",
        *("headline", _headline(grounds=False)),
        unit=" %",
    ),
    Claim(
        "The causal loss helps by itself",
        "paper's analyses",
        "NDCG@5 of causal less that of plain",
        *("gains", _gain("causal")),
    ),
    Claim(
        "The token weights help by themselves",
        "paper's analyses",
        "NDCG@5 of weighted less that of plain",
        *("gains", _gain("weighted")),
    ),
    Claim(
        "Both parts together beat the token weights",
        "paper's analyses",
        "NDCG@5 of cft less that of weighted",
        *("gains", _gain("cft", base="weighted")),
    ),
    Claim(
        "Both parts together beat the causal loss: falling weights beat equal ones",
        "paper's analyses",
        "NDCG@5 of cft less that of causal",
        *("gains", _gain("cft", base="causal")),
    ),
    Claim(
        "Recommendations are more balanced over item popularity",
        "paper",
        "total variation distance to the histories, of the top 10 or shorter lists, cft less plain",
        *("balance", _distance, "below"),
    ),
    Claim(
        "Without its history, the model leans less on other knowledge",
        "paper",
        "NDCG@5 without the history, cft less plain; the causal loss trains this directly",
        *("gains", _gain("cft", history="without"), "below"),
    ),
    Claim(
        "With CFT, accuracy rests more on the user's own history",
        "paper's analyses",
        "share of NDCG@5 that another user's history leaves, cft less plain",
        *("dependence", _other_history, "below"),
        unit=" %",
    ),
    Claim(
        "The history matters most for the first tokens of a title",
        "paper",
        "effect of the history on the log-probability, first half of a title less second, plain",
        *("positions", _halves),
        unit=" nats",
    ),
    Claim(
        "The gain does not hang on alpha",
        "paper's analyses",
        "NDCG@5 less that of plain, at the alpha of the grid whose interval reaches lowest",
        *("sensitivity", _least("alpha")),
    ),
    Claim(
        "The gain does not hang on beta",
        "paper's analyses",
        "NDCG@5 less that of plain, at the beta of the grid whose interval reaches lowest",
        *("sensitivity", _least("beta")),
    ),
    Claim(
        "CFT helps other backbones",
        "paper's analyses",
        "mean relative gain in NDCG@5 and HR@5 over plain, backbones after the study's first",
        *("headline", _other_backbones),
        unit=" %",
    ),
    Claim(
        "CFT helps beyond Amazon",
        "paper's analyses",
        "mean relative gain in NDCG@5 and HR@5 over plain, other data sets",
        *("headline", _beyond_amazon),
        unit=" %",
    ),
    Claim(
        "Learned token weights beat falling ones",
        "readers",
        "NDCG@5 of cft-learned less that of cft",
        *("gains", _gain("cft-learned", base="cft")),
    ),
    Claim(
        "Longer histories make CFT more accurate",
        "readers",
        "NDCG@5 of cft at the longest histories less that at the shortest",
        *("history_length", _longest),
    ),
    Claim(
        "CFT takes twice the training time, or more",
        "readers",
        "time per step of cft over plain's",
        *("cost", _cost("training"), "above", 2.0),
        unit=" ×",
    ),
    Claim(
        f"CFT takes no more time to recommend (up to {MARGIN:.0%})",
        "readers",
        "decoding time of cft over plain's",
        *("cost", _cost("decoding"), "below", 1 + MARGIN),
        unit=" ×",
    ),
    Claim(
        "Beam search loses accuracy against the exact ranking",
        "readers",
        "NDCG@10 of the widest search less that of the exact ranking, cft",
        *("search_error", _exact, "below"),
    ),
]


def claims(analyses: list[Path], beyond_amazon: list[str], grounding: list[str]) -> pd.DataFrame:
    """Judge every claim by the measurements of this study.

    A claim has one line per data set, backbone and decoder. See `verdict` for the rule.

    Args:
        analyses: CSV files named by their analysis; what is not given is not measured.
        beyond_amazon: data sets that are not from Amazon; none in a study that has no others.
        grounding: decoders that ground free text.

    Returns:
        claim, source (see `Claim`), measured, unit, dataset, backbone, decoder, effect, low, high
        (95 %; of times, over seeds alone), p (two-sided, against 0), seeds, examples, users, p_holm
        (p adjusted over all lines), verdict.
    """
    study = Study(beyond_amazon, grounding)
    frames = {path.stem: read_csv(path) for path in analyses}
    parts = []
    for claim in CLAIMS:
        frame = frames.get(claim.analysis)
        lines = pd.DataFrame(columns=LINE) if frame is None else claim.lines(frame, study)
        lines = lines.reindex(columns=LINE).dropna(subset="effect")
        if lines.empty:
            lines = pd.DataFrame([{}], columns=LINE)
        parts.append(
            lines.assign(
                claim=claim.text,
                source=claim.source,
                measured=claim.measured,
                unit=claim.unit,
                side=claim.side,
                bound=claim.bound,
                row=[f"{claim.analysis} {index}" for index in lines.index],
            )
        )
    frame = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    # Claims on other backbones or data sets share rows with the first ones: each is one test.
    tests = frame.dropna(subset="p").drop_duplicates("row").set_index("row")["p"].astype(float)
    adjusted = dict(zip(tests.index, holm(tests.to_numpy()), strict=True))
    frame["p_holm"] = frame["row"].map(adjusted).where(frame["p"].notna())
    judged = ["low", "high", "p_holm", "seeds", "side", "bound"]
    frame["verdict"] = [
        UNMEASURED if pd.isna(effect) else verdict(*line)
        for effect, *line in frame[["effect", *judged]].itertuples(index=False)
    ]
    return frame[COLUMNS]
