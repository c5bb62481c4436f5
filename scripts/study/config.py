"""The configuration of a study: its only schema, its only defaults, and the cells it spans."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from scripts.backbones.settings import BackboneSource
from scripts.baselines.settings import SEQUENTIAL, Baseline, Trained
from scripts.cells import BASELINES, Cell, model_path
from scripts.command import InputError, Settings
from scripts.contracts import CUTOFFS
from scripts.data.settings import Dataset
from scripts.decode.settings import Decoder, History
from scripts.finetune.settings import Objective, Training
from scripts.study import resources
from scripts.tables.settings import Method

#: A name becomes a folder and a Snakemake wildcard.
NAME = r"^[A-Za-z0-9][A-Za-z0-9.+-]*$"
Seed = Annotated[int, Field(ge=0)]


class Backbone(Settings):
    """One language model and how it is fine-tuned and evaluated."""

    label: str
    """Name in tables and figures."""
    source: BackboneSource
    """Where the model comes from."""
    training: Training = Training()
    """How it is fine-tuned."""
    test_examples: int | None = Field(None, ge=1)
    """Size of a random sub-sample of the test split, the same for all seeds; null takes all."""

    @model_validator(mode="after")
    def _context(self) -> Backbone:
        longest = getattr(self.source, "max_tokens", self.training.max_tokens)
        if self.training.max_tokens > longest:
            raise ValueError(
                f"training.max_tokens {self.training.max_tokens} must not exceed "
                f"source.max_tokens {longest}"
            )
        return self


class Experiment(Settings):
    """A block of the study: every combination of its lists is one cell."""

    backbones: list[str] = Field(min_length=1)
    """Names of `backbones`."""
    datasets: list[str] = Field(min_length=1)
    """Names of `datasets`."""
    objectives: list[str] = Field(min_length=1)
    """Names of `objectives`."""
    decoders: list[str] = Field(min_length=1)
    """Names of `decoders`."""
    histories: list[History] = ["with", "without"]
    """What the model is shown at test time: the history, none, another user's of a similar length
    (`wrong`), or the same items in another order (`shuffled`)."""
    seeds: list[Seed] = Field(min_length=1)
    """Seeds of the fine-tuning."""


class Sensitivity(Settings):
    """A grid around one objective: alpha varies with its beta, then beta with its alpha."""

    backbone: str
    """Name of a backbone."""
    dataset: str
    """Name of a data set."""
    objective: str = "cft"
    """The objective in the middle of the grid."""
    alpha: list[Annotated[float, Field(ge=0)]] = []
    """Values of alpha."""
    beta: list[Annotated[float, Field(ge=0, le=1)]] = []
    """Values of beta."""
    decoder: str = "constrained"
    """Decoder of the grid's points."""
    seeds: list[Seed] = Field([0], min_length=1)
    """Seeds of the grid's points."""


class HistoryLength(Settings):
    """Models of a data set whose histories are cut at several lengths, on the same test examples.

    The backbone's `training.max_tokens` must hold the longest: the table tells how many prompts
    lost titles to fit.
    """

    backbone: str
    """Name of a backbone."""
    dataset: str
    """Name of a data set; at its own `preparation.max_history` the experiments' cells serve."""
    objectives: list[str] = Field(["plain", "cft"], min_length=1)
    """Names of `objectives`."""
    lengths: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    """Longest histories, in items; differences are taken to the shortest."""
    decoder: str = "constrained"
    """Name of a decoder."""
    seeds: list[Seed] = Field([0], min_length=1)
    """Seeds of the fine-tuning."""


class SearchError(Settings):
    """What beam search misses: a sample of the test examples ranked exactly, every title scored."""

    backbone: str
    """Name of a backbone."""
    dataset: str
    """Name of a data set."""
    objectives: list[str] = Field(["plain"], min_length=1)
    """Names of `objectives`."""
    beams: list[Annotated[int, Field(ge=1)]] = Field([5, 10, 20, 50], min_length=1)
    """Widths of the searches that are compared."""
    examples: int = Field(50, ge=1)
    """Size of the sample."""
    seeds: list[Seed] = Field([0], min_length=1)
    """Seeds of the fine-tuned models."""


