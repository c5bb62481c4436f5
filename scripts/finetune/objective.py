"""The objective of counterfactual fine-tuning (docs/paper.md §2), as plain functions on tensors.

All sums run over the supervised tokens of a batch, laid out flat: N tokens, vocabulary V.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from scripts.command import InputError

#: Causal loss of each of N tokens, from (N, V) logits with and without history, and (N,) targets.
CausalLoss = Callable[[Tensor, Tensor, Tensor], Tensor]

#: Positions with a learned weight each; all later ones share the last weight.
POSITIONS = 32
#: Share of a step's losses in the running losses that learned weights follow.
RATE = 0.05


class Loss(NamedTuple):
    """Weighted sums of the token losses, scalars: to be divided by the sum of the weights."""

    normal: Tensor
    causal: Tensor
    tokens: Tensor
    """(N,) the normal loss of each token, without weights and without a gradient."""


def token_weights(lengths: Tensor, beta: float) -> Tensor:
    """Weights w_t = 1 - (t-1)(1-beta)/(n-1), from 1 at the first token down to beta at the last.

    A single token weighs 1. (Released code; docs/paper.md §2.)

    Args:
        lengths: (B,) int64, the number n of supervised tokens of each example.
        beta: weight of the last token.

    Returns:
        (N,) float32, the weights of the examples one after the other, N = lengths.sum().
    """
    weights = [
        1.0 - torch.arange(n, dtype=torch.float32) * ((1.0 - beta) / max(n - 1, 1))
        for n in lengths.tolist()
    ]
    return torch.cat(weights)


def effect_losses(logits: Tensor, counterfactual_logits: Tensor, targets: Tensor) -> Tensor:
    """(N,) cross-entropy of the effect e_t = z_t - z0_t, a difference of raw logits; its gradient
    flows through both branches (released code).

    Args:
        logits: (N, V), given the history.
        counterfactual_logits: (N, V), given no history.
        targets: (N,) int64.
    """
    return cross_entropy(logits - counterfactual_logits, targets, reduction="none")


def detached(causal_loss: CausalLoss) -> CausalLoss:
    """The causal loss whose gradient flows through the branch with the history alone (ours)."""
    return lambda logits, without, targets: causal_loss(logits, without.detach(), targets)


def weighted_losses(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor,
    counterfactual_logits: Tensor | None,
    causal_loss: CausalLoss = effect_losses,
) -> Loss:
    """Weighted sums of the normal loss, the cross-entropy of the logits z_t (eq. 1), and the
    causal loss.

    Args:
        logits: (N, V), given the history.
        targets: (N,) int64.
        weights: (N,), see `token_weights`.
        counterfactual_logits: (N, V), given no history; None leaves the causal loss 0.
        causal_loss: gives the causal loss of each token.

    Raises:
        InputError: it does not.
    """

    def weighted(losses: Tensor) -> Tensor:
        return (losses * weights.to(losses)).sum()

    tokens = cross_entropy(logits, targets, reduction="none")
    normal = weighted(tokens)
    causal = torch.zeros_like(normal)
    if counterfactual_logits is not None:
        losses = causal_loss(logits, counterfactual_logits, targets)
        if losses.shape != targets.shape:
            raise InputError("causal_losses must give one loss for each token, and no sum or mean")
        causal = weighted(losses)
    return Loss(normal, causal, tokens.detach())


def total_loss(sums: Loss, alpha: float, weight_sum: Tensor | float) -> Tensor:
    """Sum w l / sum w + alpha * sum w lc / sum w over one `weight_sum` (docs/paper.md §2)."""
    return (sums.normal + alpha * sums.causal) / weight_sum


def positions(lengths: Tensor) -> Tensor:
    """Position of each supervised token, (N,) int64 from 0 to POSITIONS - 1."""
    every = torch.cat([torch.arange(n) for n in lengths.tolist()])
    return every.clamp(max=POSITIONS - 1)


def position_sums(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Sum of the normal losses and number of the tokens at each position.

    Args:
        tokens: (N,) normal losses, see `Loss.tokens`.
        lengths: (B,) int64, supervised tokens of each example, N = lengths.sum().

    Returns:
        (2, POSITIONS) float64: sums, numbers.
    """
    place = positions(lengths)
    sums = torch.zeros(2, POSITIONS, dtype=torch.float64)
    sums[0].index_add_(0, place, tokens.to("cpu", torch.float64))
    sums[1] = torch.bincount(place, minlength=POSITIONS)
    return sums


def running_losses(running: Tensor, sums: Tensor) -> Tensor:
    """Running mean of the normal loss by position, moved on by one optimiser step.

    Args:
        running: (POSITIONS,) float64; NaN where no token has been seen yet.
        sums: (2, POSITIONS) float64 of the whole step, see `position_sums`.

    Returns:
        (POSITIONS,) float64.
    """
    means = sums[0] / sums[1]
    moved = torch.where(running.isnan(), means, (1 - RATE) * running + RATE * means)
    return torch.where(sums[1] > 0, moved, running)


def learned_weights(running: Tensor, lengths: Tensor) -> Tensor:
    """Token weights learned by position: w_p proportional to exp(running loss of p).

    They solve max_w sum_p w_p L_p - KL(w || uniform) over weights that sum to 1: what
    the model still gets wrong weighs most, and the KL term bounds how much. To minimise over the
    weights instead would have a trivial optimum, all weight on the position that is easiest, and
    teach the model nothing. (Ours, after distributionally robust optimisation over groups, Sagawa
    et al. 2020; the paper's weights are those of `token_weights`.)

    Args:
        running: (POSITIONS,) float64, see `running_losses`.
        lengths: (B,) int64, supervised tokens of each example.

    Returns:
        (N,) float32, positive; their mean over the positions seen so far is 1. Positions that have
        not been seen yet weigh 1.
    """
    seen = ~running.isnan()
    scores = torch.where(seen, running, -torch.inf)
    weights = torch.where(seen, scores.softmax(0) * seen.sum(), 1.0)
    return weights[positions(lengths)].float()
