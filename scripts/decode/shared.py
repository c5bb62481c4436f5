"""Prompts encoded once each, with a tree of continuations behind: all beams in one row.

The keys and values of a prompt serve all its continuations, which share one row of the batch. A
token sees its prompt and its own ancestors alone, by an attention mask, at the position that it has
in its own sequence. Nothing is copied when beams are re-ordered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from scripts.command import InputError

#: Kinds of layers that look at a mask alone, and so know no order but the mask's.
MASKED_LAYERS = {"full_attention", "sliding_attention"}


class Prompts(NamedTuple):
    """What the model keeps of a batch of prompts, and of the continuations run so far."""

    cache: DynamicCache
    positions: Tensor
    """(B, K) int64, the position of each cached token in its sequence."""
    real: Tensor
    """(B, L) bool, the tokens of the prompt that are no padding; L <= K."""


def layer_kinds(config: Any) -> set[str]:
    """Kinds of attention layers.

    Raises:
        InputError: the model has recurrent or chunked layers, which know no tree.
    """
    config = config.get_text_config(decoder=True)
    sliding = getattr(config, "sliding_window", None) is not None
    kinds = set(
        getattr(config, "layer_types", None)
        or ["sliding_attention" if sliding else "full_attention"]
    )
    if getattr(config, "attention_chunk_size", None) is not None or not kinds <= MASKED_LAYERS:
        raise InputError(
            f"{config.model_type}: decoding over the catalogue needs a model of full or sliding "
            f"attention layers, found {', '.join(sorted(kinds))}; choose another backbone"
        )
    return kinds


def layer_masks(
    model: Any, visible: Tensor, query_positions: Tensor, key_positions: Tensor
) -> Tensor | dict[str, Tensor]:
    """The additive attention mask, one by kind of layer where the model mixes them.

    Args:
        model: a causal language model.
        visible: (B, Q, K) bool, what each token may see.
        query_positions: (B, Q) int64.
        key_positions: (B, K) int64.

    Returns:
        (B, 1, Q, K) in the model's type.
    """
    masks = {}
    for kind in layer_kinds(model.config):
        seen = visible
        if kind == "sliding_attention":
            window = model.config.get_text_config(decoder=True).sliding_window
            seen = visible & (key_positions[:, None] > query_positions[..., None] - window)
        hidden = torch.zeros(seen.shape, dtype=model.dtype, device=seen.device)
        # The lowest number instead of -inf: a row that sees nothing must not become NaN.
        masks[kind] = hidden.masked_fill(~seen, torch.finfo(model.dtype).min)[:, None]
    return masks if len(masks) > 1 else next(iter(masks.values()))


def encode(model: Any, input_ids: Tensor, attention_mask: Tensor) -> tuple[Prompts, Tensor]:
    """Run the prompts.

    Args:
        model: a causal language model in inference mode.
        input_ids: (B, L) int64 prompts, padded on the left.
        attention_mask: (B, L) int64.

    Returns:
        The prompts, and the (B, V) logits that follow them.
    """
    real = attention_mask.bool()
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    causal = torch.ones(2 * [input_ids.shape[1]], dtype=torch.bool, device=real.device).tril()
    # Without padding or windows the model's own causal mask allows its fastest attention.
    plain = bool(real.all()) and layer_kinds(model.config) == {"full_attention"}
    cache = DynamicCache()
    logits = model(
        input_ids=input_ids,
        attention_mask=None
        if plain
        else layer_masks(model, causal & real[:, None], positions, positions),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return Prompts(cache, positions, real), logits


def extend(
    model: Any, prompts: Prompts, tokens: Tensor, positions: Tensor, ancestors: Tensor, real: Tensor
) -> tuple[Prompts, Tensor]:
    """Run more tokens of the trees behind the prompts.

    Args:
        model: a causal language model in inference mode.
        prompts: what has been run so far; its cache grows.
        tokens: (B, Q) int64.
        positions: (B, Q) int64, of the tokens in their sequences.
        ancestors: (B, Q, S) bool, which of all the S tokens behind the prompts, the new ones
            included, each new token sees.
        real: (B, Q) bool, the tokens that are no filling.

    Returns:
        The prompts with the new tokens, and the (N, V) logits of the real ones.
    """
    key_positions = torch.cat([prompts.positions, positions], 1)
    shown = prompts.real[:, None].expand(-1, tokens.shape[1], -1)
    logits = model(
        input_ids=tokens,
        attention_mask=layer_masks(
            model, torch.cat([shown, ancestors], 2), positions, key_positions
        ),
        position_ids=positions,
        past_key_values=prompts.cache,
        use_cache=True,
        logits_to_keep=real,
    ).logits
    return prompts._replace(positions=key_positions), logits


def select(prompts: Prompts, rows: Tensor) -> Prompts:
    """Keep the prompts of these rows, int64."""
    prompts.cache.batch_select_indices(rows)
    return prompts._replace(positions=prompts.positions[rows], real=prompts.real[rows])


def log_probabilities(logits: Tensor) -> Tensor:
    """Logarithms of the softmax over the whole vocabulary: (N, V) to (N, V) float32.

    Raises:
        InputError: the model gives no numbers.
    """
    # On a CPU twice as fast as the logarithm of the sum alone, which keeps every exp.
    result = logits.float().log_softmax(-1)
    # One logit that is no number makes its whole row none.
    if result[:, 0].isnan().any():
        raise InputError(
            "The model gives logits that are not finite: its training has diverged, or its "
            "precision is too low; lower the learning rate, or set precision: fp32"
        )
    return result
