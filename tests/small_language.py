"""A tiny language model with its tokenizer, and a data set in words, for whole steps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from scripts.backbones.load import load_tokenizer
from scripts.backbones.scratch import make_scratch
from scripts.backbones.settings import Scratch
from scripts.contracts import RECOMMENDATIONS
from scripts.data.settings import Prompt
from scripts.decode.model import Finetuned
from scripts.decode.recommend import recommend
from scripts.decode.settings import Decoder
from scripts.files import read_table, sha256, write_json
from scripts.finetune.shortcuts import Shortcuts
from scripts.prompts import answer_ids, prompt_ids, prompt_text
from tests.small_data import write_catalogue, write_examples
from tests.tiny_models import whole_logits

PROMPT = Prompt(instruction="Recommend a book.", history="The user has read:")
TITLES = [
    "Amber Harbour, Part 1",
    "Amber Harbour, Part 2",
    "Broken Island",
    "Amber Harbour",
    "Broken Island",  # The same title as item 2, and more training targets.
    "Crimson Tower: a Novel",
    "The Distant Signal",
    "1984",
    "Crimson Tower",
]
TRAIN_COUNTS = [3, 0, 1, 2, 5, 0, 0, 7, 1]
ROWS = [
    ("u1", [0], 1),
    ("u1", [0, 1], 2),
    ("u2", [5, 3, 8], 4),
    ("u3", [7, 2, 6, 1, 0, 4, 8, 5, 3, 6], 0),
    ("u4", [6], 7),
    ("u4", [6, 7], 8),
]
#: What the training records of the small backbone: else every run of a step would try it anew.
SHORTCUTS = {"shortcuts": Shortcuts(tree=True, prefix=True, beams=True)._asdict()}


def write_language_data(folder: Path) -> None:
    """Write catalogue.parquet and examples.parquet."""
    write_catalogue(folder / "catalogue.parquet", TITLES, TRAIN_COUNTS)
    write_examples(folder / "examples.parquet", ROWS, first=10)


def make_small_backbone(
    folder: Path, output: str = "backbone", catalogue: Path | None = None, **settings: Any
) -> Path:
    """A scratch backbone with random weights on the data of `write_language_data`."""
    sizes = {"hidden_size": 16, "layers": 2, "heads": 2, "vocabulary": 300}
    make_scratch(
        train=folder / "examples.parquet",
        catalogue=catalogue or folder / "catalogue.parquet",
        prompt=PROMPT,
        settings=Scratch(kind="scratch", **sizes | settings),
        output=folder / output,
        device="cpu",
    )
    return folder / output


def write_small_study(root: Path) -> list[Path]:
    """Write data and models of a study, results/small: two whole models and a fresh adapter, whose
    backbone, resources/backbones/other, is the second one.

    Returns:
        folders of the models.
    """
    write_language_data(root)
    data, models = root / "results/small/data/books", root / "results/small/models/books"
    (data / "examples").mkdir(parents=True)
    shutil.copy(root / "catalogue.parquet", data)
    shutil.copy(root / "examples.parquet", data / "examples/test.parquet")
    plain, cft, lora = (
        models / f"tiny/{name}" for name in ("plain/seed-0", "cft/seed-1", "lora/seed-0")
    )
    make_small_backbone(root, plain)
    backbone = make_small_backbone(root, "resources/backbones/other", seed=1)
    shutil.copytree(backbone, cft)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(backbone),
        LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    adapted.peft_config["default"].base_model_name_or_path = None  # As the training leaves it.
    adapted.save_pretrained(lora, save_embedding_layers=False)
    load_tokenizer(backbone).save_pretrained(lora)
    settings = {"prompt": PROMPT.model_dump(), "training": {"max_tokens": 512, "precision": "fp32"}}
    weights = {"model.safetensors": sha256(backbone / "model.safetensors")}
    record = SHORTCUTS | {"settings": settings, "backbone": {"name": "other", "sha256": weights}}
    for model in (plain, cft, lora):
        write_json(record, model / "run.json")
    return [plain, cft, lora]


def log_probabilities(
    model: Any, tokenizer: Any, history: list[str], title: str, less: list[str] | None = None
) -> np.ndarray:
    """Of a title's tokens after the prompt with a history, from one whole forward pass; the logits
    may be `less` those after the prompt with another one."""
    answer = answer_ids(tokenizer, title)

    def logits(history: list[str]) -> torch.Tensor:
        return whole_logits(model, prompt_ids(tokenizer, prompt_text(PROMPT, history)), answer)

    with torch.inference_mode():
        scores = logits(history) if less is None else logits(history) - logits(less)
    return scores.log_softmax(-1)[range(len(answer)), answer].numpy()


def finetuned(folder: Path, **options: Any) -> Finetuned:
    """The backbone of a folder as a fine-tuned model, or whatever the options say."""
    return Finetuned(
        **{
            "model": folder / "backbone",
            "backbone": folder / "backbone",
            "catalogue": folder / "catalogue.parquet",
            "prompt": PROMPT,
            "device": "cpu",
        }
        | options
    )


def listed(
    model: Finetuned,
    test: Path,
    decoder: Decoder,
    output: Path,
    history: str = "with",
    **options: Any,
) -> pd.DataFrame:
    """The lists of one run of the decoding step."""
    recommend(model, test, decoder, [history], output, **options)
    return read_table(output / f"{history}.parquet", RECOMMENDATIONS)
