"""Random language models small enough for tests, with logits that are far from uniform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

#: What each architecture needs besides the common sizes. The windows are shorter than prompts.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "gpt_neox": {},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8},
}


def tiny_model(architecture: str, vocabulary: int, seed: int = 0, **options: Any) -> Any:
    """A causal language model with two layers of width 16 in float32, in inference mode."""
    torch.manual_seed(seed)
    common: dict[str, Any] = {
        **{"vocab_size": vocabulary, "hidden_size": 16, "intermediate_size": 32},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512},
        **{"initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 1},
    }
    own = ARCHITECTURES.get(architecture, {}) | options
    config = CONFIG_MAPPING[architecture](**common | own)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


def whole_logits(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Logits of an answer, (tokens, vocabulary), from one pass over prompt and answer alone."""
    ids = torch.tensor([[*prompt, *answer[:-1]]])
    return model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :]
