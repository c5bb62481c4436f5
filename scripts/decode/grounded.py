"""BIGRec's grounding: free generation, then titles by distance to the text (docs/paper.md §3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig

#: Texts embedded, and rows of distances held, at a time.
CHUNK = 256


@torch.inference_mode()
def generate_texts(
    model: Any,
    tokenizer: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    beams: int,
    max_new_tokens: int,
) -> list[str]:
    """The best beam of a free search for each prompt, without its quotes and blanks.

    Args:
        model: a causal language model in inference mode, without a generation configuration of
            its own, see `load_backbone`.
        tokenizer: its tokenizer.
        input_ids: (B, L) int64 prompts, padded on the left.
        attention_mask: (B, L) int64.
        beams: width of the search.
        max_new_tokens: longest text.
    """
    # The prompts, all but their last token, are run once each instead of once per beam.
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
    generated = model.generate(
        input_ids=input_ids,
        attention_mask=attention_mask,
        past_key_values=cache,
        generation_config=GenerationConfig(
            do_sample=False,
            num_beams=beams,
            num_return_sequences=1,
            max_new_tokens=max_new_tokens,
            length_penalty=1.0,
            early_stopping=True,
            use_cache=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
    )
    texts = tokenizer.batch_decode(generated[:, input_ids.shape[1] :], skip_special_tokens=True)
    return [text.strip().strip('"').strip() for text in texts]


@torch.inference_mode()
def embed(model: Any, tokenizer: Any, texts: Sequence[str], device: torch.device) -> Tensor:
    """The last layer's vector at the last token of each text: (n, hidden) float32.

    Each distinct text is encoded once; an empty text is encoded as eos alone.
    """
    distinct = list(dict.fromkeys(texts))
    ids = [tokenizer(text).input_ids or [tokenizer.eos_token_id] for text in distinct]
    # Texts of one length together need no padding.
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    vectors: dict[str, Tensor] = {}
    start = 0
    while start < len(order):
        length = len(ids[order[start]])
        chunk = [i for i in order[start : start + CHUNK] if len(ids[i]) == length]
        body = model.base_model(
            input_ids=torch.tensor([ids[i] for i in chunk], device=device), use_cache=False
        )
        for i, vector in zip(chunk, body.last_hidden_state[:, -1].float(), strict=True):
            vectors[distinct[i]] = vector
        start += len(chunk)
    return torch.stack([vectors[text] for text in texts])


@torch.inference_mode()
def nearest(queries: Tensor, titles: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """The titles nearest to each query by L2 distance, nearest first, ties by the lower index.

    Args:
        queries: (n, hidden) float32.
        titles: (m, hidden) float32.
        depth: length of the lists, at most m.

    Returns:
        Indices (n, depth) int64 and distances (n, depth) float32.
    """
    indices, distances = [], []
    for chunk in queries.split(CHUNK):
        table = torch.cdist(chunk, titles, compute_mode="donot_use_mm_for_euclid_dist")
        ordered = table.sort(dim=1, stable=True)
        indices.append(ordered.indices[:, :depth])
        distances.append(ordered.values[:, :depth])
    return torch.cat(indices), torch.cat(distances)
