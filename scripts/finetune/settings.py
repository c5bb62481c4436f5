"""Settings of fine-tuning: the objective (what is trained) and the training (how)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from scripts.command import Settings
from scripts.extensions import module_with

Counterfactual = Literal["no-input", "placeholder"]
#: Settings of an objective that a tuning chooses.
TUNED = ("alpha", "beta", "learning_rate")


class Objective(Settings):
    """Total loss = normal + alpha * causal loss, token weights falling to beta (docs/paper.md §2).

    alpha 0, beta 1 is plain fine-tuning; the other corners are weighted, causal and cft.
    """

    alpha: float = Field(0.0, ge=0)
    """Weight of the causal loss; 0 leaves it and its forward pass out."""
    beta: float = Field(1.0, ge=0, le=1)
    """Weight of the last supervised token, relative to the first; 1 makes all weights equal."""
    token_weights: Literal["linear", "learned"] = "linear"
    """How token weights come about: falling in a line from 1 to `beta`, or learned by position
    beside the model (not the paper's; `beta` is not used then)."""
    counterfactual: Counterfactual = "no-input"
    """What stands for the missing history in the causal loss: the prompt without an input, as the
    released code has it, or the prompt with a placeholder in the place of the titles. The probe
    without history and the token effects show every model the prompt without an input."""
    module: module_with("causal_losses") | None = None
    """A module in `extensions/` whose function `causal_losses` takes the place of the paper's."""
    detached: bool = False
    """Hold the logits without the history fixed in the causal loss: no gradient flows through them.
    A control, which cannot lower the loss by what the model says without a history."""
    learning_rate: float | None = Field(None, gt=0)
    """Takes the place of the backbone's `training.learning_rate`."""
    train_examples: int | None = Field(None, ge=1)
    """Takes the place of the backbone's `training.train_examples` and of the data set's."""

    @model_validator(mode="after")
    def _effects(self) -> Objective:
        if self.token_weights == "learned" and self.beta != 1:
            raise ValueError(f"beta {self.beta:g} has no effect where token_weights are learned")
        if self.counterfactual != "no-input" and self.alpha == 0:
            raise ValueError("counterfactual has no effect where alpha is 0")
        if self.module is not None and self.alpha == 0:
            raise ValueError("module has no effect where alpha is 0")
        if self.detached and self.alpha == 0:
            raise ValueError("detached has no effect where alpha is 0")
        return self

    def training(self) -> dict[str, Any]:
        """Settings of the training that the objective has of its own."""
        names = {"learning_rate", "train_examples"}
        return self.model_dump(include=names, exclude_none=True)


class LoRA(Settings):
    """Low-rank adapters on all linear layers."""

    rank: int = Field(8, ge=1)
    """Rank r of the adapters."""
    scale: int = Field(16, ge=1)
    """LoRA's alpha (named scale here: alpha is the weight of the causal loss)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the adapters."""


class Training(Settings):
    """How a backbone is fine-tuned; the defaults are the paper's (docs/paper.md §5)."""

    lora: LoRA | None = None
    """Train adapters only; null trains every parameter."""
    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate of AdamW."""
    batch_size: int = Field(64, ge=1)
    """Examples per optimiser step."""
    micro_batch_size: int = Field(16, ge=1)
    """At most so many examples per forward and backward pass. Changes memory and speed and, with
    `normalisation: step` and no dropout, results by rounding only; but another value trains the
    models anew."""
    processes: int = Field(1, ge=1)
    """Processes, each with a GPU of its own, that share each optimiser step; must divide
    `batch_size`. With `normalisation: step` and no dropout, results change by rounding only; but
    another value trains the models anew."""
    normalisation: Literal["step", "micro-batch"] = "step"
    """Divide by the token weights of the whole optimiser step; or, as the released code does, each
    micro-batch's loss by its own, and average them: then `micro_batch_size` changes results. There
    a micro-batch is drawn at random; here with `order: random`, else it is of like length."""
    order: Literal["length-grouped", "random"] = "length-grouped"
    """Optimiser steps of examples of like length, in a random order, which saves padding; or steps
    drawn at random, as the released code does."""
    epochs: int = Field(3, ge=1)
    """At most so many passes over the training examples."""
    warmup_steps: int = Field(20, ge=0)
    """Steps of linear warm-up, before the linear decay."""
    patience: int = Field(1, ge=1)
    """Stop after so many epochs without a lower validation loss; the best epoch is kept."""
    train_examples: int | None = Field(None, ge=1)
    """Size of a random sub-sample of the training split, drawn by the seed; null takes all."""
    valid_examples: int | None = Field(None, ge=1)
    """Size of a random sub-sample of the validation split; null takes all."""
    max_tokens: int = Field(1024, ge=32)
    """Longest prompt; the oldest history items are dropped to fit, here as in decoding. The answer
    stands behind it, so that the backbone's context must hold the longest title, too."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the forward pass; a device without bf16 support must use fp32. Decoding uses it
    too, and a fully trained model is saved in it; but a CPU trains, saves and decodes in fp32."""
    weights: Literal["fp32", "bf16"] = "fp32"
    """What the trained weights, their gradients and AdamW's states are kept in. With bf16, as the
    released code does, updates that are small beside a weight round away; the model is saved in it,
    and the forward pass runs in it, also on a CPU."""
    gradient_checkpointing: bool = False
    """Keep only the results of products for the backward pass, recompute all others: about half
    the memory of a step for a little time. With `lora`, recompute whole layers. Results stay the
    same."""

    @model_validator(mode="after")
    def _shares(self) -> Training:
        if self.batch_size % self.processes:
            raise ValueError(f"processes {self.processes} must divide batch_size {self.batch_size}")
        return self

    @model_validator(mode="after")
    def _weights(self) -> Training:
        if self.weights == "bf16" and self.precision == "fp32":
            raise ValueError("weights: bf16 needs precision: bf16, as the forward pass runs in it")
        if self.weights == "bf16" and self.lora is not None:
            raise ValueError(
                "weights: bf16 trains every parameter, as the released code does: leave lora out, "
                "or leave weights at fp32"
            )
        return self
