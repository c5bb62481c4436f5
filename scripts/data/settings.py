"""Settings of a data set: where it comes from, how it is prepared, how it is put into words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scripts.command import Settings

Month = Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]


class Amazon2018(Settings):
    """Amazon review data of 2018: JSON lines, plain or gzipped."""

    kind: Literal["amazon-2018"]
    reviews: str
    """URL or local path of the reviews (`reviewerID, asin, overall, unixReviewTime`)."""
    metadata: str
    """URL or local path of the metadata (`asin, title`)."""
    approximate_mb: float = Field(0, ge=0)
    """Rough size of both downloads, for the preflight only."""


class MovieLensWheel(Settings):
    """MovieLens as RecBole's atomic files inside a package of the Python registry."""

    kind: Literal["movielens-wheel"]
    requirement: str = Field(pattern=r"^[A-Za-z0-9_.-]+==[A-Za-z0-9.]+$")
    """The package and its exact version, as pip names it."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Checksum of the wheel."""
    name: str
    """Path of the files inside the wheel, without their endings `.inter` and `.item`."""
    approximate_mb: float = Field(0, ge=0)
    """Rough size of the download, for the preflight only."""


Source = Annotated[Amazon2018 | MovieLensWheel, Field(discriminator="kind")]


class Preparation(Settings):
    """D3's rules (docs/paper.md, section 4)."""

    start: Month | None = "2017-10"
    """First month of the window (UTC); null takes everything from the first review on."""
    end: Month | None = "2018-11"
    """The window ends at the beginning of this month (UTC); null takes everything."""
    minimum_items: int = Field(10_000, ge=0)
    """While fewer items remain, the window starts one year earlier, but not before 1996."""
    k_core: int = Field(5, ge=1)
    """Least interactions of every user and of every item."""
    max_title_words: int = Field(20, ge=1)
    """Items with a longer title are dropped."""
    max_history: int = Field(10, ge=1)
    """Longest history of an example, in items."""
    max_malformed_share: float = Field(0.001, ge=0, le=1)
    """The step fails when more than this share of the raw lines cannot be read."""


class Prompt(Settings):
    """The two sentences of the prompt that depend on the domain."""

    instruction: str = Field(min_length=1)
    """What the model is asked for."""
    history: str = Field(min_length=1)
    """Introduces the titles of the history."""


class Published(Settings):
    """What others have published of a data set prepared by the same rules; never a result here."""

    source: str = Field(min_length=1)
    """Where the numbers stand."""
    users: int | None = Field(None, ge=1)
    """Users."""
    items: int | None = Field(None, ge=1)
    """Items."""
    interactions: int | None = Field(None, ge=1)
    """Interactions."""
    train: int | None = Field(None, ge=1)
    """Training examples."""
    valid: int | None = Field(None, ge=1)
    """Validation examples."""
    test: int | None = Field(None, ge=1)
    """Test examples."""
    start: Month | None = None
    """First month of the window."""
    note: str | None = None
    """What is known of the reasons for a difference; shown where there is one."""


class Dataset(Settings):
    """One data set."""

    label: str
    """Name in tables and figures."""
    source: Source
    """Where the raw data come from."""
    preparation: Preparation = Preparation()
    """How they become examples."""
    prompt: Prompt
    """How an example is put into words."""
    published: Published | None = None
    """What the table of statistics compares it with."""

    @model_validator(mode="after")
    def _window(self) -> Dataset:
        start, end = self.preparation.start, self.preparation.end
        if start and end and start >= end:
            raise ValueError(f"preparation.start {start} must lie before preparation.end {end}")
        return self
