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
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from scripts.data.settings import Prompt
from scripts.prompts import answer_ids, fitted_prompt_ids, prompt_ids, prompt_text

logger = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """Token ids of one example."""

    example_id: int
    prompt: list[int]
    answer: list[int]


class Branch(TypedDict):
    """Inputs of one branch of a batch, all int64.

    `prefix` (1, P) holds the tokens that all prompts begin with: they are run once per batch. The
    last A positions of `input_ids` (B, L) predict the answers; `attention_mask` is (B, P + L).
    """

    prefix: Tensor
    input_ids: Tensor
    attention_mask: Tensor


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


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """Number of tokens that all prompts begin with, short of the whole of any prompt."""
    first, last = min(prompts), max(prompts)
    shortest = min(map(len, prompts)) - 1
    differing = (i for i in range(shortest) if first[i] != last[i])
    return next(differing, shortest)


def can_share_prefix(model: Any, gradient_checkpointing: bool = False) -> bool:
    """Whether one pass over the prefix of a batch's prompts may serve the whole batch.

    Not with sliding windows or recurrent layers, to which the padding behind the prefix would
    count; not with dropout, which must differ between examples; and not with gradient
    checkpointing, under which transformers' layers ignore the cache.
    """
    hindrances = {
        "layers other than full attention": any(
            type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers
        ),
        "dropout": getattr(model.config, "attention_dropout", 0) > 0
        or any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in model.modules()),
        "gradient checkpointing": gradient_checkpointing,
    }
    found = [name for name, present in hindrances.items() if present]
    if found:
        logger.info("Every prompt is run whole, because of %s", " and ".join(found))
    return not found


def branch(
    prompts: Sequence[list[int]], answers: Sequence[list[int]], pad: int, share: bool
) -> Branch:
    """Pad prompts on the left, answers on the right; the last answer token is only predicted.

    `share` splits off the prefix, see `can_share_prefix`; without it the prefix is empty.
    """
    shared = common_prefix(prompts) if share else 0
    left = max(map(len, prompts)) - shared
    right = max(map(len, answers))
    rows, masks = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        shown = prompt[shared:] + answer[:-1]
        before = left + shared - len(prompt)
        after = right - len(answer)
        rows.append([pad] * before + shown + [pad] * after)
        masks.append([1] * shared + [0] * before + [1] * len(shown) + [0] * after)
    return Branch(
        prefix=torch.tensor([prompts[0][:shared]], dtype=torch.int64),
        input_ids=torch.tensor(rows),
        attention_mask=torch.tensor(masks),
    )


def answer_logits(model: Any, inputs: Branch, lengths: Tensor) -> Tensor:
    """Logits of the supervised tokens, examples one after the other.

    The shared prefix goes through the model once and its keys and values serve the whole batch, in
    the backward pass too.

    Args:
        model: a causal language model.
        inputs: one branch of the batch, on the model's device.
        lengths: (B,) int64, supervised tokens of each example.

    Returns:
        (N, V), N = lengths.sum().
    """
    prefix, mask = inputs["prefix"], inputs["attention_mask"]
    cache = None
    if prefix.shape[1]:
        cache = DynamicCache(config=model.config)
        model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(mask))
    answer_positions = int(lengths.max())
    logits = model(
        input_ids=inputs["input_ids"],
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, prefix.shape[1] :],
        past_key_values=cache,
        logits_to_keep=answer_positions,
        use_cache=cache is not None,
    ).logits
    supervised = torch.arange(answer_positions, device=lengths.device) < lengths[:, None]
    return logits[supervised]
