"""Everything that a study shows: one entry per output, from the files it reads to its figure.

An output named x has its analysis in `scripts/analyse/x.py`, its table in `scripts/tables/x.py`,
its figure in `scripts/figures/x.py` and captions in `workflow/report`, as far as it has them; one
of the user's has them all in `extensions/x.py`. The rules, the targets, the report's order and the
tests follow from `OUTPUTS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from scripts.cells import ALL, Cell
from scripts.extensions import own
from scripts.study.cells import (
    baseline_cells,
    beyond_amazon,
    case_cells,
    compared_beyond_amazon,
    compared_objectives,
    compares_objectives,
    equal_weight_bases,
    experiment_cells,
    grid_cells,
    grid_centre,
    grid_points,
    headline_k,
    history_length_cells,
    history_lengths,
    probes_histories,
    search_error_cells,
    shared_datasets,
    shown_baselines,
    shown_cells,
    tuning_cells,
    weighted_cells,
)
from scripts.study.schema import Study

#: What follows from a study: files relative to the folder of its results, or an option's value.
Files = Callable[[Study], list[str]]
Value = Callable[[Study], Any]
Cells = Callable[[Study], list[Cell]]


class Output(NamedTuple):
    """One output of a study."""

    name: str = ""
    """A module of the user's gives it its own."""
    question: str = ""
    """What it answers: the heading in the report, whose order is that of the entries."""
    reads: dict[str, Files] = {}
    """What its analysis reads, by option; empty where it stands on analyses of others alone."""
    settings: dict[str, Value] = {}
    """Further options of its analysis."""
    table: tuple[str, ...] = ()
    """The analyses that its table stands on; none where it has no table."""
    table_options: tuple[str, ...] = ()
    """What the table takes of `OPTIONS`."""
    figure: bool = False
    """Whether it has a figure, which draws its analysis."""
    figure_options: tuple[str, ...] = ()
    """What the figure takes of `OPTIONS`."""
    when: Value = lambda study: True
    """Whether a study has its table and figure."""


def of_cells(folder: str, cells: Cells, ending: str = ".parquet") -> Files:
    """The files of a folder for some cells."""
    return lambda study: [f"{folder}/{cell.path}{ending}" for cell in cells(study)]


def of_models(folder: str, cells: Cells, ending: str = ".parquet") -> Files:
    """The files of a folder for the models of some cells, each once."""
    return lambda study: list(
        dict.fromkeys(f"{folder}/{cell.model}{ending}" for cell in cells(study))
    )


def of_datasets(names: Callable[[Study], Any]) -> Files:
    """What stands for prepared data sets: the record in their folder, which is written last."""
    return lambda study: [f"data/{name}/preparation.json" for name in names(study)]


def of_analyses(*names: str) -> Files:
    """Other analyses, but for those of outputs that the study does not have."""

    def files(study: Study) -> list[str]:
        had = {output.name for output in OUTPUTS if output.when(study)}
        return [f"analyses/{name}.csv" for name in names if name in had]

    return files


def title_tokens(study: Study) -> list[str]:
    """Tokens of the titles of every data set with every backbone that sees it."""
    pairs = dict.fromkeys((cell.dataset, cell.backbone) for cell in experiment_cells(study))
    return [f"title_tokens/{dataset}/{backbone}.json" for dataset, backbone in pairs]


def keys_of_datasets(key: str) -> Value:
    """A key of the data sets, by the name of those that have it."""
    return lambda study: {
        name: entry.model_dump(exclude_none=True)
        for name, dataset in study.datasets.items()
        if (entry := getattr(dataset, key))
    }


def headline_datasets(study: Study) -> list[str]:
    """The data sets of the headline."""
    return study.headline or list(study.datasets)


def grounding(study: Study) -> list[str]:
    """The decoders that ground free text."""
    return [name for name, one in study.decoders.items() if one.kind.startswith("ground")]


