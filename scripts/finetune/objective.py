"""The objective of counterfactual fine-tuning (docs/paper.md §2), as plain functions on tensors.

All sums run over the supervised tokens of a batch, laid out flat: N tokens, vocabulary V.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


class Loss(NamedTuple):
    """Weighted sums of the token losses, scalars: to be divided by the sum of the weights."""

    normal: Tensor
    causal: Tensor


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


def weighted_losses(
    logits: Tensor, targets: Tensor, weights: Tensor, counterfactual_logits: Tensor | None
) -> Loss:
    """Weighted sums of the normal and the causal loss.

    The normal loss is the cross-entropy of the logits z_t (eq. 1). The causal loss is that of the
    effect e_t = z_t - z0_t, a difference of raw logits; its gradient flows through both branches
    (released code).

    Args:
        logits: (N, V), given the history.
        targets: (N,) int64.
        weights: (N,), see `token_weights`.
        counterfactual_logits: (N, V), given no history; None leaves the causal loss 0.
    """

    def weighted(scores: Tensor) -> Tensor:
        losses = cross_entropy(scores, targets, reduction="none")
        return (losses * weights.to(losses)).sum()

    normal = weighted(logits)
    if counterfactual_logits is None:
        return Loss(normal, torch.zeros_like(normal))
    return Loss(normal, weighted(logits - counterfactual_logits))


def total_loss(sums: Loss, alpha: float, weight_sum: Tensor | float) -> Tensor:
    """Sum w l / sum w + alpha * sum w lc / sum w over one `weight_sum` (docs/paper.md §2)."""
    return (sums.normal + alpha * sums.causal) / weight_sum
