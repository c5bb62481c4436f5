"""The keys of a study's configuration: their only schema and their only defaults."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from scripts.backbones.settings import BackboneSource
from scripts.baselines.settings import Baseline
from scripts.cells import BASELINES
from scripts.command import Seed, Settings
from scripts.data.settings import Dataset
from scripts.decode.settings import Decoder, History
from scripts.extensions import module_with
from scripts.finetune.settings import Objective, Training
from scripts.labels import Method

#: A name becomes a folder and a Snakemake wildcard.
NAME = r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,99}$"


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


class Block(Settings):
    """What all blocks of a study have."""

    stage: int = Field(1, ge=1)
    """The stage that runs it first, see the top level's `stage`."""


class Experiment(Block):
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


class Sensitivity(Block):
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


class Tuning(Settings):
    """A choice for one objective: every combination of the lists is trained with a seed of its own,
    and the highest NDCG@10 on validation examples decides for all seeds."""

    backbone: str
    """Name of a backbone."""
    datasets: list[str] = Field(min_length=1)
    """Names of `datasets`. Each is decided on its own validation split; what the first one decides
    serves those that are not named."""
    objective: str
    """The objective that takes over what is chosen; not one in the middle of a grid."""
    alpha: list[Annotated[float, Field(ge=0)]] = []
    """Values of alpha; none keeps the objective's."""
    beta: list[Annotated[float, Field(ge=0, le=1)]] = []
    """Values of beta; none keeps the objective's."""
    learning_rate: list[Annotated[float, Field(gt=0)]] = []
    """Values of the peak learning rate; none keeps the objective's."""
    decoder: str = "constrained"
    """Decoder of the validation examples, not an assisted one."""
    examples: int = Field(500, ge=1)
    """Size of the random sub-sample of the validation split that is decoded."""
    seed: Seed = 1000
    """Seed of these trainings; one that no experiment has keeps choice and result apart."""


class HistoryLength(Block):
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


class SearchError(Block):
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


class Only(Settings):
    """A part of the study: what names none of these is left out; an empty list takes all."""

    datasets: list[str] = []
    """Names of `datasets`."""
    backbones: list[str] = []
    """Names of `backbones`."""
    seeds: list[Seed] = []
    """Seeds of the fine-tuning; the baselines keep all of theirs."""


class Study(Settings):
    """A whole study, checked."""

    study: str = Field(pattern=NAME)
    """Name of the study: everything is written to results/<study>/."""
    stage: int | None = Field(None, ge=1)
    """The blocks up to this stage are run; null runs all. A later stage adds to what is there."""
    only: Only = Only()
    """Run this part alone."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models are trained and decoded; `cuda` stops in the preflight where there is no GPU."""
    missing_gpu: Literal["stop", "warn"] = "stop"
    """What the preflight does where `device` is `cuda`, there is no GPU and models or
    recommendations are missing; `warn` is for a cluster's head node."""
    push_to_hub: str | None = Field(None, pattern=NAME)
    """User or organisation of the model hub to whose private repositories
    `<study>-<data set>-<backbone>-<objective>-seed-<n>` the fine-tuned models are uploaded, each
    with its card and its test metrics; null uploads nothing."""
    threads: int = Field(2, ge=1)
    """CPU threads of a fine-tuning or decoding job of a pretrained backbone."""
    datasets: dict[str, Dataset] = Field(min_length=1)
    """Data sets by name."""
    baselines: dict[str, Baseline] = {}
    """Recommenders without a language model, by name; each runs on every data set, and given lists
    on those that they are given for."""
    baseline_seeds: list[Seed] = Field([0], min_length=1)
    """Seeds of the baselines that are trained."""
    backbones: dict[str, Backbone] = Field(min_length=1)
    """Language models by name."""
    objectives: dict[str, Objective] = {
        "plain": Objective(),
        "weighted": Objective(beta=0.25),
        "causal": Objective(alpha=0.1),
        "cft": Objective(alpha=0.1, beta=0.25),
        "cft-learned": Objective(alpha=0.1, token_weights="learned"),
    }
    """Objectives by name."""
    decoders: dict[str, Decoder]
    """Decoders by name."""
    experiments: list[Experiment] = Field(min_length=1)
    """The blocks of the study."""
    sensitivity: list[Sensitivity] = []
    """Grids over alpha and beta."""
    tuning: list[Tuning] = []
    """Settings of objectives that the validation split chooses."""
    history_length: list[HistoryLength] = []
    """Accuracy, time and memory against the length of the histories."""
    search_error: SearchError | None = None
    """Comparison of beam search with the exact ranking; null leaves its table out."""
    methods: list[Method] = []
    """Named points of the accuracy table."""
    outputs: list[module_with("OUTPUT")] = []
    """Modules in `extensions/` with an analysis, a table and a figure of your own."""
    headline: list[str] = []
    """Names of the data sets whose mean gain is the headline, and so the primary claims; none takes
    all of the study."""

    @field_validator("datasets", "baselines", "backbones", "objectives", "decoders")
    @classmethod
    def _names(cls, entries: dict[str, Any]) -> dict[str, Any]:
        for name in entries:
            if not re.fullmatch(NAME, name) or name == BASELINES:
                raise ValueError(
                    f"{name!r} cannot be a name: use at most 100 letters, digits, '.', '+' and "
                    f"'-', starting with a letter or digit, and not '{BASELINES}'"
                )
        return entries
