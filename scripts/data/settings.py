"""Settings of a data set: where it comes from, how it is prepared, how it is put into words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import TypeAliasType

from scripts.command import REQUIREMENT, Seed, Settings

#: URL or local path; a list gives the URL and its mirrors, in the order in which they are tried.
Address = TypeAliasType(
    "Address",
    str | Annotated[list[Annotated[str, Field(pattern="^https?://")]], Field(min_length=1)],
)
Month = Annotated[str, Field(pattern=r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])$")]


class Downloaded(Settings):
    """What every source that is downloaded from an address shares."""

    approximate_mb: float = Field(0, ge=0)
    """Rough size of the downloads, for the preflight only."""


class Amazon(Downloaded):
    """Amazon review data of one category: JSON lines, plain or gzipped.

    The releases name their fields differently; 2014 has Python literals as metadata, 2023 counts
    milliseconds and joins the variants of an item (`parent_asin`).
    """

    kind: Literal["amazon-2014", "amazon-2018", "amazon-2023"]
    reviews: Address
    """URL or local path of the reviews; a list gives the URL and its mirrors."""
    metadata: Address
    """Likewise of the metadata, which holds the titles."""


class Steam(Downloaded):
    """Steam's reviews and games: lines of Python literals, which are parsed and never run."""

    kind: Literal["steam"]
    reviews: Address
    """URL or local path of `steam_reviews.json.gz`; a list gives the URL and its mirrors."""
    metadata: Address
    """Likewise of `steam_games.json.gz`."""


class MovieLens(Downloaded):
    """What the sources of MovieLens share."""

    years: Literal["drop", "keep"] = "drop"
    """The year in a film's title: dropped, or kept, so that films of one name have two titles."""


class MovieLensZip(MovieLens):
    """MovieLens as GroupLens' own archive: 100K, 1M, 10M, 20M and later layouts."""

    kind: Literal["movielens-zip"]
    archive: Address
    """URL or local path of the zip file; a list gives the URL and its mirrors."""


class MovieLensWheel(MovieLens):
    """MovieLens as RecBole's atomic files inside a package of the Python registry."""

    kind: Literal["movielens-wheel"]
    requirement: str = Field(pattern=REQUIREMENT)
    """The package and its exact version, as pip names it."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Checksum of the wheel."""
    name: str
    """Path of the files inside the wheel, without their endings `.inter` and `.item`."""


class Columns(Settings):
    """Names of the columns, or keys, of local files."""

    user: str = "user"
    """In the reviews: the user's id."""
    item: str = "item"
    """In the reviews: the item's id."""
    time: str = "timestamp"
    """In the reviews: the time."""
    rating: str | None = None
    """In the reviews: the rating; null where there is none."""
    metadata_item: str = "item"
    """In the metadata: the item's id."""
    title: str = "title"
    """In the metadata: the title."""

    @model_validator(mode="after")
    def _distinct(self) -> Columns:
        of_reviews = [self.user, self.item, self.time, self.rating]
        for names in (of_reviews, [self.metadata_item, self.title]):
            if len(set(names)) < len(names):
                raise ValueError(f"a column stands for one thing only; found {names}")
        return self


def _known(encoding: str | None) -> str | None:
    try:
        "".encode(encoding or "utf-8")
    except LookupError as error:
        raise ValueError(f"{error}; name one that Python knows, such as latin-1") from error
    return encoding


class Local(Downloaded):
    """Any pair of files: Parquet, JSON (one row a line, or one array), or separated cells with a
    header line, such as CSV and TSV. A file is known by its content, packed or not."""

    kind: Literal["local"]
    reviews: Address
    """Local path (or URL) of one row a review, click or purchase; plain or packed (gzip, bzip2, xz,
    Zstandard, or a zip of one file)."""
    metadata: Address
    """Likewise of one row an item."""
    columns: Columns = Columns()
    """Which column holds what. Ids and titles may be text or numbers; a whole number is written
    without a point, and ids without the blanks around them."""
    time: Literal["seconds", "milliseconds", "microseconds", "nanoseconds", "iso"] = "seconds"
    """How times are written that are numbers: since 1970. Dates and times of Parquet, and ISO 8601
    (UTC where no zone is given), are read whatever stands here; `iso` allows nothing else."""
    encoding: Annotated[str | None, AfterValidator(_known)] = None
    """Encoding of text, such as `latin-1` or `cp1252`; a byte order mark in the file counts more.
    Null is UTF-8."""
    delimiter: str | None = Field(None, min_length=1)
    """What parts the cells, such as `;`, in files whose header line holds it; in all others it is a
    tab, if the header line holds one, or else a comma."""
    quotes: Literal["doubled", "backslash"] | None = None
    """How a quote inside a quoted cell is written: twice, or after a backslash. Null reads CSV with
    doubled ones, takes quotes off whole cells of TSV only, and refuses a quote after a
    backslash."""


Source = Annotated[
    Amazon | Steam | MovieLensZip | MovieLensWheel | Local, Field(discriminator="kind")
]


def addresses(source: Source) -> dict[str, list[str]]:
    """The source's addresses by the name of the raw file: the first counts, the rest are mirrors.

    A wheel has none.
    """
    found = {name: getattr(source, name, None) for name in ("reviews", "metadata", "archive")}
    return {
        name: [address] if isinstance(address, str) else address
        for name, address in found.items()
        if address is not None
    }


def is_url(address: str) -> bool:
    """Whether an address is to be downloaded, and is no local path."""
    return address.startswith(("http://", "https://"))


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
    max_title_characters: int = Field(1_000, ge=1)
    """Likewise in characters: text without blanks, such as Chinese, counts as one word."""
    max_history: int = Field(10, ge=1)
    """Longest history of an example, in items."""
    repeated_reviews: Literal["keep", "drop"] = "keep"
    """A user's further reviews of the same item: kept, as D3 does, or dropped but for the earliest
    inside the window."""
    tie_seed: Seed | None = None
    """Order of a user's reviews of the same time: null is that of the file, as D3; a number draws
    it at random, which is fairer where the file is sorted by item or title."""
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

    @model_validator(mode="after")
    def _numbers(self) -> Published:
        if not self.model_dump(exclude={"source", "note"}, exclude_none=True):
            raise ValueError("holds no number to compare with; give one or leave it out")
        return self


Measure = Literal["hr@5", "hr@10", "ndcg@5", "ndcg@10"]


class References(Settings):
    """Accuracy that others have published on a data set of this name; never a result here."""

    source: str = Field(min_length=1)
    """Where the numbers stand."""
    setting: str = Field(min_length=1)
    """Models and decoding behind them."""
    methods: dict[str, dict[Measure, float]] = Field(min_length=1)
    """Values by the name of the method."""


class Dataset(Settings):
    """One data set."""

    label: str
    """Name in tables and figures."""
    source: Source
    """Where the raw data come from."""
    preparation: Preparation = Preparation()
    """How they become examples."""
    train_examples: int | None = Field(None, ge=1)
    """Size of a random sub-sample of the training split that every backbone is fine-tuned on, drawn
    by the seed; null takes all. A backbone's own `training.train_examples` may be smaller.
    Baselines are trained on the whole split."""
    prompt: Prompt
    """How an example is put into words."""
    published: Published | None = None
    """What the table of statistics compares it with."""
    references: References | None = None
    """What the table of accuracy shows in a section of its own."""

    @model_validator(mode="after")
    def _window(self) -> Dataset:
        start, end = self.preparation.start, self.preparation.end
        if start and end and start >= end:
            raise ValueError(f"preparation.start {start} must lie before preparation.end {end}")
        return self
