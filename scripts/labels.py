"""Names that tables and figures show instead of the names in the configuration."""

from __future__ import annotations

import re

from scripts.command import Settings

#: What is varied -> its sign.
SIGNS = {"alpha": "α", "beta": "β"}


#: Breaks of a line, what turns the text behind it round, and what XML and LaTeX cannot hold.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]+")


def one_line(text: str) -> str:
    """A text as it can be shown: on one line, without control characters."""
    return _UNSHOWN.sub(" ", text).strip()


class Labels(Settings):
    """Name in the configuration -> name to show; a name without an entry is shown as it is."""

    datasets: dict[str, str] = {}
    """Data sets."""
    backbones: dict[str, str] = {}
    """Backbones."""
    baselines: dict[str, str] = {}
    """Baselines."""
    decoders: dict[str, str] = {}
    """Decoders."""

    def dataset(self, name: str) -> str:
        """Name of a data set."""
        return self.datasets.get(name, name)

    def block(self, name: str) -> str:
        """Name of a block: its backbone's, or as it is."""
        return self.backbones.get(name, name)

    def decoder(self, name: str) -> str:
        """Name of a decoder."""
        return self.decoders.get(name, name)

    def method(self, baseline: str, objective: str, decoder: str) -> str:
        """Name of a baseline, of an objective with its decoder, or, where all three are empty, of
        the users' histories."""
        if baseline:
            return self.baselines.get(baseline, baseline)
        return f"{objective}, {self.decoder(decoder)}" if objective else "users' histories"


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
