"""The free beam search of a language model, by transformers' `generate`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig

from scripts.decode.settings import Grounded


def generate_texts(model: Any, tokenizer: Any, *search: Any) -> list[str]:
    """What `generate_tokens` finds, in words, without quotes and blanks around them; some may be
    equal or empty."""
    found = generate_tokens(model, tokenizer, *search)
    texts = tokenizer.batch_decode(found, skip_special_tokens=True)
    return [text.strip().strip('"').strip() for text in texts]


@torch.inference_mode()
def generate_tokens(
    model: Any,
    tokenizer: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    settings: Grounded,
    width: int,
    shared: bool = True,
) -> list[Tensor]:
    """The best beams of a free search for each prompt.

    Args:
        model: a causal language model in inference mode, without a generation configuration of
            its own, see `load_backbone`.
        tokenizer: its tokenizer.
        input_ids: (B, L) int64 prompts, padded on the left.
        attention_mask: (B, L) int64.
        settings: of the search.
        width: how many of its beams are wanted.
        shared: whether the beams share their prompt; where a model does not allow it, each prompt
            is generated from alone, in whole passes.

    Returns:
        int64 tokens of `width` texts for each prompt one after the other, best first.
    """
    generation = GenerationConfig(
        do_sample=False,
        num_beams=settings.beams,
        num_return_sequences=width,
        max_new_tokens=settings.max_new_tokens,
        min_new_tokens=settings.min_new_tokens or None,
        length_penalty=settings.length_penalty,
        early_stopping=settings.early_stopping,
        use_cache=shared,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    if shared:
        state = {"past_key_values": prompt_states(model, input_ids, attention_mask, settings.beams)}
        batches = [(input_ids, {"attention_mask": attention_mask, **state})]
    else:
        batches = [
            (ids[None, mask.bool()], {})
            for ids, mask in zip(input_ids, attention_mask, strict=True)
        ]
    return [
        tokens[ids.shape[1] :]
        for ids, inputs in batches
        for tokens in model.generate(input_ids=ids, generation_config=generation, **inputs)
    ]


def prompt_states(
    model: Any, input_ids: Tensor, attention_mask: Tensor, beams: int
) -> DynamicCache:
    """Keys and values of the prompts, all but their last token: each is run once for its beams."""
    cache = DynamicCache(config=model.config)
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    model(
        input_ids=input_ids[:, :-1],
        attention_mask=attention_mask[:, :-1],
        position_ids=positions[:, :-1],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(beams)
    return cache
