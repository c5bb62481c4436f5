"""Recommend with a fine-tuned model: one cell of objective x decoder x history."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scripts.backbones.load import Precision, context_of, load_finetuned, load_tokenizer
from scripts.command import InputError, progress, run
from scripts.contracts import ITEMS, RECOMMENDATIONS
from scripts.data.settings import Prompt
from scripts.decode import grounded
from scripts.decode.assist import title_probabilities
from scripts.decode.constrained import (
    NOTHING_FOUND,
    Found,
    Guide,
    guide_by,
    search,
    to_device,
)
from scripts.decode.grounded import Ranking
from scripts.decode.histories import shown, unchanged
from scripts.decode.settings import (
    Assisted,
    Constrained,
    Decoder,
    Grounded,
    GroundedMerged,
    History,
)
from scripts.decode.trie import Trie, build_trie
from scripts.device import Device, torch_device
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.files import read_json, read_table, write_json, write_table
from scripts.prompts import answer_ids, fitted_prompt_ids
from scripts.provenance import peak_memory_mb, provenance


class Question(NamedTuple):
    """What is asked of the models for an example."""

    prompt: tuple[int, ...]
    """Its tokens."""
    history: tuple[int, ...]
    """The items of the history that the prompt shows, which an assistant sees as well."""


#: The top of a list that a search tries to prove exact: the largest K of the figures.
PROVEN_TOP = 10


def recommend(
    model: Path,
    backbone: Path,
    test: Path,
    items: Path,
    prompt: Prompt,
    decoder: Decoder,
    history: History,
    output: Path,
    record: Path,
    assistant: Path | None = None,
    tuning: Path | None = None,
    test_examples: int | None = None,
    max_tokens: int = 1024,
    precision: Precision = "fp32",
    device: Device = "auto",
) -> None:
    """Write the ranked lists of a model for the test examples.

    Args:
        model: fine-tuned model or adapter.
        backbone: what it was fine-tuned from.
        test: test examples.
        items: the catalogue.
        prompt: the data set's sentences.
        decoder: how the model becomes a ranking.
        history: what the prompt holds, see `histories.shown`; the same for every model.
        output: recommendations.
        record: JSON record of the run.
        assistant: model of the baseline that assists an assisted decoder.
        tuning: choice of the weight of an assisted decoder with several, see `tune_assistant`.
        test_examples: size of the sub-sample of the test split; null takes all.
        max_tokens: longest prompt, with room for the decoder's own tokens.
        precision: of the model, on a GPU.
        device: where to run.
    """
    place = torch_device(device)
    tokenizer = load_tokenizer(model)
    check_eos(tokenizer, model)
    catalogue = read_table(items, ITEMS)
    own = subsample(read_examples(test, len(catalogue)), test_examples, EVALUATION_SEED)
    examples = shown(own, history, EVALUATION_SEED)
    titles = distinct_titles(catalogue, tokenizer)
    loaded = load_finetuned(model, backbone, place, precision)
    names = titles["title"].tolist()
    # `questions` leaves room for a title; a free text may be longer than any.
    limit = min(max_tokens, context_of(loaded))
    if isinstance(decoder, Grounded | GroundedMerged):
        limit = min(limit, context_of(loaded) - decoder.max_new_tokens)
    asked, shortened = questions(examples, catalogue["title"].tolist(), tokenizer, prompt, limit)
    started = time.perf_counter()
    # Without history all examples share one prompt: it is decoded once.
    distinct = sorted(set(asked), key=lambda one: (len(one.prompt), one))
    notes: dict[str, Any] = {}
    if isinstance(decoder, Constrained):
        trie = build_trie([answer_ids(tokenizer, title) for title in names])
        rank = partial(rank_constrained, loaded, tokenizer, trie, decoder=decoder, device=place)
        if isinstance(decoder, Assisted):
            notes = weight_of(decoder, tuning)
            title_of_item = titles_of_items(catalogue, names, tokenizer)
            guide = guides(given(assistant, "assistant"), catalogue, title_of_item, trie, place)
            rank = partial(rank, guide=partial(guide, notes["g"]))
        found = dict(zip(distinct, rank(distinct), strict=True))
        notes |= exactness_of([found[one] for one in asked], decoder, len(names))
        lists = [(found[one].sequences, found[one].scores) for one in asked]
    else:
        prompts = [one.prompt for one in distinct]
        grounded_lists = rank_grounded(loaded, tokenizer, prompts, names, decoder, place)
        by_question = dict(zip(distinct, grounded_lists, strict=True))
        lists = [by_question[one] for one in asked]
    seconds = time.perf_counter() - started
    write_table(as_table(examples["example_id"], lists, titles["item_id"]), output, RECOMMENDATIONS)
    write_json(
        {
            "examples": len(examples),
            "prompts": len(distinct),
            "seconds": seconds,
            "truncated_prompts": shortened,
            "unchanged_histories": unchanged(own, examples),
            "peak_memory_mb": peak_memory_mb(place),
            "decoder": decoder.model_dump(),
            **notes,
            **provenance(place),
        },
        record,
    )


def check_eos(tokenizer: Any, model: Path) -> None:
    """Check that titles can end.

    Raises:
        InputError: the tokenizer has no end-of-sequence token.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{model}: the tokenizer has no eos token, which ends every title; set eos_token in "
            "its tokenizer_config.json, or choose another backbone"
        )


