"""Choose the weight of an assisted decoder's language model, once for all histories."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from scripts.backbones.load import Precision, context_of, load_finetuned, load_tokenizer
from scripts.command import run
from scripts.contracts import ITEMS
from scripts.data.settings import Prompt
from scripts.decode.constrained import Found
from scripts.decode.recommend import (
    check_eos,
    distinct_titles,
    guides,
    questions,
    rank_constrained,
    titles_of_items,
)
from scripts.decode.settings import Assisted
from scripts.decode.trie import build_trie
from scripts.device import Device, torch_device
from scripts.evaluate.ranking import gains
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.files import read_table, write_json
from scripts.prompts import answer_ids
from scripts.provenance import provenance


def tune_assistant(
    model: Path,
    backbone: Path,
    valid: Path,
    items: Path,
    assistant: Path,
    prompt: Prompt,
    decoder: Assisted,
    output: Path,
    max_tokens: int = 1024,
    precision: Precision = "fp32",
    device: Device = "auto",
) -> None:
    """Decode a sample of the validation split, with its histories, with every weight.

    Args:
        model: fine-tuned model or adapter.
        backbone: what it was fine-tuned from.
        valid: validation examples.
        items: the catalogue.
        assistant: model of the baseline that assists.
        prompt: the data set's sentences.
        decoder: an assisted decoder, whose `g` are tried.
        output: JSON to write: g (the chosen one), validation_ndcg (NDCG@10 by g), tune_examples
            (how many), seconds, and where it ran.
        max_tokens: longest prompt, with room for a title.
        precision: of the model, on a GPU.
        device: where to run.
    """
    place = torch_device(device)
    tokenizer = load_tokenizer(model)
    check_eos(tokenizer, model)
    catalogue = read_table(items, ITEMS)
    examples = read_examples(valid, len(catalogue))
    examples = subsample(examples, decoder.tune_examples, EVALUATION_SEED)
    loaded = load_finetuned(model, backbone, place, precision)
    names = distinct_titles(catalogue, tokenizer)["title"].tolist()
    title_of_item = titles_of_items(catalogue, names, tokenizer)
    limit = min(max_tokens, context_of(loaded))
    asked, _ = questions(examples, catalogue["title"].tolist(), tokenizer, prompt, limit)
    trie = build_trie([answer_ids(tokenizer, name) for name in names])
    guide = guides(assistant, catalogue, title_of_item, trie, place)
    targets = title_of_item[examples["target"]]
    started = time.perf_counter()
    measured = {}
    for g in decoder.g:
        found = rank_constrained(loaded, tokenizer, trie, asked, decoder, place, partial(guide, g))
        measured[g] = ndcg(found, targets)
    write_json(
        {
            "g": best_weight(measured),
            "validation_ndcg": measured,
            "tune_examples": len(examples),
            "seconds": time.perf_counter() - started,
            **provenance(place),
        },
        output,
    )


def ndcg(found: list[Found], targets: np.ndarray) -> float:
    """Mean NDCG@10 of lists, given each example's target as an index of a title."""
    ranks = [
        np.append(np.flatnonzero(one.sequences == target) + 1.0, np.nan)[0]
        for one, target in zip(found, targets, strict=True)
    ]
    return float(gains(np.array(ranks), 10).mean())


def best_weight(measured: dict[float, float]) -> float:
    """The weight with the best measure, of equal ones the largest."""
    return max(measured, key=lambda weight: (measured[weight], weight))


if __name__ == "__main__":
    run(tune_assistant)
