"""The effect of the history on each target token: the paper's motive for the token weights (§7)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate.utils import send_to_device

from scripts.command import progress, run
from scripts.contracts import TOKEN_EFFECTS
from scripts.decode.model import Finetuned, load
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.files import write_table
from scripts.finetune.batches import answer_logits, branches, encode, no_history_prompt

BATCH = 32


@torch.inference_mode()
def token_effects(
    finetuned: Finetuned, test: Path, output: Path, test_examples: int | None = None
) -> None:
    """Write log p(y_t | history, y_<t), log p(y_t | no history, y_<t) and the causal loss with a
    minus, log softmax(z_t - z0_t) at y_t, of every target token.

    Args:
        finetuned: the model.
        test: test examples.
        output: token effects.
        test_examples: size of the sub-sample of the test split; null takes all.
    """
    recommender = load(finetuned)
    model, tokenizer, device = recommender.model, recommender.tokenizer, recommender.device
    titles, prompt = recommender.catalogue["title"].tolist(), finetuned.prompt
    examples = subsample(read_examples(test, len(titles)), test_examples, EVALUATION_SEED)
    encoded, _ = encode(examples, titles, tokenizer, prompt, recommender.limit)
    share = recommender.shortcuts.prefix
    no_history = no_history_prompt(tokenizer, prompt)
    effects: dict[str, list[np.ndarray]] = {
        name: [] for name in ("with_history", "without_history", "causal")
    }
    for start in progress(range(0, len(encoded), BATCH), "batches"):
        batch = encoded[start : start + BATCH]
        answers = [example.answer for example in batch]
        targets = torch.tensor([t for answer in answers for t in answer], device=device)
        prompts = [example.prompt for example in batch]
        inputs = branches(prompts, answers, no_history, tokenizer.pad_token_id, share)
        z, z0 = (scores.float() for scores in answer_logits(model, send_to_device(inputs, device)))
        for arrays, scores in zip(effects.values(), (z, z0, z - z0), strict=True):
            log_probability = scores.log_softmax(-1).gather(1, targets[:, None])[:, 0]
            arrays.append(log_probability.cpu().numpy())
    lengths = np.array([len(example.answer) for example in encoded])
    ids = pd.Series(np.concatenate([example.answer for example in encoded]))
    texts = {token: tokenizer.decode([token]).replace(" ", "␣") for token in ids.unique()}
    texts[tokenizer.eos_token_id] = "eos"
    table = pd.DataFrame(
        {
            "example_id": np.repeat(examples["example_id"].to_numpy(), lengths),
            "user": np.repeat(examples["user"].to_numpy(), lengths),
            "position": np.concatenate([np.arange(1, n + 1) for n in lengths]),
            "tokens": np.repeat(lengths, lengths),
            **{name: np.concatenate(arrays) for name, arrays in effects.items()},
            "token": ids.map(texts),
        }
    )
    write_table(table, output, TOKEN_EFFECTS)


if __name__ == "__main__":
    run(token_effects)