def labels(study: Study) -> dict[str, dict[str, str]]:
    """The names that tables and figures show: labels, with the name where several are alike."""
    shown = {}
    for kind in ("datasets", "backbones", "baselines", "decoders"):
        given = {name: entry.label for name, entry in getattr(study, kind).items()}
        times = Counter(given.values())
        shown[kind] = {
            n: f"{label} ({n})" if times[label] > 1 else label for n, label in given.items()
        }
    named = [shown["datasets"][name] for name in headline_datasets(study) if name in study.datasets]
    shown["datasets"][ALL] = f"mean of {', '.join(named)}"
    return shown


#: What tables and figures know of a study besides analyses and labels.
OPTIONS: dict[str, Value] = {
    "k": headline_k,
    "methods": lambda study: [one.model_dump(exclude_none=True) for one in study.methods],
    "published": keys_of_datasets("published"),
    "references": keys_of_datasets("references"),
    "datasets": compared_beyond_amazon,
}

datasets = of_datasets(lambda study: study.datasets)
runs = of_models("models", experiment_cells, "/run.json")
metrics = of_cells("metrics", experiment_cells)

CLAIMS = "What was claimed, and does it hold?"
DATA = "What is the data?"
ACCURACY = "How accurate is each method?"
PARTS = "What does each part of CFT add?"
ELSEWHERE = "Does it hold for other backbones and data sets?"
HISTORY = "Does it use the history?"
BALANCE = "Is it balanced?"
WHO = "Who gains?"

