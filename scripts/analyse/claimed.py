"""What was claimed of counterfactual fine-tuning, and which rows of the analyses measure it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from scripts.cells import ALL, BASE

#: A relative gain within this many percent of 0, with a 90 % interval, is no relevant one.
RELEVANT = 3.0

#: Seeds that a grid or a comparison of lengths needs to be listed at all.
GRID_SEEDS = 3

#: The accuracy that single claims are judged by: one of the headline's two metrics.
METRIC, K = "ndcg", 5

#: Decoding that takes up to this share more counts as free of cost.
MARGIN = 0.1

#: What the effects of an analysis are counted in.
UNITS = {
    **dict.fromkeys(["headline", "dependence", "sensitivity"], " %"),
    **{"positions": " nats", "cost": " ×"},
}

#: Families of claims, whose p-values are adjusted together.
Family = Literal["primary", "parts", "balance", "history", "robustness", "cost"]


class Study(NamedTuple):
    """What the analyses do not say of a study."""

    beyond_amazon: list[str]
    """Its data sets that are not from Amazon, beside those that are."""
    grounding: list[str]
    """Its decoders that ground free text, as BIGRec does; the others search the catalogue, as D3
    does."""
    primary: list[str]
    """Of each of these two kinds the first decoder: those of the primary claims."""
    headline: list[str]
    """The data sets of the headline."""


class Claim(NamedTuple):
    """A claim and where its measurements are."""

    family: Family
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
    published: tuple[float, ...] = ()
    """Effects that others have published: the paper's, then that of its group's later re-run
    (docs/paper.md, head and §8)."""
    least_seeds: int = 1
    """A line with fewer is not listed."""
    trained: bool = True
    """Whether it is about trainings, so that a single one says nothing."""

    @property
    def unit(self) -> str:
        """What its effects are counted in."""
        return UNITS.get(self.analysis, "")


def _headline(headline: pd.DataFrame, study: Study, grounds: bool, primary: bool) -> pd.DataFrame:
    """Gains of cft with decoders of one kind and the study's first backbone: the primary one, of
    the first decoder and as the mean over the headline's data sets, or all others."""
    rows = _cft(headline)
    rows = rows[rows["decoder"].isin(study.grounding) == grounds]
    means = study.headline if len(study.headline) == 1 else [ALL]
    named = rows["decoder"].isin(study.primary) & rows["dataset"].isin(means)
    return rows[(named == primary) & (rows["backbone"] == next(iter(headline["backbone"]), ""))]


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
    gains: pd.DataFrame, study: Study, objective: str, base: str = BASE, history: str = "with"
) -> pd.DataFrame:
    """Gains of an objective over a base."""
    compared = (gains["objective"] == objective) & (gains["base"] == base)
    point = (gains["history"] == history) & (gains["metric"] == METRIC) & (gains["k"] == K)
    return gains[compared & point].rename(columns={"difference": "effect"})


def _other_history(dependence: pd.DataFrame, study: Study) -> pd.DataFrame:
    """What another user's history leaves of cft's accuracy, less what it leaves of plain's."""
    wrong = (dependence["objective"] == "cft") & (dependence["history"] == "wrong")
    rows = dependence[wrong & (dependence["metric"] == METRIC) & (dependence["k"] == K)]
    names = {"kept_contrast": "effect", "kept_contrast_low": "low", "kept_contrast_high": "high"}
    names |= {"kept_contrast_p": "p", "shared_seeds": "seeds"}
    return rows.drop(columns=["low", "high", "p", "seeds", "seed_sd"], errors="ignore").rename(
        columns=names
    )


