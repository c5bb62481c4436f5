"""From examples to batches, and from batches to logits: only where supervised, nothing run twice.

The rows of a batch are padded on their right, behind every supervised token, where causal
attention never looks: no padding mask is needed. What the rows have in common is run once for the
batch, as the trunk of a prefix tree:

    common words of both prompts ─┬─ rest of the preamble ─┬─ history and answer of example 1
                                  │                        └─ history and answer of example 2 ...
                                  └─ rest of the prompt without history ─┬─ answer of example 1
                                                                         └─ answer of example 2 ...

The trunk is everything but the histories and the answers behind them. It is one packed row, whose
mask is the tree; the keys and values of its prefix then serve all rows, which may be run in parts.
Where a model does not allow this (`scripts.finetune.shortcuts`), or the training does not
(`may_share_prefix`), each branch is a forward pass of its own over whole prompts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import pandas as pd
import torch
from torch import Tensor
from transformers import DynamicCache

from scripts.backbones.passes import kept_logits
from scripts.data.settings import Prompt
from scripts.finetune.settings import Counterfactual
from scripts.prompts import answers_of, fitted_prompts, placeholder_text, prompt_ids, prompt_text

logger = logging.getLogger(__name__)

#: Ends of the names that configurations give to dropout, which may be no module of the model; and
#: what the names begin with that are of other heads than a language model's.
DROPOUTS = ("dropout", "pdrop", "layerdrop")
OTHER_HEADS = ("classifier", "summary")


class Encoded(NamedTuple):
    """Token ids of one example."""

    example_id: int
    prompt: list[int]
    answer: list[int]


class Rows(TypedDict):
    """One row per example, padded on the right; `supervised` marks what predicts an answer token.

    Both (B, L), int64 and bool; the supervised positions of row i are as many as its answer tokens.
    """

    input_ids: Tensor
    supervised: Tensor


class Trunk(TypedDict):
    """What is run once for all examples, as one packed row of T tokens.

    Its first `prefix` tokens are the prefix of all rows; the prompt without history and the answers
    behind it follow, if they are wanted. `input_ids` and `position_ids` are (1, T) int64; `mask`
    (1, 1, T, T) bool says which token sees which; `supervised` (N,) int64 are the columns that
    predict the answer tokens without history, none if they are not wanted.
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor
    supervised: Tensor
    prefix: int


class Part(TypedDict):
    """Examples that go through the model together: with their history and, where no trunk holds
    that branch but it is wanted, without it. `tokens` counts the answer tokens."""

    factual: Rows
    tokens: int
    counterfactual: NotRequired[Rows]


class Branches(TypedDict):
    """Examples in parts, with what all of them have in common in the trunk."""

    parts: list[Part]
    trunk: NotRequired[Trunk]


class Rewritable(DynamicCache):
    """A cache in which a layer that is run again, to recompute it, writes in its own place."""

    def __init__(self, config: Any) -> None:
        super().__init__(config=config)
        self.before: dict[int, dict[str, Any]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append to what was there before the layer's first run."""
        state = vars(self.layers[layer_idx])
        state.update(self.before.setdefault(layer_idx, dict(state)))
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)


class Shared(NamedTuple):
    """What a trunk hands to the rows.

    `states` are the keys and values of its prefix, alternating, of one layer after the other, each
    (1, heads, prefix, width), none if the prefix is empty; `logits` those without history, one
    (tokens, V) per part, none if they are not wanted.
    """

    states: list[Tensor]
    logits: list[Tensor]


def encode(
    examples: pd.DataFrame, titles: list[str], tokenizer: Any, prompt: Prompt, limit: int
) -> tuple[list[Encoded], int]:
    """Tokenise examples with their history.

    Args:
        examples: EXAMPLES rows.
        titles: of the catalogue, in the order of `item_id`.
        tokenizer: the backbone's.
        prompt: the data set's sentences.
        limit: longest prompt, see `prompt_limit`.

    Returns:
        The encoded examples, and how many of them lost history titles to fit.
    """
    histories = [[titles[item] for item in history] for history in examples["history"]]
    prompts, shortened = fitted_prompts(tokenizer, prompt, histories, limit)
    answers = answers_of(tokenizer, [titles[item] for item in examples["target"]])
    return [*map(Encoded, examples["example_id"].tolist(), prompts, answers)], shortened


def no_history_prompt(
    tokenizer: Any, prompt: Prompt, counterfactual: Counterfactual = "no-input"
) -> list[int]:
    """Tokens of the counterfactual prompt, the same for every example."""
    texts = {"no-input": prompt_text(prompt, []), "placeholder": placeholder_text(prompt)}
    return prompt_ids(tokenizer, texts[counterfactual])


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """Number of tokens that all prompts begin with, short of the whole of any prompt."""
    first, last = min(prompts), max(prompts)
    shortest = min(map(len, prompts)) - 1
    differing = (i for i in range(shortest) if first[i] != last[i])
    return next(differing, shortest)


def may_share_prefix(model: Any) -> bool:
    """Whether the examples of a training step may share passes, if the model allows it.

    Not with dropout, which must differ between examples.
    """
    dropout = any(
        name.endswith(DROPOUTS) and not name.startswith(OTHER_HEADS) and (value or 0) > 0
        for name, value in model.config.to_dict().items()
    ) or any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in model.modules())
    if dropout:
        logger.info("Every prompt is run whole in training, because of dropout")
    return not dropout


