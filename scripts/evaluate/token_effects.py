"""The effect of the history on each target token: the paper's motive for the token weights (§7)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate.utils import send_to_device

from scripts.backbones.load import Precision, load_finetuned, load_tokenizer
from scripts.command import progress, run
from scripts.contracts import TOKEN_EFFECTS
from scripts.data.settings import Prompt
from scripts.device import Device, torch_device
from scripts.examples import EVALUATION_SEED, read_examples, read_titles, subsample
from scripts.files import write_table
from scripts.finetune.batches import (
    answer_logits,
    branches,
    can_share_prefix,
    encode,
    no_history_prompt,
)

BATCH = 32


@torch.inference_mode()
def token_effects(
    model: Path,
    backbone: Path,
    test: Path,
    items: Path,
    prompt: Prompt,
    output: Path,
    test_examples: int | None = None,
    max_tokens: int = 1024,
    precision: Precision = "fp32",
    device: Device = "auto",
) -> None:
    """Write log p(y_t | history, y_<t) and log p(y_t | no history, y_<t) of every target token.

    Args:
        model: fine-tuned model or adapter.
        backbone: what it was fine-tuned from.
        test: test examples.
        items: the catalogue.
        prompt: the data set's sentences.
        output: token effects.
        test_examples: size of the sub-sample of the test split; null takes all.
        max_tokens: longest prompt plus answer.
        precision: of the model, on a GPU.
        device: where to run.
    """
    place = torch_device(device)
    tokenizer = load_tokenizer(model)
    titles = read_titles(items)
    examples = subsample(read_examples(test, len(titles)), test_examples, EVALUATION_SEED)
    encoded, _ = encode(examples, titles, tokenizer, prompt, max_tokens)
    loaded = load_finetuned(model, backbone, place, precision)
    share = can_share_prefix(loaded)
    no_history = no_history_prompt(tokenizer, prompt)
    found: dict[str, list[np.ndarray]] = {"with_history": [], "without_history": []}
    for start in progress(range(0, len(encoded), BATCH), "batches"):
        batch = encoded[start : start + BATCH]
        answers = [example.answer for example in batch]
        targets = torch.tensor([t for answer in answers for t in answer], device=place)
        inputs = branches(
            [example.prompt for example in batch],
            answers,
            no_history,
            tokenizer.pad_token_id,
            share,
        )
        logits = answer_logits(loaded, send_to_device(inputs, place))
        for arrays, scores in zip(found.values(), logits, strict=True):
            log_probability = scores.float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
            arrays.append(log_probability.cpu().numpy())
    lengths = np.array([len(example.answer) for example in encoded])
    table = pd.DataFrame(
        {
            "example_id": np.repeat(examples["example_id"].to_numpy(), lengths),
            "user": np.repeat(examples["user"].to_numpy(), lengths),
            "position": np.concatenate([np.arange(1, n + 1) for n in lengths]),
            "tokens": np.repeat(lengths, lengths),
            **{name: np.concatenate(arrays) for name, arrays in found.items()},
        }
    )
    write_table(table, output, TOKEN_EFFECTS)


if __name__ == "__main__":
    run(token_effects)