def _distance(balance: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Differences of cft in the distance to the histories, at the largest K up to 10."""
    distances = (balance["objective"] == "cft") & (balance["measure"] == "total_variation")
    rows = balance[distances & (balance["k"] <= 10) & balance["difference"].notna()]
    rows = _greatest(rows, "k", ["dataset", "block", "decoder"])
    return _differences(rows).rename(columns={"block": "backbone"})


#: What an analysis knows of a value itself, and the names of the same of its difference.
_OWN = ["low", "high", "seeds", "seed_sd"]
_OF_DIFFERENCE = {
    "difference": "effect",
    "difference_low": "low",
    "difference_high": "high",
    "shared_seeds": "seeds",
}


def _differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of an analysis with their difference in the place of their value."""
    return rows.drop(columns=_OWN, errors="ignore").rename(columns=_OF_DIFFERENCE)


def _greatest(frame: pd.DataFrame, column: str, keys: list[str]) -> pd.DataFrame:
    """The rows that are greatest in a column among those of the same keys."""
    return frame[frame[column] == frame.groupby(keys, dropna=False)[column].transform("max")]


def _halves(positions: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Contrasts of the titles' halves under plain fine-tuning."""
    halves = (positions["objective"] == BASE) & (positions["position"] == "halves")
    return positions[halves].rename(columns={"n": "examples", "value": "effect"})


def _target(
    positions: pd.DataFrame, study: Study, measure: str, position: str = "target"
) -> pd.DataFrame:
    """The whole target's log-probability of cft less that of plain, in one branch."""
    target = (positions["position"] == position) & (positions["measure"] == measure)
    compared = (positions["objective"] == "cft") & (positions["base"] == BASE)
    return positions[target & compared].rename(columns={"n": "examples", "value": "effect"})


def _range(sensitivity: pd.DataFrame, study: Study, parameter: str) -> pd.DataFrame:
    """The range over a grid in percent of plain's accuracy, whether there is a gain or not."""
    keys = ["dataset", "backbone", "decoder"]
    rows = sensitivity[(sensitivity["metric"] == METRIC) & (sensitivity["k"] == K)]
    base = rows[rows["parameter"] == "base"].set_index(keys)["value"]
    rows = rows[rows["parameter"] == parameter].dropna(subset="range")
    rows = rows.loc[rows.groupby(keys, sort=False).head(1).index]
    per_cent = 100 / base.reindex(pd.MultiIndex.from_frame(rows[keys])).to_numpy()
    ends = {"effect": "range", "low": "range_low", "high": "range_high"}
    shares = {name: rows[column] * per_cent for name, column in ends.items()}
    return rows.drop(columns=["p", "seed_sd"], errors="ignore").assign(**shares)


def _longest(lengths: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Gains of cft at the longest histories over the shortest."""
    rows = lengths[(lengths["metric"] == METRIC) & (lengths["k"] == K)]
    rows = rows[(rows["objective"] == "cft") & rows["difference"].notna()]
    return _differences(_greatest(rows, "length", ["dataset", "backbone", "decoder"]))


def _cost(cost: pd.DataFrame, study: Study, phase: str, column: str = "") -> pd.DataFrame:
    """What cft costs over plain's: the geometric mean over seeds, and Student's interval of their
    logarithms. One seed has none; times, which are taken where no column is named, are not listed
    where any was taken on a crowded machine: they say nothing."""
    shown = (cost["phase"] == phase) & cost["history"].isin(["", "with"])
    keys = ["dataset", "backbone", "decoder"]
    both = cost[shown & cost["objective"].isin(["cft", BASE])]
    ours = both[both["objective"] == "cft"]
    crowded = both.groupby(keys)["crowded"].any()
    if column:
        bases = both[both["objective"] == BASE].set_index([*keys, "seed"])[column]
        own = pd.MultiIndex.from_frame(ours[[*keys, "seed"]])
        ours = ours.assign(relative=ours[column] / bases.reindex(own).to_numpy())
        crowded &= False
    groups = ours.assign(log=np.log(ours["relative"].astype(float))).groupby(keys, sort=False)
    logs, spread, seeds = (groups["log"].agg(how) for how in ("mean", "std", "count"))
    margin = special.stdtrit(seeds - 1, 0.975) * spread / np.sqrt(seeds)
    effect = logs.mask(crowded.reindex(seeds.index))
    bounds = {"effect": effect, "low": logs - margin, "high": logs + margin}
    ratios = pd.DataFrame({name: np.exp(log) for name, log in bounds.items()})
    return ratios.assign(seeds=seeds, examples=groups["examples"].first()).reset_index()


def _exact(search_error: pd.DataFrame, study: Study) -> pd.DataFrame:
    """What the widest search loses against the exact ranking."""
    rows = search_error[(search_error["metric"] == METRIC) & search_error["beams"].notna()]
    rows = _greatest(rows[rows["objective"] == "cft"], "beams", ["dataset", "backbone"])
    return rows.rename(columns={"difference": "effect"})


#: Every claim, in the order of the table.
CLAIMS = [
    Claim(
        "primary",
        "CFT is more accurate than BIGRec",
        "paper",
        "mean relative gain in NDCG@5 and HR@5 over plain fine-tuning, grounded decoding",
        *("headline", partial(_headline, grounds=True, primary=True)),
        published=(9.8, 4.0),
    ),
    Claim(
        "primary",
        "CFT is more accurate than D3",
        "paper",
        "mean relative gain in NDCG@5 and HR@5 over plain fine-tuning, search over the titles",
        *("headline", partial(_headline, grounds=False, primary=True)),
        published=(9.5, 3.3),
    ),
    Claim(
        "parts",
        "The causal loss helps by itself",
        "paper's analyses",
        "NDCG@5 of causal less that of plain",
        *("gains", partial(_gain, objective="causal")),
    ),
    Claim(
        "parts",
        "The token weights help by themselves",
        "paper's analyses",
        "NDCG@5 of weighted less that of plain",
        *("gains", partial(_gain, objective="weighted")),
    ),
    Claim(
        "parts",
        "Both parts together beat the token weights",
        "paper's analyses",
        "NDCG@5 of cft less that of weighted",
        *("gains", partial(_gain, objective="cft", base="weighted")),
    ),
    Claim(
        "parts",
        "Both parts together beat the causal loss: falling weights beat equal ones",
        "paper's analyses",
        "NDCG@5 of cft less that of causal",
        *("gains", partial(_gain, objective="cft", base="causal")),
    ),
    Claim(
        "parts",
        "Learned token weights beat falling ones",
        "readers",
        "NDCG@5 of cft-learned less that of cft",
        *("gains", partial(_gain, objective="cft-learned", base="cft")),
    ),
    Claim(
        "balance",
        "Recommendations are more balanced over item popularity",
        "paper",
        "total variation distance to the histories, of the top 10 or shorter lists, cft less plain",
        *("balance", _distance, "below"),
    ),
    Claim(
        "history",
        "Without its history, the model leans less on other knowledge (trained directly)",
        "paper",
        "NDCG@5 without the history, cft less plain; the causal loss trains this itself",
        *("gains", partial(_gain, objective="cft", history="without"), "below"),
    ),
    Claim(
        "history",
        "With CFT, accuracy rests more on the user's own history",
        "paper's analyses",
        "share of NDCG@5 that another user's history leaves, cft less plain",
        *("dependence", _other_history, "below"),
    ),
    Claim(
        "history",
        "The history matters most for the first tokens of a title",
        "paper",
        "effect of the history on the log-probability, first half of a title less second, plain",
        *("positions", _halves),
    ),
    Claim(
        "history",
        "With its history, CFT makes the target more likely",
        "readers",
        "log-probability of the whole target with its history, cft less plain",
        *("positions", partial(_target, measure="with_history")),
    ),
    Claim(
        "history",
        "With its history, CFT makes the target more likely among all titles",
        "readers",
        "log-probability of the whole target among all titles, cft less plain, a sample",
        *("positions", partial(_target, measure="with_history", position="titles")),
    ),
    Claim(
        "history",
        "Without its history, CFT makes the target less likely (trained directly)",
        "readers",
        "log-probability of the whole target without its history, cft less plain",
        *("positions", partial(_target, measure="without_history"), "below"),
    ),
    Claim(
        "robustness",
        "CFT beats BIGRec on single data sets, and with other decoders of its kind",
        "paper's analyses",
        "mean relative gain in NDCG@5 and HR@5 over plain fine-tuning, grounded decoding",
        *("headline", partial(_headline, grounds=True, primary=False)),
    ),
    Claim(
        "robustness",
        "CFT beats D3 on single data sets, and with other decoders of its kind",
        "paper's analyses",
        "mean relative gain in NDCG@5 and HR@5 over plain fine-tuning, search over the titles",
        *("headline", partial(_headline, grounds=False, primary=False)),
    ),
    Claim(
        "robustness",
        "CFT helps other backbones",
        "paper's analyses",
        "mean relative gain in NDCG@5 and HR@5 over plain, backbones after the study's first",
        *("headline", _other_backbones),
    ),
    Claim(
        "robustness",
        "CFT helps beyond Amazon",
        "paper's analyses",
        "mean relative gain in NDCG@5 and HR@5 over plain, other data sets",
        *("headline", _beyond_amazon),
    ),
    *(
        Claim(
            "robustness",
            f"The accuracy of CFT does not hang on {parameter}, within {RELEVANT:g} %",
            "paper's analyses",
            "NDCG@5 of the best point of the grid less the worst, in percent of plain's; whether "
            "there is a gain is another question",
            *("sensitivity", partial(_range, parameter=parameter), "below", RELEVANT),
            least_seeds=GRID_SEEDS,
        )
        for parameter in ("alpha", "beta")
    ),
    Claim(
        "robustness",
        "Longer histories make CFT more accurate",
        "readers",
        "NDCG@5 of cft at the longest histories less that at the shortest",
        *("history_length", _longest),
        least_seeds=GRID_SEEDS,
    ),
    Claim(
        "cost",
        "CFT takes twice the training time, or more",
        "readers",
        "time per step of cft over plain's, both with our shared prompts; the released step runs "
        "two whole passes, about twice its plain one",
        *("cost", partial(_cost, phase="training"), "above", 2.0),
    ),
    Claim(
        "cost",
        "CFT runs twice the tokens of plain fine-tuning, or more",
        "readers",
        "tokens that the model runs over in a training step, cft over plain's, both with our "
        "shared prompts; no matter how crowded the machine",
        *("cost", partial(_cost, phase="training", column="tokens_per_step"), "above", 2.0),
    ),
    Claim(
        "cost",
        f"CFT takes no more memory to train (up to {MARGIN:.0%})",
        "readers",
        "peak memory of a training, cft over plain's",
        *("cost", partial(_cost, phase="training", column="peak_memory_mb"), "below", 1 + MARGIN),
    ),
    Claim(
        "cost",
        f"CFT takes no more time to recommend (up to {MARGIN:.0%})",
        "readers",
        "decoding time of cft over plain's",
        *("cost", partial(_cost, phase="decoding"), "below", 1 + MARGIN),
    ),
    Claim(
        "cost",
        "Beam search loses accuracy against the exact ranking",
        "readers",
        "NDCG@10 of the widest search less that of the exact ranking, cft",
        *("search_error", _exact, "below"),
        trained=False,
    ),
]
