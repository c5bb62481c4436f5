"""The model card of a fine-tuned model: what it is, and what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from scripts.finetune.settings import Objective, Training

#: The words are no code: to change them trains nothing anew.
CARD = Path(__file__).with_name("card.md")


def model_card(
    record: dict[str, Any],
    objective: Objective,
    training: Training,
    dataset: str,
    loss: float,
    prompt: str,
) -> str:
    """Text of the card, in Markdown with the metadata that model hubs read.

    Args:
        record: content of run.json.
        objective: what was trained.
        training: how.
        dataset: name of the data set.
        loss: validation loss of the epoch that was kept.
        prompt: one prompt as the model sees it.
    """
    backbone = record["backbone"]
    on_hub = isinstance(backbone, dict) and "id" in backbone
    base = backbone["id"] if on_hub else Path(record["backbone_folder"]).name
    lora = training.lora
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
        trained="all parameters" if lora is None else f"LoRA adapters of rank {lora.rank}",
        objective=objective_text(objective),
        data=f"{dataset}, {record['train_examples']:,} training examples",
        training=(
            f"AdamW, peak learning rate {training.learning_rate:g}, batches of "
            f"{training.batch_size}, {record['steps']:,} steps"
        ),
        seed=record["seed"],
        best_epoch=record["best_epoch"],
        epochs_run=record["epochs_run"],
        loss=loss,
        valid_examples=record["valid_examples"],
        prompt=prompt.strip(),
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
    return f"{weights}, {causal}"
