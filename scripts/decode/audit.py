"""What beam search misses: lists of several widths against the exact ranking of the catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.backbones.load import Precision, context_of, load_finetuned, load_tokenizer
from scripts.command import progress, run
from scripts.contracts import ITEMS
from scripts.data.settings import Prompt
from scripts.decode.exact import score_catalogue
from scripts.decode.recommend import (
    PROVEN_TOP,
    check_eos,
    distinct_titles,
    padded,
    questions,
    rank_constrained,
    titles_of_items,
)
from scripts.decode.settings import Constrained
from scripts.decode.trie import build_trie
from scripts.device import Device, torch_device
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.files import read_table, write_csv
from scripts.prompts import answer_ids

#: Prompts whose catalogues are scored together.
BATCH = 4


def audit(
    model: Path,
    backbone: Path,
    test: Path,
    items: Path,
    prompt: Prompt,
    beams: list[int],
    examples: int,
    output: Path,
    max_tokens: int = 1024,
    precision: Precision = "fp32",
    device: Device = "auto",
) -> None:
    """Search a sample of the test examples with every width, and rank the whole catalogue for it.

    With history and without length penalty.

    Args:
        model: fine-tuned model or adapter.
        backbone: what it was fine-tuned from.
        test: test examples.
        items: the catalogue.
        prompt: the data set's sentences.
        beams: widths of the searches.
        examples: size of the sample, the beginning of every sub-sample of the test split.
        output: CSV to write, a row per example and width, and one without width for the exact
            ranking: example_id, user, beams, rank (of the target, empty beyond the list), overlap
            (share of the exact top 10 in the list's top 10), proven (whether the search knows its
            top 10 to be exact).
        max_tokens: longest prompt, with room for the decoder's own tokens.
        precision: of the model, on a GPU.
        device: where to run.
    """
    place = torch_device(device)
    tokenizer = load_tokenizer(model)
    check_eos(tokenizer, model)
    catalogue = read_table(items, ITEMS)
    sample = subsample(read_examples(test, len(catalogue)), examples, EVALUATION_SEED)
    names = distinct_titles(catalogue, tokenizer)["title"].tolist()
    targets = titles_of_items(catalogue, names, tokenizer)[sample["target"]]
    loaded = load_finetuned(model, backbone, place, precision)
    limit = min(max_tokens, context_of(loaded))
    asked, _ = questions(sample, catalogue["title"].tolist(), tokenizer, prompt, limit)
    trie = build_trie([answer_ids(tokenizer, name) for name in names])
    top = min(PROVEN_TOP, len(names))

    exact = []
    for start in progress(range(0, len(asked), BATCH), "catalogues"):
        batch = [one.prompt for one in asked[start : start + BATCH]]
        scores = score_catalogue(loaded, trie, *padded(batch, tokenizer.pad_token_id, place))
        exact += [np.argsort(-row, kind="stable") for row in scores.cpu().numpy()]
    lists: dict[int | None, list[tuple[np.ndarray, bool]]] = {None: [(one, True) for one in exact]}
    for width in beams:
        decoder = Constrained(kind="constrained", beams=width)
        found = rank_constrained(loaded, tokenizer, trie, asked, decoder, place)
        lists[width] = [(one.sequences, one.proven >= top) for one in found]
    rows = [
        {
            "example_id": example,
            "user": user,
            "beams": width,
            "rank": next(iter(np.flatnonzero(found == target) + 1), None),
            "overlap": len(np.intersect1d(found[:top], best[:top])) / top,
            "proven": proven,
        }
        for width, ranked in lists.items()
        for example, user, target, best, (found, proven) in zip(
            sample["example_id"], sample["user"], targets, exact, ranked, strict=True
        )
    ]
    frame = pd.DataFrame(rows).astype({"beams": "Int64", "rank": "Int64"})
    write_csv(frame, output)


if __name__ == "__main__":
    run(audit)
