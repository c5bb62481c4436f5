"""Every family of causal language models that transformers can build, tried as a backbone.

    python -m tests.benchmarks.architectures --output architectures.csv [--families llama mpt ...]

Each is made tiny with random weights, saved, and loaded as a backbone is. What
`scripts.finetune.shortcuts` finds of it stands beside what it should have found: lists, their
scores and gradients against passes of one sequence at a time. A family is exact, falls back to
whole passes, or is refused with a message; one that is none of these is wrong. Families run in
processes of their own, as some ask for more memory than there is.
"""

from __future__ import annotations

import inspect
import resource
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from scripts.backbones.generation import generate_texts
from scripts.backbones.load import load_backbone, load_tokenizer
from scripts.backbones.passes import padded
from scripts.command import InputError, progress, run
from scripts.decode.constrained import search, to_device
from scripts.decode.settings import Grounded
from scripts.decode.trie import build_trie
from scripts.files import write_csv
from scripts.finetune.batches import answer_logits, branches, no_history_prompt
from scripts.finetune.shortcuts import find_shortcuts
from scripts.prompts import answer_ids, prompt_ids, prompt_text
from tests.benchmarks.measure import alone
from tests.small_language import PROMPT, TITLES, make_small_backbone, write_language_data
from tests.test_decode_constrained import title_scores
from tests.tiny_models import whole_logits

