"""Recommend with a fine-tuned model and a decoder, whatever histories the model is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scripts.backbones.generation import generate_texts
from scripts.backbones.passes import padded
from scripts.command import InputError, progress, run
from scripts.contracts import RECOMMENDATIONS
from scripts.decode import grounded
from scripts.decode.assist import title_probabilities
from scripts.decode.constrained import Guide, guide_by, search, to_device
from scripts.decode.histories import replace_histories, unchanged
from scripts.decode.model import Finetuned, Query, Ranking, Recommender, by_title, load, queries_of
from scripts.decode.settings import (
    Assisted,
    Constrained,
    Decoder,
    Grounded,
    GroundedMerged,
    History,
    OwnDecoder,
)
from scripts.decode.trie import Trie, build_trie
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.extensions import own
from scripts.files import read_json, write_json, write_table
from scripts.prompts import sharing
from scripts.provenance import forget_peak_memory, peak_memory_mb, provenance

#: The top of a list that a search tries to prove exact: the largest K of the figures.
PROVEN_TOP = 10


def recommend(
    finetuned: Finetuned,
    test: Path,
    decoder: Decoder,
    histories: list[History],
    output: Path,
    assistant: Path | None = None,
    tuning: Path | None = None,
    test_examples: int | None = None,
) -> None:
    """Write the ranked lists of a model for the test examples, for one kind of history each.

    Starting and loading the model take seconds, so that one run serves all.

    Args:
        finetuned: the model.
        test: test examples.
        decoder: how the model becomes a ranking.
        histories: what the prompts hold, see `replace_histories`; the same for every model.
        output: folder of `<history>.parquet`, recommendations, and `<history>.json`, the record.
        assistant: model of the baseline that assists an assisted decoder.
        tuning: choice of the weight of an assisted decoder with several, see `tune_assistant`.
        test_examples: size of the sub-sample of the test split; null takes all.
    """
    recommender = load(finetuned)
    examples = read_examples(test, len(recommender.catalogue))
    own = subsample(examples, test_examples, EVALUATION_SEED)
    loaded = peak_memory_mb(recommender.device)
    for history in histories:
        forget_peak_memory(recommender.device)
        examples = replace_histories(own, history, EVALUATION_SEED)
        lists, facts = rank(recommender, examples, decoder, assistant, tuning)
        facts["unchanged_histories"] = unchanged(own, examples)
        facts["peak_memory_mb"] = max(loaded, peak_memory_mb(recommender.device))
        write_table(lists, output / f"{history}.parquet", RECOMMENDATIONS)
        write_json(facts, output / f"{history}.json")


def rank(
    recommender: Recommender,
    examples: pd.DataFrame,
    decoder: Decoder,
    assistant: Path | None,
    tuning: Path | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """RECOMMENDATIONS of titles for examples, EXAMPLES rows with the histories that the model is
    shown, and the record of the run, without its memory."""
    titles = recommender.titles
    queries, shortened = queries_of(examples, recommender)
    started = time.perf_counter()
    # Without history all examples share one prompt: it is decoded once.
    distinct = sorted(set(queries), key=lambda query: (len(query.prompt), query))
    notes: dict[str, Any] = {}
    trie, guide = build_trie(titles.tokens), None
    if isinstance(decoder, Assisted):
        notes = weight_of(decoder, tuning)
        guide = partial(guides(recommender, trie, required(assistant, "assistant")), notes["g"])
    by_query = dict(
        zip(distinct, rankings(recommender, trie, distinct, decoder, guide), strict=True)
    )
    lists = [by_query[query] for query in queries]
    if isinstance(decoder, Constrained):
        # The k that is aimed at, and the examples whose first k titles are the best of the whole
        # catalogue in their order.
        top = proven_top(recommender, decoder)
        proven = float(np.mean([one.proven >= top for one in lists]))
        notes |= {"proven_top": top, "proven": proven}
    seconds = time.perf_counter() - started
    return as_table(examples["example_id"], lists, titles.item), {
        "examples": len(examples),
        "prompts": len(distinct),
        "seconds": seconds,
        "truncated_prompts": shortened,
        "titles_sharing_tokens": sharing(titles.sequence.tolist()),
        "shortcuts": recommender.shortcuts._asdict(),
        "decoder": decoder.model_dump(),
        **notes,
        **provenance(recommender.device),
    }


def rankings(
    recommender: Recommender,
    trie: Trie,
    queries: list[Query],
    decoder: Decoder,
    guide: Callable[[list[Query]], Guide] | None = None,
) -> list[Ranking]:
    """Rank titles for each query by whatever decoder; an assisted one needs its guide."""
    if isinstance(decoder, OwnDecoder):
        return own(decoder.module, "rank")(recommender, queries, decoder)
    if isinstance(decoder, Constrained):
        return rank_constrained(recommender, trie, queries, decoder, guide)
    return rank_grounded(recommender, queries, decoder)


def rank_constrained(
    recommender: Recommender,
    trie: Trie,
    queries: list[Query],
    decoder: Constrained,
    guide: Callable[[list[Query]], Guide] | None = None,
) -> list[Ranking]:
    """Rank titles for each query by beam search over their trie, lists of `decoder.beams`.

    Where the settings widen, queries whose top is not proven are searched again with twice the
    beams, in batches of as many beams, until it is or the limit is reached.
    """
    model, pad, device = recommender.model, recommender.tokenizer.pad_token_id, recommender.device
    on_device = to_device(trie, device)
    top = proven_top(recommender, decoder)
    ranked: dict[int, Ranking] = {}
    unproven, beams = list(range(len(queries))), decoder.beams
    while unproven:
        size = max(1, decoder.batch_size * decoder.beams // beams)
        for start in progress(range(0, len(unproven), size), f"batches of {beams} beams"):
            rows = unproven[start : start + size]
            batch = [queries[i] for i in rows]
            ids, mask = padded([query.prompt for query in batch], pad, device)
            rankings = search(
                model,
                on_device,
                ids,
                mask,
                beams,
                decoder.length_penalty,
                guide and guide(batch),
                recommender.shortcuts.tree,
            )
            rankings = by_title(rankings, recommender.titles)
            ranked |= zip(rows, (one.cut(decoder.beams) for one in rankings), strict=True)
        limit = decoder.widen_to or 0
        if beams >= limit:
            break
        unproven = [i for i in unproven if ranked[i].proven < top]
        beams = min(2 * beams, limit)
    return [ranked[i] for i in range(len(queries))]


def guides(
    recommender: Recommender, trie: Trie, assistant: Path
) -> Callable[[float, list[Query]], Guide]:
    """How a baseline's model guides a batch of queries with a weight of the language model."""
    device, titles = recommender.device, recommender.titles
    counts = recommender.catalogue["train_count"].to_numpy()
    sequence_of_item = titles.sequence[titles.of_item]
    probabilities = title_probabilities(assistant, counts, sequence_of_item, device)
    order = torch.from_numpy(trie.order).to(device).long()

    def guide(weight: float, batch: list[Query]) -> Guide:
        return guide_by(probabilities([query.history for query in batch]), order, weight)

    return guide


