"""Names that tables and figures show instead of the names in the configuration."""

from __future__ import annotations

from scripts.cells import BASELINES
from scripts.command import Settings
from scripts.rows import OWN_HISTORIES

#: What is varied -> its sign.
SIGNS = {"alpha": "α", "beta": "β"}


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

    def recommender(self, recommender: str, objective: str, decoder: str) -> str:
        """Name of a baseline, of the users' histories, or of an objective with its decoder."""
        if recommender == BASELINES:
            return self.baselines.get(objective, objective)
        if recommender == OWN_HISTORIES:
            return "users' histories"
        return f"{objective}, {self.decoder(decoder)}"
