"""Recommend by hand: titles in, ranked titles out, from one model or several side by side.

    python -m scripts.recommend --model results/.../seed-0 --model ... "Title one" "Title two"

Without titles it asks for them: a demonstration to type at.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stderr
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.baselines.lists import titles_of, top
from scripts.baselines.sequential_model import load_model, scorer
from scripts.columns import TOP, fitted, list_lines, side_by_side
from scripts.command import InputError, told
from scripts.contracts import CATALOGUE
from scripts.data.rules import clean_title, one_line
from scripts.decode.model import catalogue_of, finetuned_of, load, queries_of
from scripts.decode.recommend import rank_constrained
from scripts.decode.settings import Constrained
from scripts.decode.trie import build_trie
from scripts.device import torch_device
from scripts.files import read_table
from scripts.prompts import quoted

#: Length of the lists, texts that are proposed, and the least width of a list beside another.
DEPTH, PROPOSED, NARROW = 50, 5, 40

Recommend = Callable[[Sequence[str]], list[tuple[str, float]]]
#: From items, int64, oldest first, to items and scores, best first.
Rank = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def recommender(model: str | Path) -> Recommend:
    """A function from titles, oldest first, to at most `DEPTH` with their scores, best first.

    It raises an InputError where it is given no title or an unknown one, and tells the nearest.
    Titles of the history stay in the list, as in the study.

    Args:
        model: in a study, folder of a fine-tuned model or adapter, which is decoded with
            `constrained` and `DEPTH` beams, or the `.safetensors` of a trained baseline.

    Raises:
        InputError: there is no such model, or something of it is missing.
    """
    model = Path(model)
    catalogue = catalogue_of(model)
    items = read_table(catalogue, CATALOGUE)
    text = items["title"].tolist()
    item_of = {text[item]: item for item in titles_of(items).items}
    baseline = model.suffix == ".safetensors"
    ranked = of_baseline(model, items) if baseline else of_language_model(model)

    def recommend(titles: Sequence[str]) -> list[tuple[str, float]]:
        check_titles(titles, item_of, catalogue)
        listed, scores = ranked(np.array([item_of[title] for title in titles]))
        return [(text[item], float(score)) for item, score in zip(listed, scores, strict=True)]

    return recommend


def of_baseline(model: Path, items: pd.DataFrame) -> Rank:
    """How a trained baseline ranks CATALOGUE rows."""
    device, titles = torch_device("auto"), titles_of(items)
    network = load_model(model, device)

    def ranked(history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = scorer(network, pd.Series([history]), device)(slice(None)).cpu().numpy()
        listed, best = top(scores, titles, DEPTH)
        return listed[0], best[0]

    return ranked


def of_language_model(model: Path) -> Rank:
    """How a fine-tuned model ranks its catalogue."""
    loaded = load(finetuned_of(model))
    # With few beams a search misses much of the top: one history costs little, so it takes many.
    settings = Constrained(kind="constrained", beams=DEPTH)
    trie = build_trie(loaded.titles.tokens)

    def ranked(history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        queries, _ = queries_of(pd.DataFrame({"history": [history]}), loaded)
        with redirect_stderr(StringIO()):  # It has a progress bar.
            (found,) = rank_constrained(loaded, trie, queries, settings)
        return loaded.titles.item[found.titles], found.scores

    return ranked


def check_titles(titles: Sequence[str], known: Collection[str], catalogue: Path) -> None:
    """Refuse a history that a catalogue does not hold.

    Raises:
        InputError: there is no title, or one is unknown; the nearest are told.
    """
    if not titles:
        raise InputError("There is no title; give those of a history, oldest first")
    faults = [
        f"{quoted(title)} is no title of {catalogue}; the nearest are: "
        + (", ".join(map(quoted, nearest(title, known))) or "none")
        for title in dict.fromkeys(titles)
        if title not in known
    ]
    if faults:
        raise InputError("\n".join(faults))


def nearest(text: str, known: Collection[str]) -> list[str]:
    """The known texts that hold a text, shortest first, then those that are spelt most alike."""
    folded, wanted = {one.casefold(): one for one in known}, text.casefold()
    near = sorted((one for one in folded if wanted in one), key=len)[:PROPOSED]
    near += get_close_matches(wanted, folded, PROPOSED)
    return [folded[one] for one in dict.fromkeys(near)][:PROPOSED]


def show(models: list[tuple[str, Recommend]], words: Sequence[str]) -> None:
    """Print what named models recommend after titles, quotes and blanks around them not counted;
    as many lists side by side as the terminal has room for.

    Raises:
        InputError: as a function of `recommender` does.
    """
    titles = [one_line(clean_title(word)) for word in words]
    lists = [list_lines(name, recommend(titles)[:TOP], titles) for name, recommend in models]
    width = shutil.get_terminal_size().columns
    print(fitted(f"After {', '.join(map(quoted, titles))}:", width))
    beside = max(1, width // NARROW)
    for start in range(0, len(lists), beside):
        print("\n".join(side_by_side(lists[start : start + beside], width)))
    print("(* is in the history)\n")


def ask(models: list[tuple[str, Recommend]]) -> None:
    """Show what models recommend after each title that is typed.

    Raises:
        EOFError: the input ends.
    """
    print("A title a line, oldest first. An empty line begins a new history, Ctrl-D ends.")
    history: list[str] = []
    while True:
        word = input("> ").strip()
        if not word:
            history = []
            continue
        try:
            show(models, [*history, word])
            history.append(word)
        except InputError as error:
            print(error)


def main(words: Sequence[str] | None = None) -> None:
    """The command line; that of this process by default."""
    parser = argparse.ArgumentParser("python -m scripts.recommend")
    parser.add_argument("titles", nargs="*", help="a history, oldest first; without, it asks")
    several = "folder of a model, or .safetensors of a baseline; again for one beside it"
    parser.add_argument("--model", type=Path, required=True, action="append", help=several)
    given = parser.parse_intermixed_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        names = ["/".join(one.with_suffix("").parts[-3:]) for one in given.model]
        models = [*zip(names, map(recommender, given.model), strict=True)]
        if given.titles:
            show(models, given.titles)
        else:
            ask(models)
    except (EOFError, KeyboardInterrupt):
        print()
    except Exception as error:
        message = told(error)
        if message is None:
            raise
        sys.exit(message)


if __name__ == "__main__":
    main()