def branches(
    prompts: Sequence[list[int]],
    answers: Sequence[list[int]],
    no_history: list[int] | None,
    pad: int,
    share: bool,
    size: int | None = None,
) -> Branches:
    """The inputs of examples.

    Args:
        prompts: prompts with their history.
        answers: answers; their last token is only predicted.
        no_history: the prompt without history; None leaves that branch out.
        pad: token that fills the rows.
        share: run what the prompts have in common once, see `scripts.finetune.shortcuts`.
        size: examples of a part; None makes one part of all.
    """
    shared = common_prefix(prompts) if share and prompts else 0
    size = size or max(len(prompts), 1)
    batch = Branches(parts=[])
    for start in range(0, len(prompts), size):
        own_prompts, own_answers = prompts[start : start + size], answers[start : start + size]
        factual = rows([prompt[shared:] for prompt in own_prompts], own_answers, pad)
        part = Part(factual=factual, tokens=sum(map(len, own_answers)))
        if no_history is not None and not share:
            part["counterfactual"] = rows([no_history] * len(own_answers), own_answers, pad)
        batch["parts"].append(part)
    if share and (shared or no_history is not None) and prompts:
        batch["trunk"] = trunk(prompts[0][:shared], no_history, answers)
    return batch


def rows(prompts: Sequence[list[int]], answers: Sequence[list[int]], pad: int) -> Rows:
    """Prompts with their answers, padded to the longest."""
    inputs = [prompt + answer[:-1] for prompt, answer in zip(prompts, answers, strict=True)]
    ids = torch.full((len(inputs), max(map(len, inputs))), pad)
    supervised = torch.zeros_like(ids, dtype=torch.bool)
    for i, (tokens, answer) in enumerate(zip(inputs, answers, strict=True)):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        supervised[i, len(tokens) - len(answer) : len(tokens)] = True
    return Rows(input_ids=ids, supervised=supervised)


def trunk(prefix: list[int], no_history: list[int] | None, answers: Sequence[list[int]]) -> Trunk:
    """The prefix of all rows and, if wanted, the tree of the answers without history."""
    ids, positions, supervised = [*prefix], [*range(len(prefix))], []
    leaves = []
    root = stem = len(prefix)
    if no_history is not None:
        root = common_prefix([[*prefix, -1], no_history])
        ids += no_history[root:]
        positions += range(root, len(no_history))
        stem = len(ids)
        for answer in answers:
            start = len(ids)
            ids += answer[:-1]
            leaves.append(slice(start, len(ids)))
            positions += range(len(no_history), len(no_history) + len(answer) - 1)
            supervised += [stem - 1, *range(start, len(ids))]
    mask = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    mask[len(prefix) :, root : len(prefix)] = False
    mask[stem:, stem:] = False
    for leaf in leaves:
        mask[leaf, leaf] = torch.ones_like(mask[leaf, leaf]).tril()
    return Trunk(
        input_ids=torch.tensor([ids], dtype=torch.int64),
        position_ids=torch.tensor([positions], dtype=torch.int64),
        mask=mask[None, None],
        supervised=torch.tensor(supervised, dtype=torch.int64),
        prefix=len(prefix),
    )


def answer_logits(model: Any, batch: Branches) -> tuple[Tensor, Tensor | None]:
    """Logits of the supervised tokens, examples one after the other, N in all.

    Args:
        model: a causal language model.
        batch: on the model's device.

    Returns:
        (N, V) with the history, and (N, V) without it, or None where the batch leaves it out.
    """
    shared = trunk_outputs(model, batch)
    pairs = [part_logits(model, part, shared, i) for i, part in enumerate(batch["parts"])]
    with_history, without = zip(*pairs, strict=True)
    return torch.cat(with_history), None if without[0] is None else torch.cat(without)


def trunk_outputs(model: Any, batch: Branches) -> Shared:
    """What the trunk hands to the rows; nothing where there is no trunk."""
    if "trunk" not in batch:
        return Shared([], [])
    inputs = batch["trunk"]
    cache = Rewritable(model.config)
    logits = model(
        input_ids=inputs["input_ids"],
        position_ids=inputs["position_ids"],
        attention_mask=inputs["mask"],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=inputs["supervised"],
    ).logits[0]
    prefix = inputs["prefix"]
    states = [
        both[:, :, :prefix]
        for layer in cache.layers
        for both in (layer.keys, layer.values)  # noqa: PD011
        if prefix
    ]
    wanted = len(inputs["supervised"]) > 0
    return Shared(states, [*logits.split([p["tokens"] for p in batch["parts"]])] if wanted else [])


def part_logits(model: Any, part: Part, shared: Shared, index: int) -> tuple[Tensor, Tensor | None]:
    """Logits of a part, the `index`-th of its batch, as `answer_logits` gives them.

    Gradients flow into whatever is shared, too.
    """
    without_history = shared.logits[index] if shared.logits else None
    if "counterfactual" in part:
        without_history = row_logits(model, part["counterfactual"], [])
    return row_logits(model, part["factual"], shared.states), without_history


def row_logits(model: Any, inputs: Rows, states: list[Tensor]) -> Tensor:
    """(N, V) logits of the supervised positions of rows, behind a prefix with these states."""
    cache = None
    if states:
        size = len(inputs["input_ids"])
        cache = Rewritable(model.config)
        for layer, keys, values in zip(cache.layers, states[::2], states[1::2], strict=True):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = (x.expand(size, -1, -1, -1) for x in (keys, values))
    return kept_logits(
        model,
        inputs["supervised"],
        input_ids=inputs["input_ids"],
        use_cache=cache is not None,
        **({} if cache is None else {"past_key_values": cache}),
    )


def tokens_run(batch: Branches) -> int:
    """Tokens that the model runs over for a batch, padding included."""
    branch = ("factual", "counterfactual")
    rows_run = [part[name] for part in batch["parts"] for name in branch if name in part]
    packed = [batch["trunk"]] if "trunk" in batch else []
    return sum(inputs["input_ids"].numel() for inputs in [*rows_run, *packed])
