"""What a study makes: its tables and figures, and the analyses that they stand on."""

from __future__ import annotations

from scripts.study import config
from scripts.study.config import Study

#: Of the analyses that claims are judged by, those that a study has with their table only.
_SOMETIMES = ("dependence", "sensitivity", "history_length", "search_error")


def tables(study: Study) -> dict[str, list[str]]:
    """The analyses that each table stands on; what a study does not compare has no table."""
    missing = _missing(study) | {
        "backbones": not config.shared_datasets(study),
        "beyond": not config.compared_beyond_amazon(study),
        "cases": not config.case_cells(study),
        "search_error": study.search_error is None,
    }
    # What every table of measurements tells of in its foot: devices, and how settings were chosen.
    told = ["cost", "chosen"]
    known = {
        "statistics": ["statistics"],
        "accuracy": ["accuracy", "gains", "headline", *told],
        "cutoffs": ["accuracy", *told],
        "chosen": ["chosen"],
        "ablation": ["accuracy", "gains", *told],
        "schedules": ["accuracy", "schedules", *schedule_gains(study), *told],
        "backbones": ["gains", "headline", *told],
        "beyond": ["gains", "headline", *told],
        "balance": ["balance", *told],
        "concentration": ["balance", *told],
        "dependence": ["dependence", *told],
        "sensitivity": ["sensitivity", "cost"],
        "history_length": ["history_length"],
        "search_error": ["search_error", *told],
        "cases": ["cases", *told],
        "cost": ["cost"],
        "claims": ["claims", *told],
    }
    return {name: analyses for name, analyses in known.items() if not missing.get(name)}


def figures(study: Study) -> list[str]:
    """The figures, each of the analysis of its name; what a study does not compare has none."""
    alone = not config.compares_objectives(study)
    missing = _missing(study) | {"gains": alone, "strata": alone}
    known = [
        *("data", "accuracy", "gains", "balance", "strata", "dependence", "positions"),
        *("schedules", "sensitivity", "history_length", "curves", "cost"),
    ]
    return [name for name in known if not missing.get(name)]


def _missing(study: Study) -> dict[str, bool]:
    """Whether a study lacks what a table and a figure of this name show."""
    histories = {cell.history for cell in config.experiment_cells(study)}
    return {
        "dependence": histories == {"with"},
        "schedules": not config.schedule_bases(study),
        "sensitivity": not study.sensitivity,
        "history_length": not study.history_length,
    }


def schedule_gains(study: Study) -> list[str]:
    """The analyses of gains over the objectives with equal token weights."""
    return [f"gains_over/{base}" for base in dict.fromkeys(config.schedule_bases(study).values())]


def rivals(study: Study) -> dict[str, str]:
    """Objectives that claims compare with another base than plain fine-tuning, by that base."""
    used = {cell.objective for cell in config.experiment_cells(study)}
    pairs = {"weighted": "cft", "causal": "cft", "cft": "cft-learned"}
    return {base: name for base, name in pairs.items() if {base, name} <= used}


def claim_analyses(study: Study) -> list[str]:
    """The analyses that claims are judged by."""
    own = tables(study)
    return [
        *("headline", "gains", "balance", "positions", "cost"),
        *(f"gains_over/{base}" for base in rivals(study)),
        *(name for name in _SOMETIMES if name in own),
    ]
