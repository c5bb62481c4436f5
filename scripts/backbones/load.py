"""Loading a backbone, or a fine-tuned model on top of it, from a local folder."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)

from scripts.command import InputError
from scripts.files import read_json, sha256

Precision = Literal["bf16", "fp32"]
#: What tells the checksums of a model's files.
RECORDS = ("backbone.json", "run.json")
#: How a pointer of Git LFS begins.
LFS = b"version https://git-lfs"


def check_folder(folder: Path, weights: bool = True) -> None:
    """Check that a model folder is there, and holds the files that were written, with or without
    the weights, and not Git LFS's pointers to them.

    transformers would look for a missing folder on the hub, and no file of a model has a checksum.

    Raises:
        InputError: it is missing, or a file is a pointer, or another than its record tells.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such model folder; run the step that makes it first")
    written: dict[str, str] = {}
    for record in (Path(folder) / name for name in RECORDS):
        written |= read_json(record, needed=False).get("files", {})
    for file in sorted(path for path in Path(folder).iterdir() if path.is_file()):
        with file.open("rb") as stream:
            pointer = stream.read(len(LFS)) == LFS
        if pointer:
            raise InputError(
                f"{file}: is a pointer of Git LFS, not the file itself; run `git lfs pull` where "
                "it is from, or obtain the file again"
            )
        checked = file.name in written and (weights or file.suffix != ".safetensors")
        if checked and sha256(file) != written[file.name]:
            raise InputError(
                f"{file}: is damaged or was changed, as its SHA-256 is not the one that was "
                "recorded when it was written; delete its folder and run again"
            )


def check_code(folder: Path) -> None:
    """Check that transformers has the code of a model: code that comes with one is never run.

    Raises:
        InputError: it has not.
    """
    file = folder / "config.json"
    config = read_json(file, needed=False)
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING:
        raise InputError(
            f"{file}: the model needs code of its own (auto_map), which is not "
            "run; choose a backbone whose model_type transformers has"
        )


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, with a pad token: eos where the tokenizer has none.

    Raises:
        InputError: the folder is missing, or holds no tokenizer or one without eos.
    """
    check_folder(folder, weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # Whatever its files hold: tokenizers raises a plain Exception.
        raise InputError(
            f"{folder}: holds no usable tokenizer ({type(error).__name__}: {error}); give it the "
            "tokenizer.json of its model"
        ) from error
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{folder}: the tokenizer has no eos token, which ends every title; set eos_token in "
            "its tokenizer_config.json, or choose another backbone"
        )
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
        InputError: the folder is missing, holds no safetensors of a causal language model, or
            others than the model has: transformers would fill what is missing with random numbers.
    """
    check_folder(folder)
    check_code(folder)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # As of the tokenizer.
        raise InputError(f"{folder}: holds no usable causal language model ({error})") from error
    tied = getattr(model, "all_tied_weights_keys", {})
    missing = sorted(set(found["missing_keys"]) - set(tied))
    for state, keys in (("lack", missing), ("have besides", sorted(found["unexpected_keys"]))):
        if keys:
            raise InputError(
                f"{folder}: the weights {state} {len(keys)} tensors, such as {keys[0]}: they are "
                f"not whole, or not those of the {model.config.model_type} in its config.json; "
                "obtain the model's files again, or choose another backbone"
            )
    model.config.use_cache = False
    model.generation_config = GenerationConfig()
    return model


def check_vocabulary(folder: Path, tokenizer: Any, model: Any) -> None:
    """Check that a model has an embedding for every token.

    Raises:
        InputError: the tokenizer, or its pad token, has higher numbers.
    """
    rows = model.get_input_embeddings().num_embeddings
    if tokenizer.pad_token_id >= rows:
        raise InputError(
            f"{folder}: the pad token {tokenizer.pad_token!r} has the number "
            f"{tokenizer.pad_token_id}, but the model has {rows} embeddings; name another "
            "pad_token in tokenizer_config.json, such as its eos token"
        )
    token, number = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    if number >= rows:
        raise InputError(
            f"{folder}: the token {token!r} has the number {number}, but the model has {rows} "
            "embeddings; obtain the tokenizer that belongs to the model"
        )


def context_of(model: Any) -> int:
    """Tokens that a model sees at most; a large number where its configuration names none."""
    config = model.config.get_text_config(decoder=True)
    return getattr(config, "max_position_embeddings", None) or sys.maxsize


def check_commit(adapter: Path, backbone: Path) -> None:
    """Check that a backbone of the hub is the commit that an adapter was trained from.

    Raises:
        InputError: the revision has moved between.
    """
    trained = read_json(adapter / "adapter_config.json").get("revision")
    record = read_json(backbone / "backbone.json", needed=False)
    if trained and record.get("commit", trained) != trained:
        raise InputError(
            f"{adapter}: was trained from commit {trained} of {record['id']}, but {backbone} is "
            f"{record['commit']}; set that revision in the config, or train it anew"
        )


def load_finetuned(
    model: Path, backbone: Path, device: torch.device, precision: Precision
) -> PreTrainedModel:
    """A fine-tuned model for inference, whole or an adapter, which is merged into the backbone that
    it was fine-tuned from; bf16 is used on a GPU only, as CPUs are slower in it."""
    if device.type == "cpu":
        precision = "fp32"
    if (Path(model) / "adapter_config.json").is_file():
        from peft import PeftModel

        check_folder(model)
        check_commit(model, backbone)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Found missing adapter keys")
            try:
                adapted = PeftModel.from_pretrained(load_backbone(backbone, precision), str(model))
            except (UserWarning, OSError, ValueError, RuntimeError, SafetensorError) as error:
                raise InputError(f"{model}: holds no usable adapter ({error})") from error
        loaded = adapted.merge_and_unload()
    else:
        loaded = load_backbone(model, precision)
    return loaded.to(device).eval()
