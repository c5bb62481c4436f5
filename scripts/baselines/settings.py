"""Settings of the recommenders without a language model."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from scripts.command import Settings
from scripts.decode.settings import History
from scripts.extensions import module_with


class MostPopular(Settings):
    """The items with most training targets, the same list for everyone."""

    kind: Literal["most-popular"]
    label: str = "Most popular"
    """Name in tables and figures."""


class Transitions(Settings):
    """First-order item transitions of the training split, nearer ones weighing more."""

    kind: Literal["transitions"]
    label: str = "Item transitions"
    """Name in tables and figures."""
    shrinkage: float = Field(50, ge=0)
    """Added to the number of an item's transitions before their shares are taken, so that items
    with few transitions say less; the default was chosen on validation splits."""


class Lists(Settings):
    """Ranked lists of another program, one file for each data set: of all test examples, by the
    ids of the source (docs/baselines.md)."""

    kind: Literal["lists"]
    label: str = "Given lists"
    """Name in tables and figures."""
    files: dict[str, dict[History, str]] = Field(min_length=1)
    """By the name of a data set and the history that was shown, the path of the file, such as
    `{movies: {with: mine.run}}`: a CSV (`.csv`) or Parquet file (`.parquet`) with the columns
    example, item and score, or else a TREC run. `with` must be there; the other histories are for
    the table of dependence."""

    @model_validator(mode="after")
    def _own_history(self) -> Lists:
        for name, by_history in self.files.items():
            if "with" not in by_history:
                raise ValueError(f"files.{name}: the history 'with' is missing; add its file")
        return self


class Trained(Settings):
    """What the baselines that are trained, networks on item ids alone, have in common."""

    hidden_size: int = Field(64, ge=1)
    """Width of the item embeddings and of the layers."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout of the embeddings and between the layers."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam."""
    batch_size: int = Field(1024, ge=1)
    """Targets per optimiser step, about: sequences are filled up to it."""
    epochs: int = Field(200, ge=1)
    """At most so many passes over the training sequences."""
    patience: int = Field(20, ge=1)
    """Stop after so many epochs without a better NDCG@10 on the validation split."""


class GRU4Rec(Trained):
    """Recurrent sequential recommendation (Hidasi et al., 2016)."""

    kind: Literal["gru4rec"]
    label: str = "GRU4Rec"
    """Name in tables and figures."""
    layers: int = Field(1, ge=1)
    """Number of recurrent layers."""


class Caser(Trained):
    """Convolutional sequential recommendation (Tang and Wang, 2018), without users' embeddings."""

    kind: Literal["caser"]
    label: str = "Caser"
    """Name in tables and figures."""
    heights: list[Annotated[int, Field(ge=1)]] = Field([2, 3, 4], min_length=1)
    """How many neighbouring items the horizontal filters see; none more than the history holds."""
    horizontal_filters: int = Field(16, ge=1)
    """Filters of each height."""
    vertical_filters: int = Field(4, ge=1)
    """Weighted sums over the items of the history."""


class SASRec(Trained):
    """Self-attentive sequential recommendation (Kang and McAuley, 2018)."""

    kind: Literal["sasrec"]
    label: str = "SASRec"
    """Name in tables and figures."""
    layers: int = Field(2, ge=1)
    """Number of self-attention blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; must divide `hidden_size`."""

    @model_validator(mode="after")
    def _heads(self) -> SASRec:
        if self.hidden_size % self.heads:
            raise ValueError(f"heads {self.heads} must divide hidden_size {self.hidden_size}")
        return self


class OwnNetwork(Trained):
    """A network of your own, trained and run as the others are."""

    kind: Literal["own"]
    label: str = "own network"
    """Name in tables and figures."""
    module: module_with("Model")
    """A module in `extensions/` with the network, `Model`."""


Sequential = Annotated[GRU4Rec | Caser | SASRec | OwnNetwork, Field(discriminator="kind")]
#: Its kinds.
SEQUENTIAL: tuple[str, ...] = tuple(
    kind
    for settings in get_args(get_args(Sequential)[0])
    for kind in get_args(settings.model_fields["kind"].annotation)
)
Baseline = Annotated[
    MostPopular | Transitions | Lists | GRU4Rec | Caser | SASRec | OwnNetwork,
    Field(discriminator="kind"),
]
