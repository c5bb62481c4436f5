"""A fine-tuned model as a recommender: where it lies, and loaded with the titles it ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from scripts.backbones.load import (
    Precision,
    check_vocabulary,
    context_of,
    load_finetuned,
    load_tokenizer,
)
from scripts.command import InputError, Settings
from scripts.contracts import CATALOGUE
from scripts.data.settings import Prompt
from scripts.device import Device, torch_device
from scripts.files import read_json, read_table
from scripts.finetune.shortcuts import Shortcuts, find_shortcuts
from scripts.prompts import answer_ids, fitted_prompt_ids


class Finetuned(Settings):
    """A fine-tuned model, what it recommends from, and how it is run."""

    model: Path
    """Folder of the model or adapter, as the fine-tuning wrote it."""
    backbone: Path
    """Folder of the backbone that it was fine-tuned from."""
    catalogue: Path
    """The data set's catalogue."""
    prompt: Prompt
    """The data set's sentences."""
    max_tokens: int = 1024
    """Longest prompt, with room for the longest title."""
    precision: Precision = "fp32"
    """Of the model, on a GPU."""
    device: Device = "auto"
    """Where to run."""


class Titles(NamedTuple):
    """The T titles of a catalogue that differ in their tokens, in the order of their items.

    An item stands for each: the one with the most training targets, ties by the lower `item_id`.
    Titles that are not equal can have equal tokens, as some tokenizers normalise the text.
    """

    text: list[str]
    tokens: list[tuple[int, ...]]
    """As answers, end-of-sequence included."""
    item: np.ndarray
    """(T,) int32, the `item_id` that stands for each title."""
    of_item: np.ndarray
    """(items,) int64, the title of every item."""


class Recommender(NamedTuple):
    """A fine-tuned model, loaded."""

    model: Any
    """In inference mode, on `device`."""
    tokenizer: Any
    device: torch.device
    prompt: Prompt
    catalogue: pd.DataFrame
    """CATALOGUE rows."""
    titles: Titles
    max_tokens: int
    """Longest prompt with an answer: that of the settings, or what the model sees at most."""
    shortcuts: Shortcuts
    """Passes that may share work: as the fine-tuning found them, else as they are found now."""


class Query(NamedTuple):
    """What the models are asked for an example."""

    prompt: tuple[int, ...]
    """Its tokens."""
    history: tuple[int, ...]
    """The items of its history, which an assistant sees; the prompt may have lost the oldest."""


class Ranking(NamedTuple):
    """What a decoder answers a query with."""

    titles: np.ndarray
    """int64, indices of titles, best first."""
    scores: np.ndarray
    """float32, their scores."""
    proven: int = 0
    """So many from the top are known to be the best of the whole catalogue: no title that a search
    left out can score as high."""

    def cut(self, length: int) -> Ranking:
        """The first `length` titles."""
        return Ranking(self.titles[:length], self.scores[:length], min(self.proven, length))


def load(finetuned: Finetuned) -> Recommender:
    """Load a model with its catalogue.

    Raises:
        InputError: a file or folder cannot be used, or the tokenizer has no end-of-sequence token.
    """
    device = torch_device(finetuned.device)
    tokenizer = load_tokenizer(finetuned.model)
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{finetuned.model}: the tokenizer has no eos token, which ends every title; set "
            "eos_token in its tokenizer_config.json, or choose another backbone"
        )
    catalogue = read_table(finetuned.catalogue, CATALOGUE)
    model = load_finetuned(finetuned.model, finetuned.backbone, device, finetuned.precision)
    check_vocabulary(finetuned.model, tokenizer, model)
    record = finetuned.model / "run.json"
    found = read_json(record).get("shortcuts") if record.is_file() else None
    titles, longest = catalogue["title"].tolist(), finetuned.max_tokens
    return Recommender(
        model=model,
        tokenizer=tokenizer,
        device=device,
        prompt=finetuned.prompt,
        catalogue=catalogue,
        titles=distinct_titles(catalogue, tokenizer),
        max_tokens=min(longest, context_of(model)),
        shortcuts=Shortcuts(**found)
        if found
        else find_shortcuts(model, tokenizer, finetuned.prompt, titles, longest),
    )


def distinct_titles(catalogue: pd.DataFrame, tokenizer: Any) -> Titles:
    """The titles of a catalogue, CATALOGUE rows."""
    order = catalogue.sort_values(["train_count", "item_id"], ascending=[False, True])
    tokens = order["title"].map(lambda title: tuple(answer_ids(tokenizer, title)))
    kept = order.assign(tokens=tokens)[~tokens.duplicated()].sort_values("item_id")
    number = {title: i for i, title in enumerate(kept["tokens"])}
    of_item = np.array([number[title] for title in tokens.reindex(catalogue.index)])
    return Titles(
        kept["title"].tolist(), kept["tokens"].tolist(), kept["item_id"].to_numpy(), of_item
    )


def queries_of(examples: pd.DataFrame, recommender: Recommender) -> tuple[list[Query], int]:
    """The query of each example, and how many prompts lost titles to leave room for an answer."""
    titles = recommender.catalogue["title"].tolist()
    limit = recommender.max_tokens - max(map(len, recommender.titles.tokens))
    queries, shortened = [], 0
    for items in examples["history"]:
        ids, dropped = fitted_prompt_ids(
            recommender.tokenizer, recommender.prompt, [titles[item] for item in items], limit
        )
        queries.append(Query(tuple(ids), tuple(items.tolist())))
        shortened += dropped > 0
    return queries, shortened
