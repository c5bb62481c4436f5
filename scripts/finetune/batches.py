"""From examples to batches whose answers line up, so that logits are taken only where supervised.

Prompts are padded on their left and answers on their right: the answers of a batch begin at the
same position, and the last A positions of a forward pass predict the A answer tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import pandas as pd
import torch
from torch import Tensor

from scripts.data.settings import Prompt
from scripts.prompts import answer_ids, fitted_prompt_ids, prompt_ids, prompt_text

logger = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """Token ids of one example."""

    example_id: int
    prompt: list[int]
    answer: list[int]


class Branch(TypedDict):
    """Inputs of one forward pass, (B, L) int64 each; the last A positions predict the answers."""

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor


def encode(
    examples: pd.DataFrame, titles: list[str], tokenizer: Any, prompt: Prompt, max_tokens: int
) -> tuple[list[Encoded], int]:
    """Tokenise examples with their history.

    Returns:
        The encoded examples, and how many of them lost history titles to fit `max_tokens`.
    """
    encoded, shortened = [], 0
    for example in examples.itertuples(index=False):
        answer = answer_ids(tokenizer, titles[example.target])
        history = [titles[item] for item in example.history]
        ids, dropped = fitted_prompt_ids(tokenizer, prompt, history, max_tokens - len(answer))
        shortened += dropped > 0
        encoded.append(Encoded(int(example.example_id), ids, answer))
    if shortened:
        logger.warning("%d of %d prompts lost their oldest titles", shortened, len(encoded))
    return encoded, shortened


def no_history_prompt(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Tokens of the counterfactual prompt, the same for every example."""
    return prompt_ids(tokenizer, prompt_text(prompt, []))


def branch(prompts: Sequence[list[int]], answers: Sequence[list[int]], pad: int) -> Branch:
    """Pad prompts on the left, answers on the right; the last answer token is only predicted."""
    left = max(map(len, prompts))
    right = max(map(len, answers))
    rows, masks = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        fed = answer[:-1]
        before, after = left - len(prompt), right - 1 - len(fed)
        rows.append([pad] * before + prompt + fed + [pad] * after)
        masks.append([0] * before + [1] * (len(prompt) + len(fed)) + [0] * after)
    mask = torch.tensor(masks)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return Branch(input_ids=torch.tensor(rows), attention_mask=mask, position_ids=positions)


def answer_logits(model: Any, inputs: Branch, lengths: Tensor) -> Tensor:
    """Logits of the supervised tokens, examples one after the other.

    Args:
        model: a causal language model.
        inputs: one branch of the batch, on the model's device.
        lengths: (B,) int64, supervised tokens of each example.

    Returns:
        (N, V), N = lengths.sum().
    """
    answer_positions = int(lengths.max())
    logits = model(**inputs, logits_to_keep=answer_positions, use_cache=False).logits
    supervised = torch.arange(answer_positions, device=lengths.device) < lengths[:, None]
    return logits[supervised]