def distinct_titles(items: pd.DataFrame, tokenizer: Any) -> pd.DataFrame:
    """One row per title that differs in its tokens, with the item that stands for it.

    That is the item with the most training targets, ties by the lower `item_id`. Titles that are
    not equal can have equal tokens, as some tokenizers normalise the text.

    Returns:
        Columns title and item_id, in the order of `item_id`.
    """
    order = items.sort_values(["train_count", "item_id"], ascending=[False, True])
    tokens = order["title"].map(lambda title: tuple(answer_ids(tokenizer, title)))
    return order.loc[~tokens.duplicated(), ["title", "item_id"]].sort_values("item_id")


def titles_of_items(items: pd.DataFrame, titles: list[str], tokenizer: Any) -> np.ndarray:
    """Index into the distinct titles of every item, int64, in the order of `item_id`."""
    index = {tuple(answer_ids(tokenizer, title)): i for i, title in enumerate(titles)}
    return np.array([index[tuple(answer_ids(tokenizer, title))] for title in items["title"]])


def questions(
    examples: pd.DataFrame, titles: list[str], tokenizer: Any, prompt: Prompt, max_tokens: int
) -> tuple[list[Question], int]:
    """What is asked for each example, and how many prompts lost titles to fit `max_tokens`."""
    longest = max(len(answer_ids(tokenizer, title)) for title in titles)
    asked, shortened = [], 0
    for items in examples["history"]:
        history = [titles[item] for item in items]
        ids, dropped = fitted_prompt_ids(tokenizer, prompt, history, max_tokens - longest)
        asked.append(Question(tuple(ids), tuple(items.tolist())))
        shortened += dropped > 0
    return asked, shortened


