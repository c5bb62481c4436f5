"""Passes over prompts and the trees of continuations behind them: shared, or whole.

Shared: a prompt is encoded once, its keys and values serve all its continuations, and these share
one row of the batch. A token sees its prompt and its own ancestors alone, by an attention mask, at
the position that it has in its own sequence. Nothing is copied when beams are re-ordered.

Whole: every sequence is a pass of its own, padded behind its end, where no causal model looks. It
takes many times as long, and asks of a model nothing but causality. Which of the two a model gets
is decided by what it does, see `scripts.finetune.shortcuts`.

A `model` is a causal language model in inference mode. Prompts are `input_ids`, (B, L) int64,
padded on the left, with their `attention_mask`, (B, L) int64.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from scripts.command import InputError

#: Tokens, padding included, of the whole sequences that are run at a time.
WHOLE = 4096


class Prompts(NamedTuple):
    """What is kept of a batch of prompts, and of the continuations run so far."""

    cache: DynamicCache | None
    """Keys and values of the tokens; none where every sequence is run whole."""
    tokens: Tensor
    """(B, K) int64."""
    positions: Tensor
    """(B, K) int64, the position of each token in its sequence."""
    real: Tensor
    """(B, L) bool, the tokens of the prompt that are no padding; L <= K."""


def padded(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and their attention mask: (B, L) int64 each."""
    length = max(map(len, prompts))
    rows = [[pad] * (length - len(ids)) + list(ids) for ids in prompts]
    masks = [[0] * (length - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(rows, device=device), torch.tensor(masks, device=device)


def kept_logits(model: Any, keep: Tensor, **inputs: Any) -> Tensor:
    """Run a causal language model on its inputs, (B, L) each, with the head on some positions
    alone, (B, L) bool: their (N, V) logits, row after row."""
    whole = getattr(model, "get_base_model", lambda: model)()
    if "logits_to_keep" in inspect.signature(whole.forward).parameters:
        return model(**inputs, logits_to_keep=keep).logits
    return model(**inputs).logits[keep]


def layer_masks(
    model: Any, visible: Tensor, query_positions: Tensor, key_positions: Tensor
) -> Tensor | dict[str, Tensor]:
    """The additive attention mask, one by kind of layer where the model says that it mixes them.

    Args:
        visible: (B, Q, K) bool, what each token may see.
        query_positions: (B, Q) int64.
        key_positions: (B, K) int64.

    Returns:
        (B, 1, Q, K) in the model's type.
    """
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    only = "full_attention" if window is None else "sliding_attention"
    masks = {}
    for kind in sorted(set(getattr(config, "layer_types", None) or [only])):
        seen = visible
        if kind == "sliding_attention":
            seen = visible & (key_positions[:, None] > query_positions[..., None] - window)
        hidden = torch.zeros(seen.shape, dtype=model.dtype, device=seen.device)
        # The lowest number instead of -inf: a row that sees nothing must not become NaN.
        masks[kind] = hidden.masked_fill(~seen, torch.finfo(model.dtype).min)[:, None]
    return masks if len(masks) > 1 else next(iter(masks.values()))


def encode(
    model: Any, input_ids: Tensor, attention_mask: Tensor, shared: bool
) -> tuple[Prompts, Tensor]:
    """Run the prompts, which their continuations may share: what is kept of them, and the (B, V)
    logits that follow them."""
    real = attention_mask.bool()
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    if not shared:
        every = torch.arange(len(real), device=real.device)
        logits = whole_logits(model, input_ids, real, every, real.sum(1))
        return Prompts(None, input_ids, positions, real), logits
    causal = torch.ones(2 * [input_ids.shape[1]], dtype=torch.bool, device=real.device).tril()
    masks = layer_masks(model, causal & real[:, None], positions, positions)
    config = model.config.get_text_config(decoder=True)
    # Without padding or windows the model's own causal mask allows its fastest attention.
    plain = bool(real.all()) and not isinstance(masks, dict)
    plain = plain and getattr(config, "sliding_window", None) is None
    cache = DynamicCache()
    last = torch.zeros_like(real)
    last[:, -1] = True
    logits = kept_logits(
        model,
        last,
        input_ids=input_ids,
        attention_mask=None if plain else masks,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )
    return Prompts(cache, input_ids, positions, real), logits


def extend(
    model: Any, prompts: Prompts, tokens: Tensor, positions: Tensor, ancestors: Tensor, real: Tensor
) -> tuple[Prompts, Tensor]:
    """Run more tokens of the trees behind the prompts.

    Args:
        prompts: what has been run so far; its cache grows.
        tokens: (B, Q) int64.
        positions: (B, Q) int64, of the tokens in their sequences.
        ancestors: (B, Q, S) bool, which of all the S tokens behind the prompts, the new ones
            included, each new token sees; none stands before its own ancestors.
        real: (B, Q) bool, the tokens that are no filling.

    Returns:
        The prompts with the new tokens, and the (N, V) logits of the real ones.
    """
    grown = prompts._replace(
        tokens=torch.cat([prompts.tokens, tokens], 1),
        positions=torch.cat([prompts.positions, positions], 1),
    )
    shown = prompts.real[:, None].expand(-1, tokens.shape[1], -1)
    visible = torch.cat([shown, ancestors], 2)
    if prompts.cache is None:
        # A token that another new one sees lies on the sequence of that one.
        among = ancestors[..., -tokens.shape[1] :] & real[..., None] & real[:, None]
        end = real & (among.sum(1) == 1)
        row, column = real.nonzero(as_tuple=True)
        own = (among & end[..., None]).int().argmax(1)[row, column]
        number = (end.flatten().cumsum(0) - 1).view_as(end)[row, own]
        sequences = grown.tokens[end.nonzero()[:, 0]]
        lengths = visible.sum(2)[row, column]
        return grown, whole_logits(model, sequences, visible[end], number, lengths)
    logits = kept_logits(
        model,
        real,
        input_ids=tokens,
        attention_mask=layer_masks(model, visible, positions, grown.positions),
        position_ids=positions,
        past_key_values=prompts.cache,
        use_cache=True,
    )
    return grown, logits


def whole_logits(
    model: Any, tokens: Tensor, visible: Tensor, sequence: Tensor, length: Tensor
) -> Tensor:
    """Logits behind beginnings of sequences that are each run whole.

    Args:
        tokens: (N, K) int64.
        visible: (N, K) bool, the tokens of each sequence, in their order.
        sequence: (M,) int64, the sequence of each beginning.
        length: (M,) int64, its tokens; no two are the same.

    Returns:
        (M, V).
    """
    # The tokens of a sequence come first, in their order; what follows is padding.
    ids = tokens.gather(1, (~visible).to(torch.int8).sort(dim=1, stable=True).indices)
    keep = torch.zeros_like(visible)
    keep[sequence, length - 1] = True
    parts = []
    for rows in torch.arange(len(ids), device=ids.device).split(max(1, WHOLE // ids.shape[1])):
        longest = int(visible[rows].sum(1).max())
        kept, part = keep[rows, :longest], ids[rows, :longest]
        parts.append(kept_logits(model, kept, input_ids=part, use_cache=False))
    # They come sequence by sequence, the shorter beginnings first.
    place = (sequence * keep.shape[1] + length).argsort().argsort()
    return torch.cat(parts)[place]


def select(prompts: Prompts, rows: Tensor) -> Prompts:
    """Keep the prompts of these rows, int64."""
    if prompts.cache is not None:
        prompts.cache.batch_select_indices(rows)
    return prompts._replace(
        tokens=prompts.tokens[rows], positions=prompts.positions[rows], real=prompts.real[rows]
    )


def forget(prompts: Prompts, count: int) -> None:
    """Take the last tokens out of the cache again: a pass that grew it is not gone on with."""
    if prompts.cache is not None:
        prompts.cache.crop(-count)


def log_probabilities(logits: Tensor, row: np.ndarray, token: Tensor) -> Tensor:
    """Logarithms of the softmax over the whole vocabulary, of some tokens.

    Args:
        logits: (N, V).
        row: (C,) int64 on the host, ascending: the logits that each token is taken from.
        token: (C,) int64.

    Returns:
        (C,) float32.

    Raises:
        InputError: the model gives no numbers.
    """
    # Of a few rows at a time, as a CPU takes longer to find fresh memory than to compute.
    size = 16 if logits.device.type == "cpu" else 256
    cuts = np.searchsorted(row, np.arange(size, len(logits), size)).tolist()
    rows = torch.from_numpy(row % size).to(logits.device)
    # On a CPU log_softmax is twice as fast as the logarithm of the sum alone.
    found = torch.cat(
        [
            part.log_softmax(-1, dtype=torch.float32)[at, of]
            for part, at, of in zip(
                logits.split(size), rows.tensor_split(cuts), token.tensor_split(cuts), strict=True
            )
        ]
    )
    # One logit that is no number makes its whole row none.
    if found.isnan().any():
        raise InputError(
            "The model gives logits that are not finite: its training has diverged, or its "
            "precision is too low; lower the learning rate, or set precision: fp32"
        )
    return found