class Study(Settings):
    """A whole study, checked."""

    study: str = Field(pattern=NAME)
    """Name of the study: everything is written to results/<study>/."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models are trained and decoded; `cuda` stops in the preflight where there is no GPU."""
    missing_gpu: Literal["stop", "warn"] = "stop"
    """What the preflight does where `device` is `cuda`, there is no GPU and models or
    recommendations are missing; `warn` is for a cluster's head node."""
    threads: int = Field(2, ge=1)
    """CPU threads of a fine-tuning or decoding job of a pretrained backbone."""
    datasets: dict[str, Dataset] = Field(min_length=1)
    """Data sets by name."""
    baselines: dict[str, Baseline] = {}
    """Recommenders without a language model, by name; each runs on every data set."""
    baseline_seeds: list[Seed] = Field([0], min_length=1)
    """Seeds of the baselines that are trained."""
    backbones: dict[str, Backbone] = Field(min_length=1)
    """Language models by name."""
    objectives: dict[str, Objective] = {
        "plain": Objective(),
        "weighted": Objective(beta=0.25),
        "causal": Objective(alpha=0.1),
        "cft": Objective(alpha=0.1, beta=0.25),
        "cft-learned": Objective(alpha=0.1, schedule="learned"),
    }
    """Objectives by name."""
    decoders: dict[str, Decoder]
    """Decoders by name."""
    experiments: list[Experiment] = Field(min_length=1)
    """The blocks of the study."""
    sensitivity: list[Sensitivity] = []
    """Grids over alpha and beta."""
    history_length: list[HistoryLength] = []
    """Accuracy, time and memory against the length of the histories."""
    search_error: SearchError | None = None
    """Comparison of beam search with the exact ranking; null leaves its table out."""
    methods: list[Method] = []
    """Named points of the accuracy table."""

    @field_validator("datasets", "baselines", "backbones", "objectives", "decoders")
    @classmethod
    def _names(cls, entries: dict[str, Any]) -> dict[str, Any]:
        for name in entries:
            if not re.match(NAME, name) or name == BASELINES:
                raise ValueError(
                    f"'{name}' cannot be a name: use letters, digits, '.', '+' and '-', "
                    f"starting with a letter or digit, and not '{BASELINES}'"
                )
        return entries

    @model_validator(mode="after")
    def _references(self) -> Study:
        known = {
            "dataset": self.datasets,
            "backbone": self.backbones,
            "objective": self.objectives,
            "decoder": self.decoders,
        }
        wanted: list[tuple[str, str, str]] = []
        for i, block in enumerate(self.experiments):
            for kind in known:
                names = getattr(block, f"{kind}s")
                wanted += [(f"experiments.{i}.{kind}s", kind, name) for name in names]
        for i, grid in enumerate(self.sensitivity):
            wanted += [(f"sensitivity.{i}.{kind}", kind, getattr(grid, kind)) for kind in known]
        for i, ladder in enumerate(self.history_length):
            key = f"history_length.{i}"
            wanted += [
                (f"{key}.{kind}", kind, getattr(ladder, kind))
                for kind in ("dataset", "backbone", "decoder")
            ]
            wanted += [(f"{key}.objectives", "objective", name) for name in ladder.objectives]
        if one := self.search_error:
            wanted.append(("search_error.backbone", "backbone", one.backbone))
            wanted.append(("search_error.dataset", "dataset", one.dataset))
            wanted += [("search_error.objectives", "objective", name) for name in one.objectives]
        for i, method in enumerate(self.methods):
            wanted.append((f"methods.{i}.objective", "objective", method.objective))
            wanted.append((f"methods.{i}.decoder", "decoder", method.decoder))
        unknown = [
            f"{key}: unknown {kind} '{name}'; {kind}s of this study: {', '.join(known[kind])}"
            for key, kind, name in wanted
            if name not in known[kind]
        ]
        unknown += [
            f"decoders.{name}.assistant: '{decoder.assistant}' must be a baseline of kind "
            f"{', '.join(SEQUENTIAL[:-1])} or {SEQUENTIAL[-1]}"
            for name, decoder in self.decoders.items()
            if decoder.kind == "assisted"
            and not isinstance(self.baselines.get(decoder.assistant), Trained)
        ]
        centres = {grid.objective for grid in self.sensitivity}
        if len(centres) > 1:
            unknown.append(
                f"sensitivity: found the objectives {', '.join(sorted(centres))}; "
                "all grids must lie around the same one"
            )
        labels = [method.label for method in self.methods]
        unknown += [
            f"methods.{i}.base: unknown method '{method.base}'; methods: {', '.join(labels)}"
            for i, method in enumerate(self.methods)
            if method.base is not None and method.base not in labels
        ]
        if unknown:
            raise ValueError("\n".join(unknown))
        for i, grid in enumerate(self.sensitivity):
            try:
                points = grid_objectives(self, grid)
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(
                    f"sensitivity.{i}: a point around '{grid.objective}': {message}"
                ) from None
            for name, point in points.items():
                if self.objectives.get(name, point) != point:
                    raise ValueError(
                        f"objectives.{name}: the sensitivity grid gives this name to another "
                        "objective; choose another name"
                    )
        for name in recut_datasets(self):
            if name in self.datasets:
                raise ValueError(
                    f"datasets.{name}: history_length gives this name to another data set; choose "
                    "another name"
                )
        return self

    @model_validator(mode="after")
    def _probes(self) -> Study:
        cells = experiment_cells(self)
        shown = {cell for cell in cells if cell.history == "with"}
        for cell in cells:
            if cell._replace(history="with") not in shown:
                raise ValueError(
                    f"experiments: the history '{cell.history}' is compared with 'with', which "
                    f"{model_path(*cell[:4])}, {cell.decoder} lacks; add 'with' to its histories"
                )
        return self

    @model_validator(mode="after")
    def _shared_downloads(self) -> Study:
        sources = [dataset.source for dataset in self.datasets.values()]
        backbones = [backbone.source for backbone in self.backbones.values()]
        origins = dict[str, str]()
        for file, origin in [
            *((file, listed[0]) for file, listed in resources.urls(sources)),
            *((file, w.sha256) for file, w in resources.wheels([*sources, *backbones])),
        ]:
            if file.endswith("/"):
                raise ValueError(f"the URL '{origin}' must end in the name of a file")
            if origins.setdefault(file, origin) != origin:
                raise ValueError(
                    f"'{origins[file]}' and '{origin}' would both be {file}; give one of them as "
                    "a local path, or mend it"
                )
        return self


