"""An optimiser step: what a process runs of it, and the gradient, with what is shared run once."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from scripts.command import InputError
from scripts.finetune.batches import Branches, Encoded, Shared, branches, part_logits, trunk_outputs
from scripts.finetune.objective import CausalLoss, Loss, effect_losses, total_loss, weighted_losses
from scripts.finetune.settings import Training


class Inputs(TypedDict):
    """The examples of an optimiser step that this process runs: a list's items are of one part.

    `targets` are (N,) int64 answer tokens; `weights` (N,) float32, divided by what the losses are
    normalised by; `lengths` (B,) int64 are the answers' tokens; `example_ids` say whose they are.
    """

    branches: Branches
    lengths: list[Tensor]
    targets: list[Tensor]
    weights: list[Tensor]
    example_ids: list[list[int]]


def step_inputs(
    examples: list[Encoded],
    weigh: Callable[[Tensor], Tensor],
    no_history: list[int] | None,
    pad: int,
    share: bool,
    training: Training,
    process: int = 0,
) -> Inputs:
    """What a process runs of an optimiser step.

    The parts are of like length, but as drawn where steps and micro-batches are to be as in the
    released code. Every process gets all examples of the step, and so knows what the losses are to
    be normalised by; a step with fewer examples than processes leaves some of them without any.

    Args:
        examples: all examples of the step.
        weigh: from the (B,) int64 numbers of supervised tokens of B examples to the (N,) weights
            of their tokens, N = their sum.
        no_history: the prompt without history; None leaves that branch out.
        pad: token that fills the rows.
        share: run what the prompts have in common once.
        training: its `processes` share the step, in parts of at most `micro_batch_size`
            examples; its `normalisation` says what the losses are divided by, and with its `order`
            whether the parts are as drawn.
        process: the number of this process, from 0.

    Raises:
        InputError: there are no examples, or one of them has no supervised token.
    """
    empty = [example.example_id for example in examples if not example.answer]
    if empty or not examples:
        raise InputError(f"Examples without a supervised token, or none at all: {empty}")
    ordered = examples
    if training.order == "length-grouped" or training.normalisation == "step":
        ordered = sorted(examples, key=lambda e: (len(e.prompt) + len(e.answer), e.example_id))
    shares = [ordered[first :: training.processes] for first in range(training.processes)]
    own, size = shares[process], training.micro_batch_size
    parts = [own[start : start + size] for start in range(0, len(own), size)]
    weights = [weigh(lengths(part)) for part in parts]
    if training.normalisation == "step":
        total = weigh(lengths(ordered)).sum()
        weights = [part / total for part in weights]
    else:
        count = sum(math.ceil(len(each) / size) for each in shares)
        weights = [part / (part.sum() * count) for part in weights]
    prompts, answers = [e.prompt for e in own], [e.answer for e in own]
    return Inputs(
        branches=branches(prompts, answers, no_history, pad, share, size),
        lengths=[lengths(part) for part in parts],
        targets=[torch.tensor([token for e in part for token in e.answer]) for part in parts],
        weights=weights,
        example_ids=[[e.example_id for e in part] for part in parts],
    )


def lengths(examples: list[Encoded]) -> Tensor:
    """(B,) int64 numbers of supervised tokens."""
    return torch.tensor([len(example.answer) for example in examples], dtype=torch.int64)


def part_losses(
    model: Any, inputs: Inputs, shared: Shared, index: int, causal: CausalLoss = effect_losses
) -> Loss:
    """The losses of a part, the `index`-th of its step, with weights that are normalised already.

    Raises:
        InputError: they are no finite numbers.
    """
    logits, without_history = part_logits(model, inputs["branches"]["parts"][index], shared, index)
    targets, weights = inputs["targets"][index], inputs["weights"][index]
    losses = weighted_losses(logits, targets, weights, without_history, causal)
    if not torch.isfinite(losses.normal + losses.causal):
        raise InputError(
            f"The loss is {(losses.normal + losses.causal).item()} on examples "
            f"{sorted(inputs['example_ids'][index])}: lower training.learning_rate, or look at "
            "these examples"
        )
    return losses


def add_gradients(
    model: Any, inputs: Inputs, alpha: float, causal: CausalLoss = effect_losses
) -> tuple[Tensor, list[Tensor]]:
    """Add the gradient of a step's loss (docs/paper.md §2) to the parameters'.

    The trunk runs once for all parts. Each part, forward and backward, sees what it needs of it as
    leaves of its own graph; when all parts have left their gradients there, these go back through
    the trunk. Memory is that of one part and of the trunk, whose logits without history are there
    for the whole step: 64 answers of 12 tokens with 152,000 words take 470 MB, and so do their
    gradients.

    Returns:
        The loss of this process's share, a scalar without a gradient, and the normal losses of the
        tokens of each part.
    """
    shared = trunk_outputs(model, inputs["branches"])
    leaves = Shared(*([as_leaf(tensor) for tensor in tensors] for tensors in shared))
    total, tokens = torch.zeros((), device=model.device), []
    for index in range(len(inputs["targets"])):
        seen = Shared(
            # What the parts' gradients add up in is float32, whatever the forward pass runs in.
            [
                leaf.to(state.dtype)
                for leaf, state in zip(leaves.states, shared.states, strict=True)
            ],
            leaves.logits,
        )
        losses = part_losses(model, inputs, seen, index, causal)
        loss = total_loss(losses, alpha, 1.0)
        loss.backward()
        total += loss.detach()
        tokens.append(losses.tokens)
    trained = [
        (output, leaf.grad.to(output.dtype))
        for outputs, inner in zip(shared, leaves, strict=True)
        for output, leaf in zip(outputs, inner, strict=True)
        if leaf.grad is not None
    ]
    if trained:
        torch.autograd.backward(*zip(*trained, strict=True))
    return total, tokens


def recompute_activations(model: Any) -> None:
    """Let the layers keep their products for the backward pass, and recompute the rest.

    Products are those of matrices, and attention. The rest are norms, activation functions,
    rotations, casts and dropout: most of the memory, little of the time. Gradients stay the same to
    the bit. (Selective activation checkpointing, Korthikanti et al. 2022.) Adapters have products
    of their own, which would take what this saves: with them, all of a layer is recomputed.

    Raises:
        InputError: transformers does not know the model's layers as such.
    """
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(
            "The backbone allows no training.gradient_checkpointing: leave it out, and lower "
            "training.micro_batch_size"
        )
    options: dict[str, Any] = {"use_reentrant": False}
    if all(parameter.requires_grad for parameter in model.parameters()):
        options["context_fn"] = partial(create_selective_checkpoint_contexts, kept)
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, **options)


def kept(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """Whether the result of an operation of PyTorch's is kept for the backward pass."""
    name = operation.__name__.partition(".")[0]
    if name in ("mm", "addmm", "bmm", "baddbmm") or name.startswith("_scaled_dot_product"):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def as_leaf(tensor: Tensor) -> Tensor:
    """A float32 tensor of the same values, which gathers gradients if this one would."""
    return tensor.detach().float().requires_grad_(tensor.requires_grad)


def gradients(model: Any) -> list[Tensor]:
    """The gradients of all trained parameters; zeros where this process has had no example."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in trained]