OUTPUTS = [
    # The report opens with it.
    Output("summary", CLAIMS, table=("claims", "choices")),
    Output(
        "claims",
        CLAIMS,
        {
            "analyses": of_analyses(
                *("headline", "gains", "balance", "positions", "cost"),
                *("dependence", "sensitivity", "history_length", "search_error"),
            )
        },
        {
            "beyond_amazon": beyond_amazon,
            "grounding": grounding,
            # Of each kind the first in the configuration.
            "primary": lambda s: [
                *grounding(s)[:1],
                *[name for name in s.decoders if name not in grounding(s)][:1],
            ],
            "headline": headline_datasets,
        },
        table=("claims", "provenance"),
    ),
    Output(
        "statistics",
        DATA,
        {"datasets": datasets, "title_tokens": title_tokens},
        table=("statistics",),
        table_options=("published",),
    ),
    Output("data", DATA, {"datasets": datasets}, figure=True),
    Output(
        "accuracy",
        ACCURACY,
        {"metrics": of_cells("metrics", lambda s: [*shown_baselines(s), *experiment_cells(s)])},
        table=("accuracy", "gains", "headline", "provenance"),
        table_options=("methods", "references"),
        figure=True,
        figure_options=("k",),
    ),
    Output(
        "headline",
        reads={"metrics": of_cells("metrics", shown_cells)},
        settings={"datasets": headline_datasets},
    ),
    Output("cutoffs", ACCURACY, table=("accuracy", "provenance"), table_options=("methods",)),
    Output(
        "choices",
        ACCURACY,
        {"runs": runs, "decodings": of_cells("recommendations", shown_cells, ".json")},
        table=("choices",),
    ),
    Output(
        "tuning",
        ACCURACY,
        {"validations": of_cells("validation", tuning_cells, ".json")},
        {"tuned": lambda s: {c.objective: t.objective for c, t in tuning_cells(s).items()}},
        table=("tuning",),
        when=tuning_cells,
    ),
    Output("provenance", reads={"cost": of_analyses("cost"), "choices": of_analyses("choices")}),
    Output("ablation", PARTS, table=("accuracy", "gains", "provenance")),
    Output(
        "gains",
        PARTS,
        {"metrics": metrics},
        {"objectives": compared_objectives},
        figure=True,
        when=compares_objectives,
    ),
    Output(
        "token_weights",
        PARTS,
        {"runs": of_models("models", weighted_cells, "/run.json")},
        {"bases": equal_weight_bases},
        table=("accuracy", "token_weights", "gains", "provenance"),
        figure=True,
        when=equal_weight_bases,
    ),
    Output(
        "sensitivity",
        PARTS,
        {"metrics": of_cells("metrics", grid_cells)},
        {"points": grid_points, "centre": grid_centre},
        table=("sensitivity", "provenance"),
        figure=True,
        figure_options=("k",),
        when=lambda study: study.sensitivity,
    ),
    Output(
        "curves",
        PARTS,
        {"curves": of_models("models", experiment_cells, "/curves.csv")},
        figure=True,
    ),
    Output(
        "backbones",
        ELSEWHERE,
        table=("gains", "headline", "provenance"),
        table_options=("methods",),
        when=shared_datasets,
    ),
    Output(
        "beyond_amazon",
        ELSEWHERE,
        table=("gains", "headline", "provenance"),
        table_options=("methods", "datasets"),
        when=compared_beyond_amazon,
    ),
    Output(
        "dependence",
        HISTORY,
        {
            kind: of_cells(kind, lambda s: experiment_cells(s) + baseline_cells(s))
            for kind in ("metrics", "recommendations")
        },
        {"k": headline_k},
        table=("dependence", "provenance"),
        table_options=("k",),
        figure=True,
        figure_options=("k",),
        when=probes_histories,
    ),
    Output(
        "positions",
        HISTORY,
        {
            "effects": of_models("token_effects", experiment_cells),
            "audits": of_models("audits", search_error_cells, ".csv"),
        },
        figure=True,
    ),
    Output(
        "balance",
        BALANCE,
        {
            "recommendations": of_cells(
                "recommendations", lambda s: [*shown_baselines(s), *shown_cells(s)]
            ),
            "datasets": datasets,
        },
        {"k": headline_k},
        table=("balance", "provenance"),
        table_options=("k",),
        figure=True,
        figure_options=("k",),
    ),
    Output("concentration", BALANCE, table=("balance", "provenance"), table_options=("k",)),
    Output(
        "strata",
        WHO,
        {"metrics": of_cells("metrics", shown_cells), "datasets": datasets},
        figure=True,
        figure_options=("k",),
        when=compares_objectives,
    ),
    Output(
        "cases",
        WHO,
        {
            "recommendations": of_cells("recommendations", case_cells),
            "effects": of_models(
                "token_effects", lambda s: [c for c in case_cells(s) if not c.baseline]
            ),
            "datasets": of_datasets(lambda s: dict.fromkeys(c.dataset for c in case_cells(s))),
        },
        table=("cases", "provenance"),
        when=case_cells,
    ),
    Output(
        "cost",
        "What does it cost?",
        {"runs": runs, "decodings": of_cells("recommendations", experiment_cells, ".json")},
        table=("cost",),
        figure=True,
    ),
    Output(
        "search_error",
        "Is the search exact?",
        {"audits": of_models("audits", search_error_cells, ".csv")},
        table=("search_error", "provenance"),
        when=search_error_cells,
    ),
    Output(
        "history_length",
        "What do longer histories bring?",
        {
            "metrics": of_cells("metrics", history_length_cells),
            "runs": of_models("models", history_length_cells, "/run.json"),
            "decodings": of_cells("recommendations", history_length_cells, ".json"),
            "tests": lambda s: [
                f"data/{name}/examples/test.parquet" for name in history_lengths(s)
            ],
        },
        {"lengths": history_lengths, "k": headline_k},
        table=("history_length",),
        table_options=("k",),
        figure=True,
        figure_options=("k",),
        when=lambda study: study.history_length,
    ),
]


def with_own(modules: list[str]) -> list[Output]:
    """`OUTPUTS`, and those of the user's modules, which give them their names."""
    return OUTPUTS + [own(module, "OUTPUT")._replace(name=module) for module in modules]


def tables(study: Study) -> list[Output]:
    """The outputs whose table the study has."""
    return [one for one in with_own(study.outputs) if one.table and one.when(study)]


def figures(study: Study) -> list[Output]:
    """The outputs whose figure the study has."""
    return [one for one in with_own(study.outputs) if one.figure and one.when(study)]


def pushed(study: Study) -> list[str]:
    """The records of the models that are uploaded to a model hub."""
    return of_models("hub", experiment_cells, ".json")(study) if study.push_to_hub else []


def options(study: Study, names: tuple[str, ...]) -> dict[str, Any]:
    """Options of a table or figure: the labels, and what it takes of `OPTIONS`."""
    return {"labels": labels(study)} | {name: OPTIONS[name](study) for name in names}