def load(configfile: Path) -> Study:
    """The study of a YAML file.

    Raises:
        InputError: the file cannot be read, or the configuration has faults.
    """
    try:
        config = yaml.safe_load(configfile.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{configfile}: cannot be read as YAML ({error})") from error
    if not isinstance(config, dict):
        raise InputError(f"{configfile}: holds no keys; see config/README.md")
    return resolve(config)


def resolve(config: dict[str, Any]) -> Study:
    """Check a configuration and fill in the defaults.

    Raises:
        InputError: one line per fault, with the key, what was found and what is allowed.
    """
    try:
        return Study.model_validate(config)
    except ValidationError as error:
        lines = [_fault(fault, config) for fault in error.errors(include_url=False)]
        raise InputError("The configuration has faults:\n" + "\n".join(lines)) from None


def _fault(fault: Any, config: dict[str, Any]) -> str:
    """One fault in one line, its key as it stands in the configuration."""
    # pydantic puts the kind of a source, baseline or decoder between the keys.
    keys, node = [], config
    for part in fault["loc"]:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            if fault["type"] != "missing" or part != fault["loc"][-1]:
                continue
        keys.append(str(part))
    key = ".".join(keys)
    message = fault["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key; see config/README.md for the keys allowed here"
    if fault["type"] == "missing":
        return f"{key}: missing; see config/README.md"
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: found {fault['input']!r}; {message}"


def grid_objectives(study: Study, grid: Sensitivity) -> dict[str, Objective]:
    """The objectives of a sensitivity grid by name; a point that is the centre keeps its name.

    Raises:
        ValidationError: a point is no objective.
    """
    centre = study.objectives[grid.objective]
    points = {grid.objective: centre}
    for parameter, values in (("alpha", grid.alpha), ("beta", grid.beta)):
        for value in values:
            point = Objective.model_validate(centre.model_dump() | {parameter: value})
            if point != centre:
                points[f"{grid.objective}-{parameter}{value:g}"] = point
    return points


def all_objectives(study: Study) -> dict[str, Objective]:
    """Every objective that is trained, the grids' points included."""
    objectives = dict(study.objectives)
    for grid in study.sensitivity:
        objectives |= grid_objectives(study, grid)
    return objectives


def experiment_cells(study: Study) -> list[Cell]:
    """The cells of the experiments, each once, in the order of the configuration."""
    cells = (
        Cell(*point)
        for block in study.experiments
        for point in itertools.product(
            block.datasets,
            block.backbones,
            block.objectives,
            block.seeds,
            block.decoders,
            block.histories,
        )
    )
    return list(dict.fromkeys(cells))


def headline_k(study: Study) -> int:
    """The K that figures show: 10, or the largest one that every used decoder's lists reach."""
    used = {decoder for block in study.experiments for decoder in block.decoders}
    used |= {grid.decoder for grid in [*study.sensitivity, *study.history_length]}
    depth = min(study.decoders[name].depth for name in used)
    return max(k for k in CUTOFFS if k <= min(depth, 10))


def sensitivity_cells(study: Study) -> list[Cell]:
    """The cells of the sensitivity grids, each once; some are experiment cells too."""
    cells = (
        Cell(grid.dataset, grid.backbone, objective, seed, grid.decoder, "with")
        for grid in study.sensitivity
        for seed in grid.seeds
        for objective in grid_objectives(study, grid)
    )
    return list(dict.fromkeys(cells))


def at_length(study: Study, dataset: str, length: int) -> str:
    """Name of a data set with its histories cut at a length: its own at its own length."""
    own = study.datasets[dataset].preparation.max_history
    return dataset if length == own else f"{dataset}+history{length}"


def history_lengths(study: Study) -> dict[str, tuple[str, int]]:
    """The data sets of `history_length`, each with the one that it is cut from and its length."""
    return {
        at_length(study, ladder.dataset, length): (ladder.dataset, length)
        for ladder in study.history_length
        for length in ladder.lengths
    }


def recut_datasets(study: Study) -> dict[str, tuple[str, int]]:
    """Those of `history_lengths` that are no data sets of the study themselves."""
    lengths = history_lengths(study)
    return {name: cut for name, cut in lengths.items() if name != cut[0]}


def history_length_cells(study: Study) -> list[Cell]:
    """The cells of `history_length`, each once; some are experiment cells too."""
    cells = (
        Cell(
            at_length(study, ladder.dataset, length),
            ladder.backbone,
            objective,
            seed,
            ladder.decoder,
            "with",
        )
        for ladder in study.history_length
        for length in ladder.lengths
        for objective in ladder.objectives
        for seed in ladder.seeds
    )
    return list(dict.fromkeys(cells))


def compares_objectives(study: Study) -> bool:
    """Whether the experiments compare an objective, with the history, with `plain`."""
    cells = {cell for cell in experiment_cells(study) if cell.history == "with"}
    return any(
        cell.objective != "plain" and cell._replace(objective="plain") in cells for cell in cells
    )


def case_cells(study: Study) -> list[Cell]:
    """The cells of the case study: of the first experiment that compares an objective with
    `plain`, its first data set, backbone, decoder and seed, and its last objective. First `plain`,
    then the objective, then the same without the history if the experiment has it; empty where
    nothing is compared."""
    for block in study.experiments:
        others = [name for name in block.objectives if name != "plain"]
        if not others or "plain" not in block.objectives or "with" not in block.histories:
            continue
        first = (block.seeds[0], block.decoders[0])
        shown = [("plain", "with"), (others[-1], "with"), (others[-1], "without")]
        return [
            Cell(block.datasets[0], block.backbones[0], objective, *first, history)
            for objective, history in shown
            if history in block.histories
        ]
    return []


def schedule_bases(study: Study) -> dict[str, str]:
    """Objectives of the experiments, each with the one that has equal token weights and is the same
    otherwise; those that have none, or none of the same backbone and data set, are left out."""
    trained: dict[str, set[tuple[str, str]]] = {}
    for cell in experiment_cells(study):
        trained.setdefault(cell.objective, set()).add((cell.dataset, cell.backbone))
    settings = {name: study.objectives[name] for name in trained}
    equal = {
        (one.alpha, one.counterfactual): name
        for name, one in settings.items()
        if one.schedule == "linear" and one.beta == 1
    }
    bases = {name: equal.get((one.alpha, one.counterfactual)) for name, one in settings.items()}
    return {
        name: base
        for name, base in bases.items()
        if base not in (None, name) and trained[name] & trained[base]
    }


def shared_datasets(study: Study) -> list[str]:
    """Data sets on which a method is compared with its base on several backbones."""
    backbones: dict[tuple[str, str], set[str]] = {}
    for dataset, backbone, method in _compared_methods(study):
        backbones.setdefault((dataset, method), set()).add(backbone)
    return list(dict.fromkeys(name for (name, _), found in backbones.items() if len(found) > 1))


def beyond_amazon(study: Study) -> list[str]:
    """Data sets of other sources than Amazon, where the study has Amazon's, too: alone they say
    nothing of what lies beyond. Local ones may be from anywhere, and count as Amazon's."""
    amazon = ("amazon", "local")
    other = [
        name for name, data in study.datasets.items() if not data.source.kind.startswith(amazon)
    ]
    return other if len(other) < len(study.datasets) else []


def compared_beyond_amazon(study: Study) -> list[str]:
    """Those of `beyond_amazon` on which a method is compared with its base."""
    compared = {dataset for dataset, _, _ in _compared_methods(study)}
    return [name for name in beyond_amazon(study) if name in compared]


def _compared_methods(study: Study) -> list[tuple[str, str, str]]:
    """Data set, backbone and label of every method that is compared with its base."""
    cells = set(experiment_cells(study))
    by_label = {method.label: method for method in study.methods}
    return list(
        dict.fromkeys(
            (cell.dataset, cell.backbone, method.label)
            for cell in experiment_cells(study)
            for method in study.methods
            if method.base is not None
            and (cell.objective, cell.decoder, cell.history)
            == (method.objective, method.decoder, "with")
            and (base := by_label[method.base]).decoder == method.decoder
            and cell._replace(objective=base.objective) in cells
        )
    )


def search_error_cells(study: Study) -> list[Cell]:
    """The models whose search is compared with the exact ranking; they have no decoder."""
    if not (one := study.search_error):
        return []
    return [
        Cell(one.dataset, one.backbone, objective, seed, "", "with")
        for objective in one.objectives
        for seed in one.seeds
    ]


def baseline_cells(study: Study) -> list[Cell]:
    """The cells of the baselines; one that is not trained has the first seed alone."""
    return [
        Cell(dataset, BASELINES, name, seed, "", "with")
        for dataset in study.datasets
        for name, baseline in study.baselines.items()
        for seed in study.baseline_seeds[: None if isinstance(baseline, Trained) else 1]
    ]
