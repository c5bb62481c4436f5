"""Settings of the decoders: how a model becomes a ranking over the catalogue."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from scripts.command import Settings
from scripts.extensions import module_with


class Grounded(Settings):
    """BIGRec's way: free beam search, then all titles by distance to the generated text."""

    kind: Literal["grounded"]
    label: str = "grounded"
    """Name in tables and figures."""
    beams: int = Field(5, ge=1)
    """Beams of the free search; the best one is grounded."""
    max_new_tokens: int = Field(128, ge=1)
    """Longest generated text."""
    min_new_tokens: int = Field(0, ge=0)
    """Shortest generated text, end-of-sequence not counted; the released code has 4."""
    early_stopping: bool = True
    """Stop once as many texts are finished as there are beams; or, as the released code does, once
    a better one is not likely either."""
    length_penalty: float = Field(1.0, ge=0)
    """Scores are divided by length ** length_penalty. The released scripts differ: 1, or 0."""
    batch_size: int = Field(8, ge=1)
    """Examples decoded together."""
    depth: int = Field(50, ge=1)
    """Length of the ranked lists."""

    @model_validator(mode="after")
    def _lengths(self) -> Grounded:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens {self.min_new_tokens} must not exceed max_new_tokens "
                f"{self.max_new_tokens}"
            )
        return self


class GroundedMerged(Grounded):
    """BIGRec's way for every beam: their lists are merged, all firsts before all seconds."""

    kind: Literal["grounded-merged"]
    label: str = "grounded, merged"
    """Name in tables and figures."""
    beams: int = Field(5, ge=1)
    """Beams of the free search; all of them are grounded."""


class Constrained(Settings):
    """Beam search over the trie of the catalogue's titles; D3's with `length_penalty` 0."""

    kind: Literal["constrained"]
    label: str = "constrained"
    """Name in tables and figures."""
    beams: int = Field(10, ge=1)
    """Beams of the search, and so the length of the ranked lists."""
    length_penalty: float = Field(0.0, ge=0)
    """Scores are divided by length ** length_penalty; 0 is the plain sum of log-probabilities."""
    batch_size: int = Field(8, ge=1)
    """Examples decoded together."""
    widen_to: int | None = Field(None, ge=1)
    """Examples whose top of the list is not proven exact are searched again with twice the beams,
    up to so many; null leaves them."""

    @model_validator(mode="after")
    def _widening(self) -> Constrained:
        if self.widen_to is not None and self.widen_to <= self.beams:
            raise ValueError(f"widen_to {self.widen_to} must exceed beams {self.beams}")
        return self

    @property
    def depth(self) -> int:
        """Length of the ranked lists."""
        return self.beams


class Assisted(Constrained):
    """D3's search with its text-free assistant: at every step score = g * log p(token) +
    (1 - g) * log of the token's share of the assistant's probability (docs/paper.md §3)."""

    kind: Literal["assisted"]
    label: str = "assisted"
    """Name in tables and figures."""
    assistant: str
    """Name of the baseline that assists, of kind gru4rec, caser or sasrec; the one of the
    first seed of `baseline_seeds` is taken."""
    g: list[Annotated[float, Field(gt=0, le=1)]] = Field([0.25, 0.5, 0.75], min_length=1)
    """Weight of the language model; of several the one with the best NDCG@10 on the validation
    examples, with their histories, is taken for every history, of equal ones the largest."""
    tune_examples: int = Field(200, ge=1)
    """Size of the random sub-sample of the validation split that g is chosen on."""


class OwnDecoder(Constrained):
    """A decoder of your own, a function that may search the trie with these settings."""

    kind: Literal["own"]
    label: str = "own decoder"
    """Name in tables and figures."""
    module: module_with("rank")
    """A module in `extensions/` with the function, `rank`."""


Decoder = Annotated[
    Grounded | GroundedMerged | Constrained | Assisted | OwnDecoder, Field(discriminator="kind")
]
History = Literal["with", "without", "wrong", "shuffled"]
"""What the model is shown at test time: the history, none, another user's of a similar length, or
the same items in another order; an assistant sees what the model sees."""
HISTORIES: tuple[History, ...] = get_args(History)
