"""Loading a backbone, or a fine-tuned model on top of it, from a local folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from scripts.command import InputError

Precision = Literal["bf16", "fp32"]


def check_folder(folder: Path) -> None:
    """Check that a model folder is there; transformers would look for a missing one on the hub."""
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such model folder; run the step that makes it first")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, with a pad token: eos where the tokenizer has none.

    Raises:
        InputError: the folder is missing or holds no tokenizer.
    """
    check_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: holds no usable tokenizer ({error})") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def neutral_generation_config(tokenizer: Any) -> GenerationConfig:
    """A generation configuration without the sampling and penalties that Instruct models ship."""
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def load_backbone(folder: Path, precision: Precision) -> PreTrainedModel:
    """A causal language model from a local folder, on the CPU, in the given precision.

    It loses the generation configuration that it ships: `generate` would take every field from it
    that a search leaves open.

    Raises:
        InputError: the folder is missing or holds no safetensors of a causal language model.
    """
    check_folder(folder)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: holds no usable causal language model ({error})") from error
    model.config.use_cache = False
    model.generation_config = GenerationConfig()
    return model


def context_of(model: Any) -> int:
    """Tokens that a model sees at most; a large number where its configuration names none."""
    config = model.config.get_text_config(decoder=True)
    return getattr(config, "max_position_embeddings", None) or sys.maxsize


def load_finetuned(
    model: Path, backbone: Path, device: torch.device, precision: Precision
) -> PreTrainedModel:
    """A fine-tuned model for inference; an adapter is merged into its backbone.

    Args:
        model: folder that the fine-tuning wrote, whole model or PEFT adapter.
        backbone: folder of the backbone that it was fine-tuned from.
        device: where to put it.
        precision: bf16 is used on a GPU only, as CPUs are slower in it.
    """
    if device.type == "cpu":
        precision = "fp32"
    if (Path(model) / "adapter_config.json").is_file():
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(load_backbone(backbone, precision), str(model))
        loaded = adapted.merge_and_unload()
    else:
        loaded = load_backbone(model, precision)
    return loaded.to(device).eval()
