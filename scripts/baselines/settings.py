"""Settings of the recommenders without a language model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scripts.command import Settings


class MostPopular(Settings):
    """The items with most training targets, the same list for everyone."""

    kind: Literal["most-popular"]
    label: str = "Most popular"
    """Name in tables and figures."""


class Transitions(Settings):
    """First-order item transitions of the training split, recent history items weighing more."""

    kind: Literal["transitions"]
    label: str = "Item transitions"
    """Name in tables and figures."""
    decay: float = Field(0.5, gt=0, le=1)
    """Weight of a history item relative to the next more recent one."""


class SASRec(Settings):
    """Self-attentive sequential recommendation (Kang and McAuley, 2018)."""

    kind: Literal["sasrec"]
    label: str = "SASRec"
    """Name in tables and figures."""
    hidden_size: int = Field(64, ge=1)
    """Width of the item embeddings and of the layers."""
    layers: int = Field(2, ge=1)
    """Number of self-attention blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads; must divide `hidden_size`."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout of embeddings, attention and feed-forward layers."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam."""
    batch_size: int = Field(1024, ge=1)
    """Next-item positions per optimiser step, about: sequences are filled up to it."""
    epochs: int = Field(200, ge=1)
    """At most so many passes over the training sequences."""
    patience: int = Field(20, ge=1)
    """Stop after so many epochs without a better NDCG@10 on the validation split."""

    @model_validator(mode="after")
    def _heads(self) -> SASRec:
        if self.hidden_size % self.heads:
            raise ValueError(f"heads {self.heads} must divide hidden_size {self.hidden_size}")
        return self


Baseline = Annotated[MostPopular | Transitions | SASRec, Field(discriminator="kind")]
