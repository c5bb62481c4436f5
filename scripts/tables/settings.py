"""Settings of the tables."""

from __future__ import annotations

from scripts.command import Settings


class Method(Settings):
    """A named point of the accuracy table."""

    label: str
    """Name of the row."""
    objective: str
    """What is trained."""
    decoder: str
    """How the model becomes a ranking."""
    base: str | None = None
    """Label of the method that the relative gain is measured against."""
    published_gain: str | None = None
    """What others have published of this gain, with its setting; a note below the table, never a
    result."""