def padded(prompts: list[tuple[int, ...]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and their attention mask: (B, L) int64 each."""
    length = max(map(len, prompts))
    rows = [[pad] * (length - len(ids)) + list(ids) for ids in prompts]
    masks = [[0] * (length - len(ids)) + [1] * len(ids) for ids in prompts]
    return torch.tensor(rows, device=device), torch.tensor(masks, device=device)


def rank_constrained(
    model: Any,
    tokenizer: Any,
    trie: Trie,
    asked: list[Question],
    decoder: Constrained,
    device: torch.device,
    guide: Callable[[list[Question]], Guide] | None = None,
) -> list[Found]:
    """Rank titles for each question by beam search over their trie, lists of `decoder.beams`.

    Where the settings widen, questions whose top is not proven are searched again with twice the
    beams, in batches of as many beams, until it is or the limit is reached.
    """
    on_device = to_device(trie, device)
    top = min(PROVEN_TOP, decoder.beams, len(trie.order))
    found: list[Found] = [NOTHING_FOUND] * len(asked)
    open_rows, beams = list(range(len(asked))), decoder.beams
    while open_rows:
        size = max(1, decoder.batch_size * decoder.beams // beams)
        for start in progress(range(0, len(open_rows), size), f"batches of {beams} beams"):
            rows = open_rows[start : start + size]
            batch = [asked[i] for i in rows]
            ids, mask = padded([one.prompt for one in batch], tokenizer.pad_token_id, device)
            lists = search(
                model,
                on_device,
                ids,
                mask,
                beams,
                decoder.length_penalty,
                guide and guide(batch),
            )
            for i, one in zip(rows, lists, strict=True):
                found[i] = one.cut(decoder.beams)
        limit = decoder.widen_to or 0
        if beams >= limit:
            break
        open_rows = [i for i in open_rows if found[i].proven < top]
        beams = min(2 * beams, limit)
    return found


def guides(
    assistant: Path,
    catalogue: pd.DataFrame,
    title_of_item: np.ndarray,
    trie: Trie,
    device: torch.device,
) -> Callable[[float, list[Question]], Guide]:
    """How an assistant guides a batch of questions with a weight of the language model.

    Args:
        assistant: model of the baseline that assists.
        catalogue: ITEMS rows.
        title_of_item: (items,) int64, see `titles_of_items`.
        trie: of the titles.
        device: where to run.
    """
    counts = catalogue["train_count"].to_numpy()
    probabilities = title_probabilities(assistant, counts, title_of_item, device)
    order = torch.from_numpy(trie.order).to(device).long()

    def guide(weight: float, batch: list[Question]) -> Guide:
        return guide_by(probabilities([one.history for one in batch]), order, weight)

    return guide


def weight_of(decoder: Assisted, tuning: Path | None) -> dict[str, Any]:
    """The weight `g` of an assisted decoder, and where it was chosen how, for the record.

    Raises:
        InputError: there are several, but no choice or one among others.
    """
    if len(decoder.g) == 1:
        return {"g": decoder.g[0]}
    chosen = read_json(given(tuning, "tuning"))
    if chosen["g"] not in decoder.g:
        raise InputError(
            f"{tuning}: g is {chosen['g']}, which is none of {decoder.g}; tune the decoder again"
        )
    return {name: chosen[name] for name in ("g", "validation_ndcg", "tune_examples")}


def given(path: Path | None, name: str) -> Path:
    """A file that the decoder needs.

    Raises:
        InputError: it is not given.
    """
    if path is None:
        raise InputError(f"{name}: an assisted decoder needs this file")
    return path


def exactness_of(found: list[Found], decoder: Constrained, titles: int) -> dict[str, Any]:
    """How far the examples' lists are proven exact, for the record.

    Returns:
        `proven_top`, the k that is asked for; `proven`, the share of the examples whose first k
        titles are the best of the whole catalogue in their order.
    """
    top = min(PROVEN_TOP, decoder.beams, titles)
    return {"proven_top": top, "proven": float(np.mean([one.proven >= top for one in found]))}


def rank_grounded(
    model: Any,
    tokenizer: Any,
    prompts: list[tuple[int, ...]],
    titles: list[str],
    decoder: Grounded | GroundedMerged,
    device: torch.device,
) -> list[Ranking]:
    """Rank titles for each prompt by their distance to what the model writes."""
    width = decoder.beams if isinstance(decoder, GroundedMerged) else 1
    texts: list[str] = []
    for start in progress(range(0, len(prompts), decoder.batch_size), "batches"):
        batch = prompts[start : start + decoder.batch_size]
        input_ids, mask = padded(batch, tokenizer.pad_token_id, device)
        texts += grounded.generate_texts(
            model, tokenizer, input_ids, mask, decoder.beams, width, decoder.max_new_tokens
        )
    lists = grounded.ground(model, tokenizer, texts, titles, decoder.depth, device)
    if isinstance(decoder, GroundedMerged):
        beams = [lists[start : start + width] for start in range(0, len(lists), width)]
        return [grounded.merged([indices for indices, _ in one]) for one in beams]
    return lists


def as_table(example_ids: pd.Series, lists: list[Ranking], item_ids: pd.Series) -> pd.DataFrame:
    """The lists as RECOMMENDATIONS rows."""
    lengths = [len(indices) for indices, _ in lists]
    return pd.DataFrame(
        {
            "example_id": np.repeat(example_ids.to_numpy(), lengths),
            "rank": np.concatenate([np.arange(1, n + 1) for n in lengths]),
            "item_id": item_ids.to_numpy()[np.concatenate([indices for indices, _ in lists])],
            "score": np.concatenate([scores for _, scores in lists]),
        }
    )


if __name__ == "__main__":
    run(recommend)
