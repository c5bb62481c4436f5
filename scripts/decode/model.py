"""A fine-tuned model as a recommender: where it lies, and loaded with the titles it ranks."""

from __future__ import annotations

import logging
from difflib import get_close_matches
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
from scripts.baselines.lists import standing_items
from scripts.command import InputError, Settings
from scripts.contracts import CATALOGUE
from scripts.data.settings import Prompt
from scripts.device import Device, torch_device
from scripts.files import read_json, read_table, sha256
from scripts.finetune.shortcuts import Shortcuts, find_shortcuts
from scripts.prompts import answers_of, fitted_prompts, prompt_limit, sharing

logger = logging.getLogger(__name__)


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
    """Longest prompt, see `prompt_limit`."""
    precision: Precision = "fp32"
    """Of the model, on a GPU."""
    device: Device = "auto"
    """Where to run."""


class Titles(NamedTuple):
    """The T titles of a catalogue that differ as text, in the order of their items.

    An item stands for each: the one with the most training targets, ties by the lower `item_id`.
    Titles that differ can have equal tokens, as some tokenizers normalise the text: the S sequences
    of tokens are in the order of their first titles.
    """

    text: list[str]
    item: np.ndarray
    """(T,) int32, the `item_id` that stands for each title."""
    of_item: np.ndarray
    """(items,) int64, the title of every item."""
    tokens: list[tuple[int, ...]]
    """The S sequences, as answers, end-of-sequence included."""
    sequence: np.ndarray
    """(T,) int64, the sequence of every title."""


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
    limit: int
    """Longest prompt, see `prompt_limit`."""
    room: int
    """What a prompt of that length leaves of the model's context."""
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


def finetuned_of(model: Path, device: Device = "auto") -> Finetuned:
    """A model or adapter of a study, by the record of its training.

    Raises:
        InputError: as `catalogue_of` and `backbone_of`.
    """
    catalogue, facts = catalogue_of(model), read_json(model / "run.json")
    settings = facts["settings"]
    adapter = (model / "adapter_config.json").is_file()
    return Finetuned(
        model=model,
        backbone=backbone_of(model, facts["backbone"]) if adapter else model,
        catalogue=catalogue,
        prompt=settings["prompt"],
        max_tokens=settings["training"]["max_tokens"],
        precision=settings["training"]["precision"],
        device=device,
    )


def catalogue_of(model: Path) -> Path:
    """The catalogue of a model or trained baseline of a study.

    Raises:
        InputError: there is no such model, or it lies in no study.
    """
    file = model if model.suffix == ".safetensors" else model / "run.json"
    for dataset in model.absolute().parents[2:3]:
        catalogue = dataset.parent.parent / "data" / dataset.name / "catalogue.parquet"
        if file.is_file() and catalogue.is_file():
            return catalogue
    there = [path.as_posix() for path in Path("results").glob("*/models/*/*/*/seed-*")]
    near = ", ".join(get_close_matches(model.as_posix(), there, cutoff=0)) or "none"
    raise InputError(
        f"{model}: is neither the folder of a fine-tuned model, with its run.json, nor the "
        ".safetensors of a baseline in results/<study>/models/<dataset>/, with the catalogue in "
        f"results/<study>/data/<dataset>/; nearest in results/: {near}"
    )


def backbone_of(model: Path, origin: dict[str, Any]) -> Path:
    """Folder of the backbone of an adapter in this folder, known by its weights, where studies keep
    them; `origin` is what the adapter's record says of it, see `origin_of` of the training.

    Raises:
        InputError: it is not there.
    """
    study, name = model.absolute().parents[4], origin["name"]
    common = study.parent.parent / "resources" / "backbones" / name
    for place in (common, *study.glob(f"backbones/*/{name}")):
        if {file.name: sha256(file) for file in place.glob("*.safetensors")} == origin["sha256"]:
            return place
    raise InputError(
        f"{model}: the backbone {name}, with the weights that this adapter was trained from, is "
        f"not in {study / 'backbones'} and not at {common}; put it there, or a link to it"
    )


def load(finetuned: Finetuned) -> Recommender:
    """Load a model with its catalogue.

    Raises:
        InputError: a file or folder cannot be used, or a title is too long for the model.
    """
    device = torch_device(finetuned.device)
    tokenizer = load_tokenizer(finetuned.model)
    catalogue = read_table(finetuned.catalogue, CATALOGUE)
    titles = distinct_titles(catalogue, tokenizer)
    if shared := sharing(titles.sequence.tolist()):
        logger.warning(
            "%d titles have the same tokens as another: the model ranks both as one", shared
        )
    model = load_finetuned(finetuned.model, finetuned.backbone, device, finetuned.precision)
    check_vocabulary(finetuned.model, tokenizer, model)
    context = context_of(model)
    text = catalogue["title"].tolist()
    answers = [titles.tokens[i] for i in titles.sequence[titles.of_item]]
    limit = prompt_limit(tokenizer, finetuned.prompt, text, answers, finetuned.max_tokens, context)
    found = read_json(finetuned.model / "run.json", needed=False).get("shortcuts")
    return Recommender(
        model=model,
        tokenizer=tokenizer,
        device=device,
        prompt=finetuned.prompt,
        catalogue=catalogue,
        titles=titles,
        limit=limit,
        room=context - limit,
        shortcuts=Shortcuts(**found)
        if found
        else find_shortcuts(model, tokenizer, finetuned.prompt, text, limit),
    )


def distinct_titles(catalogue: pd.DataFrame, tokenizer: Any) -> Titles:
    """The titles of a catalogue, CATALOGUE rows."""
    item = np.unique(standing_items(catalogue)).astype(np.int32)
    text = catalogue["title"].iloc[item].tolist()
    tokens = [tuple(answer) for answer in answers_of(tokenizer, text)]
    distinct = list(dict.fromkeys(tokens))
    return Titles(
        text,
        item,
        pd.Index(text).get_indexer(catalogue["title"]),
        distinct,
        pd.Index(distinct, tupleize_cols=False).get_indexer(tokens),
    )


def by_title(rankings: list[Ranking], titles: Titles) -> list[Ranking]:
    """Rankings of sequences as rankings of titles: those of one sequence one after the other.

    What is proven of a sequence is proven of its titles, which all have its score.
    """
    order, counts = np.argsort(titles.sequence, kind="stable"), np.bincount(titles.sequence)
    first = counts.cumsum() - counts
    found = []
    for sequences, scores, proven in rankings:
        each = counts[sequences]
        place = np.arange(each.sum()) - np.repeat(each.cumsum() - each, each)
        indices = order[np.repeat(first[sequences], each) + place]
        found.append(Ranking(indices, np.repeat(scores, each), int(each[:proven].sum())))
    return found


def queries_of(examples: pd.DataFrame, recommender: Recommender) -> tuple[list[Query], int]:
    """The query of each example, and how many prompts lost titles to fit."""
    text = recommender.catalogue["title"].tolist()
    histories = [[text[item] for item in items] for items in examples["history"]]
    prompts, shortened = fitted_prompts(
        recommender.tokenizer, recommender.prompt, histories, recommender.limit
    )
    items = (tuple(items.tolist()) for items in examples["history"])
    return [*map(Query, map(tuple, prompts), items)], shortened