def weight_of(decoder: Assisted, tuning: Path | None) -> dict[str, Any]:
    """The weight `g` of an assisted decoder, and where it was chosen how, for the record.

    Raises:
        InputError: there are several, but no choice or one among others.
    """
    if len(decoder.g) == 1:
        return {"g": decoder.g[0]}
    choice = read_json(required(tuning, "tuning"))
    if choice["g"] not in decoder.g:
        raise InputError(
            f"{tuning}: g is {choice['g']}, which is none of {decoder.g}; tune the decoder again"
        )
    return {name: choice[name] for name in ("g", "validation_ndcg", "tune_examples")}


def required(path: Path | None, name: str) -> Path:
    """A file that the decoder needs.

    Raises:
        InputError: it is not given.
    """
    if path is None:
        raise InputError(f"{name}: an assisted decoder needs this file")
    return path


def proven_top(recommender: Recommender, decoder: Constrained) -> int:
    """The length of a list's top that a search tries to prove exact."""
    return min(PROVEN_TOP, decoder.beams, len(recommender.titles.text))


def rank_grounded(
    recommender: Recommender, queries: list[Query], decoder: Grounded | GroundedMerged
) -> list[Ranking]:
    """Rank titles for each query by their distance to what the model writes."""
    model, tokenizer, device = recommender.model, recommender.tokenizer, recommender.device
    width = decoder.beams if isinstance(decoder, GroundedMerged) else 1
    # No more than the longest prompt leaves of the context.
    new_tokens = min(decoder.max_new_tokens, recommender.room)
    settings = decoder.model_copy(update={"max_new_tokens": new_tokens})
    texts: list[str] = []
    for start in progress(range(0, len(queries), decoder.batch_size), "batches"):
        batch = queries[start : start + decoder.batch_size]
        ids, mask = padded([query.prompt for query in batch], tokenizer.pad_token_id, device)
        texts += generate_texts(
            model, tokenizer, ids, mask, settings, width, recommender.shortcuts.beams
        )
    titles = recommender.titles.text
    lists = grounded.ground(model, tokenizer, texts, titles, decoder.depth, device)
    if isinstance(decoder, GroundedMerged):
        beams = [lists[start : start + width] for start in range(0, len(lists), width)]
        return [grounded.merged([one.titles for one in lists_of_one]) for lists_of_one in beams]
    return lists


def as_table(example_ids: pd.Series, lists: list[Ranking], item: np.ndarray) -> pd.DataFrame:
    """The lists as RECOMMENDATIONS rows; `item` (T,) is what stands for each title."""
    lengths = [len(one.titles) for one in lists]
    return pd.DataFrame(
        {
            "example_id": np.repeat(example_ids.to_numpy(), lengths),
            "rank": np.concatenate([np.arange(1, n + 1) for n in lengths]),
            "item_id": item[np.concatenate([one.titles for one in lists])],
            "score": np.concatenate([one.scores for one in lists]),
        }
    )


if __name__ == "__main__":
    run(recommend)