#: Seconds and memory of a family; a model that asks for more is not built.
LIMIT, MEMORY = 300, 12 << 30
#: Sizes by every name that a configuration may have for them.
SMALL: dict[str, Any] = (
    dict.fromkeys(["hidden_size", "n_embd", "d_model", "dim", "emb_dim", "embedding_size"], 32)
    | dict.fromkeys(["intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size"], 48)
    | dict.fromkeys(["decoder_ffn_dim", "encoder_ffn_dim", "inner_dim"], 48)
    | dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers"], 2)
    | dict.fromkeys(["decoder_layers", "num_decoder_layers"], 2)
    | dict.fromkeys(["encoder_layers", "num_encoder_layers", "first_k_dense_replace"], 1)
    | dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads"], 4)
    | dict.fromkeys(["decoder_attention_heads", "encoder_attention_heads"], 4)
    | dict.fromkeys(["num_key_value_heads", "linear_num_value_heads", "linear_num_key_heads"], 2)
    | dict.fromkeys(["head_dim", "kv_channels", "v_head_dim", "qk_nope_head_dim"], 8)
    | dict.fromkeys(["qk_rope_head_dim", "linear_key_head_dim", "linear_value_head_dim"], 8)
    | dict.fromkeys(["state_size", "mamba_d_state", "mamba_n_heads", "mamba_d_head"], 8)
    | dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts"], 4)
    | dict.fromkeys(["num_experts_per_tok", "moe_topk", "moe_k", "mamba_expand", "ngram"], 2)
    | dict.fromkeys(["moe_num_experts"], 4)
    | dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size"], 16)
    | dict.fromkeys(["q_lora_rank", "kv_lora_rank", "chunk_size"], 16)
    | dict.fromkeys(["n_group", "topk_group", "mamba_n_groups"], 1)
    | dict.fromkeys(["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"], 512)
    | dict.fromkeys(["max_source_positions", "max_target_positions"], 512)
    # Far from uniform, so that what is wrong shows; shorter than prompts, so that windows do.
    | {"initializer_range": 0.3, "sliding_window": 24, "window_size": 24}
    | {"lru_width": 32, "rotary_dim": 4, "hidden_size_per_layer_input": 8, "use_cache": True}
    | {"attention_chunk_size": 24, "attention_hidden_size": 32}
)
#: What single families need besides, and what they must be left with.
OTHERWISE: dict[str, dict[str, Any]] = {
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "falcon": {"alibi": True, "new_decoder_architecture": False},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.5, 0.5]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {"head_dim": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh"], "is_decoder": True},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 3},
    "zamba2": {"layer_types": ["mamba", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
}


def tiny_config(family: str, vocabulary: int) -> Any:
    """A configuration of the family with the sizes of `SMALL`."""
    kind = CONFIG_MAPPING[family]
    default = kind()
    text = default.get_text_config(decoder=True)
    sizes = SMALL | {"vocab_size": vocabulary, "vocab_size_per_layer_input": vocabulary}
    sizes |= {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 0}
    if "kv_lora_rank" in text.to_dict():
        # Latent attention works out the width of a head by itself.
        sizes.pop("head_dim")
        sizes["num_key_value_heads"] = 4

    def known(config: Any) -> dict[str, Any]:
        names = {*vars(config), *inspect.signature(type(config).__init__).parameters}
        return {name: size for name, size in sizes.items() if name in names}

    own = OTHERWISE.get(family, {})
    inner = [name for name, value in vars(default).items() if value is text]
    if text is default or not inner:
        return kind(**known(default) | own)
    tokens = {name: sizes[name] for name in ("pad_token_id", "eos_token_id")}
    return kind(**{inner[0]: type(text)(**known(text) | own)}, **tokens)


def try_family(family: str, folder: Path) -> dict[str, Any]:
    """What one family comes to; the backbone of `make_small_backbone` lends its tokenizer.

    Returns:
        family, parameters, outcome (exact, falls back, refused, not built, WRONG), tree and prefix
        (whether these shortcuts are taken), scores and gradients (largest deviations from passes of
        one sequence at a time, gradients relative to their norm), and a message.
    """
    tokenizer = load_tokenizer(folder / "backbone")
    torch.manual_seed(0)
    row: dict[str, Any] = {"family": family, "outcome": "not built"}
    try:
        config = tiny_config(family, len(tokenizer))
        built = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        built.save_pretrained(folder / family)
        tokenizer.save_pretrained(folder / family)
    except Exception as error:  # Whatever transformers makes of our guesses.
        return row | {"message": words(error)}
    row["parameters"] = sum(parameter.numel() for parameter in built.parameters())
    try:
        model = load_backbone(folder / family, "fp32").eval()
        shortcuts = find_shortcuts(model, tokenizer, PROMPT, TITLES, 256)
    except InputError as error:
        return row | {"outcome": "refused", "message": words(error)}
    scores, lists = search_deviation(model, tokenizer, shortcuts.tree)
    gradients = gradient_deviation(model, tokenizer, shortcuts.prefix)
    texts = texts_differ(model, tokenizer, shortcuts.beams)
    right = scores < 1e-3 and lists == 0 and gradients < 1e-3 and not texts
    outcome = "exact" if all(shortcuts) else "falls back"
    if np.isnan(gradients):  # As the training's first step says, which stops there.
        return row | {"outcome": "refused", "message": "its gradients are no numbers"}
    return row | {
        "outcome": outcome if right else "WRONG",
        **shortcuts._asdict(),
        "scores": scores,
        "gradients": gradients,
        "message": "" if right else f"{lists} places of lists differ, texts differ: {texts}",
    }


def words(error: Exception) -> str:
    """The first line of a message."""
    return (str(error).splitlines() or [type(error).__name__])[0].rpartition("/")[2][:160]


def prompts_of(tokenizer: PreTrainedTokenizerFast) -> list[tuple[int, ...]]:
    """A long prompt, a short one and the one without history."""
    histories: list[list[str]] = [TITLES, TITLES[:1], []]
    return [tuple(prompt_ids(tokenizer, prompt_text(PROMPT, titles))) for titles in histories]


def search_deviation(model: Any, tokenizer: Any, shared: bool) -> tuple[float, int]:
    """Deviation of the scores of all titles, and places where lists differ by more than a tie."""
    titles = sorted({tuple(answer_ids(tokenizer, title)) for title in TITLES})
    prompts = prompts_of(tokenizer)
    ids, mask = padded(prompts, tokenizer.pad_token_id, torch.device("cpu"))
    trie = to_device(build_trie(titles), torch.device("cpu"))
    found = search(model, trie, ids, mask, 2 * len(titles), 0.0, shared=shared)
    worst, differing = 0.0, 0
    for prompt, ranking in zip(prompts, found, strict=True):
        expected = title_scores(model, titles, prompt)
        worst = max(worst, float(np.abs(ranking.scores - expected[ranking.titles]).max()))
        best = np.sort(expected)[::-1]
        differing += int((np.abs(expected[ranking.titles] - best) > 1e-3).sum())
    return worst, differing


def gradient_deviation(model: Any, tokenizer: Any, share: bool) -> float:
    """Largest relative deviation of a parameter's gradient from that of single passes."""
    prompts = [list(prompt) for prompt in prompts_of(tokenizer)[:2]]
    answers = [answer_ids(tokenizer, title) for title in TITLES[:2]]
    no_history = no_history_prompt(tokenizer, PROMPT)
    inputs = branches(prompts, answers, no_history, tokenizer.pad_token_id, share)
    ours = torch.cat([logits for logits in answer_logits(model, inputs) if logits is not None])
    theirs = torch.cat(
        [
            whole_logits(model, p, a)
            for shown in (prompts, [no_history] * 2)
            for p, a in zip(shown, answers, strict=True)
        ]
    )
    weights = torch.linspace(0.5, 1.5, ours.shape[1])
    pairs = []
    for logits in (ours, theirs):
        model.zero_grad()
        (logits.log_softmax(-1) * weights).mean().backward()
        pairs.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    norm = max(float(gradient.norm()) for gradient in pairs[1])
    return max(float((a - b).norm()) for a, b in zip(*pairs, strict=True)) / norm


def texts_differ(model: Any, tokenizer: Any, shared: bool) -> bool:
    """Whether a batch of free texts is another one than texts of one prompt, without any cache."""
    prompts = prompts_of(tokenizer)
    settings = Grounded(kind="grounded", beams=2, max_new_tokens=6)

    def texts(batch: list[tuple[int, ...]], share: bool) -> list[str]:
        ids, mask = padded(batch, tokenizer.pad_token_id, torch.device("cpu"))
        return generate_texts(model, tokenizer, ids, mask, settings, 1, share)

    return texts(prompts, shared) != [texts([prompt], False)[0] for prompt in prompts]


def architectures(output: Path, families: list[str] | None = None) -> None:
    """Try families of causal language models as backbones.

    Args:
        output: CSV to write, see `try_family`.
        families: names as transformers has them; null tries all.
    """
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_language_data(folder)
        make_small_backbone(folder)
        for family in progress(families or [*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES], "families"):
            try:
                row = alone(try_alone, family, folder, seconds=LIMIT, start="fork")
            except Exception:  # However a process ends that asks for too much.
                row = {"family": family, "outcome": "not built", "message": "no time or no memory"}
            rows.append(row)
            print(rows[-1], flush=True)
            shutil.rmtree(folder / family, ignore_errors=True)
    table = pd.DataFrame(rows)
    write_csv(table, output)
    print(table["outcome"].value_counts().to_string())


def try_alone(family: str, folder: Path) -> dict[str, Any]:
    """Try a family with a limit on memory, in a process that may die of it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    return try_family(family, folder)


if __name__ == "__main__":
    run(architectures)
