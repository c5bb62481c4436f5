"""Recommend by hand: titles in, ranked titles out, from one model or several side by side.

    python -m scripts.recommend --model results/.../seed-0 --model ... "Title one" "Title two"

Without titles it asks for them: a demonstration to type at.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import redirect_stderr, suppress
from difflib import get_close_matches
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from scripts.baselines.lists import titles_of, top
from scripts.baselines.sequential_model import load_model, scorer
from scripts.columns import GAP, TOP, fitted, list_lines, side_by_side
from scripts.command import InputError, told
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.data.rules import clean_title, one_line
from scripts.decode.model import catalogue_of, decoder_of, finetuned_of, lists_of, load
from scripts.decode.recommend import rank
from scripts.decode.settings import Assisted, Constrained, Decoder
from scripts.device import Device, torch_device
from scripts.examples import read_titles
from scripts.files import read_table
from scripts.prompts import quoted

logger = logging.getLogger(__name__)

#: Length of a baseline's lists, and texts that are proposed.
DEPTH, PROPOSED = 50, 5
#: Width of a list: at least, the least with another beside it, at most.
LEAST, NARROW, WIDE = 20, 36, 60
HELP = """\
A title a line, oldest first; an empty line ends a history and shows what comes next.
Tab completes a title; `quit` ends."""

Recommend = Callable[[Sequence[str]], list[tuple[str, float]]]
#: From items, int64, oldest first, to items and scores, best first.
Rank = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def recommender(
    model: str | Path,
    catalogue: str | Path | None = None,
    backbone: str | Path | None = None,
    decoder: str = "constrained",
    device: Device = "auto",
) -> Recommend:
    """A function from titles, oldest first, to titles with their scores, best first.

    Of more titles than the study's histories hold it takes the newest. Titles of the history stay
    in the list, as in the study. It raises an InputError as `known_titles` does.

    Args:
        model: folder of a fine-tuned model or adapter, or the `.safetensors` of a baseline.
        catalogue: of the data set, where the model is not in its study.
        backbone: of an adapter, likewise.
        decoder: one of the study's, with its settings, or `constrained`; a baseline has none.
        device: where to run.

    Raises:
        InputError: there is no such model, or something of it is missing.
    """
    model = Path(model)
    catalogue = Path(catalogue or catalogue_of(model))
    backbone = Path(backbone) if backbone else None
    items = read_table(catalogue, CATALOGUE)
    text = items["title"].tolist()
    item_of = {text[item]: item for item in titles_of(items).items}
    if model.suffix == ".safetensors":
        ranked, longest = of_baseline(model, items, device)
    else:
        ranked, longest = of_language_model(model, catalogue, backbone, decoder, device)

    def recommend(titles: Sequence[str]) -> list[tuple[str, float]]:
        history = [item_of[title] for title in known_titles(titles, item_of)]
        if len(history) > longest:
            cut = "%s: takes the newest %d of these %d titles, as in its study"
            logger.warning(cut, model, longest, len(history))
        listed, scores = ranked(np.array(history[-longest:]))
        return [(text[item], float(score)) for item, score in zip(listed, scores, strict=True)]

    return recommend


def of_baseline(model: Path, items: pd.DataFrame, device: Device) -> tuple[Rank, int]:
    """How a trained baseline ranks CATALOGUE rows, and the longest history that it sees."""
    where, titles = torch_device(device), titles_of(items)
    network = load_model(model, where)
    if network.items.num_embeddings != len(items):
        raise InputError(
            f"{model}: knows {network.items.num_embeddings} items, but the catalogue has "
            f"{len(items)}; give the one that it was trained on as --catalogue"
        )

    def ranked(history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = scorer(network, pd.Series([history]), where)(slice(None)).cpu().numpy()
        listed, best = top(scores, titles, DEPTH)
        return listed[0], best[0]

    return ranked, network.longest


def of_language_model(
    model: Path, catalogue: Path, backbone: Path | None, decoder: str, device: Device
) -> tuple[Rank, int]:
    """How a fine-tuned model ranks a catalogue, and the longest history among its test examples."""
    settings: Decoder = Constrained(kind="constrained")
    if decoder != "constrained" or lists_of(model, decoder).is_file():
        settings = decoder_of(model, decoder)
    if isinstance(settings, Assisted):
        raise InputError(f"decoder {decoder}: is assisted, and runs within a study only")
    loaded = load(finetuned_of(model, catalogue, backbone, device))
    test, longest = catalogue.parent / "examples" / "test.parquet", sys.maxsize
    if test.is_file():
        longest = int(read_table(test, EXAMPLES, ["history"])["history"].str.len().max())

    def ranked(history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        example = pd.DataFrame({"example_id": [0], "history": [history]})
        with redirect_stderr(StringIO()):  # It has a progress bar.
            lists, _ = rank(loaded, example, settings, assistant=None, tuning=None)
        return lists["item_id"].to_numpy(), lists["score"].to_numpy()

    return ranked, longest


def known_titles(titles: Sequence[str], known: Collection[str]) -> list[str]:
    """Titles as the prompt prints them: quotes and blanks around one are not its own.

    Raises:
        InputError: there is none, or one is empty or unknown; the nearest are told.
    """
    printed = [title if title in known else one_line(clean_title(title)) for title in titles]
    if not printed or "" in printed:
        what = "A title is empty" if printed else "There is no title"
        raise InputError(f"{what}; give the titles of a history, oldest first, each in quotes")
    faults = [
        f"{quoted(title)} is no title of the catalogue; the nearest are: "
        + (", ".join(map(shlex.quote, nearest(title, known))) or "none")
        for title in dict.fromkeys(printed)
        if title not in known
    ]
    if faults:
        raise InputError("\n".join(faults))
    return printed


def nearest(text: str, known: Collection[str]) -> list[str]:
    """The known texts that hold a text, shortest first, then those that are spelt most alike."""
    folded, wanted = {one.casefold(): one for one in known}, text.casefold()
    near = sorted((one for one in folded if wanted in one), key=len)[:PROPOSED]
    near += get_close_matches(wanted, folded, PROPOSED)
    return [folded[one] for one in dict.fromkeys(near)][:PROPOSED]


def histories(known: list[str]) -> Iterator[list[str]]:
    """Histories of known titles, typed or piped in: a title a line, oldest first, and an empty line
    after the last one. `quit` or the end of the input ends.

    On a terminal, Tab completes a title, and the nearest to an unknown one can be taken by number.
    Without one, an unknown title raises an InputError.
    """
    terminal, titles = sys.stdin.isatty(), frozenset(known)
    history: list[str] = []
    near: list[str] = []
    if terminal:
        print(HELP)
        complete(known)
    while True:
        try:
            line = input("> " if terminal else "").strip()
        except EOFError:
            line = None
        if history and not line:
            yield history
        if line is None or line == "quit":
            return
        if not line:
            history = []
            continue
        if line not in titles and line.isdecimal() and 0 < int(line) <= len(near):
            line = near[int(line) - 1]
        try:
            history += known_titles([line], titles)
            near = []
        except InputError:
            if not terminal:
                raise
            near = nearest(line, titles)
            print("No such title; type another" + (", or the number of one of these:" * bool(near)))
            print("".join(f"{number:4}  {title}\n" for number, title in enumerate(near, 1)), end="")


def complete(known: list[str]) -> None:
    """Let Tab complete a line to a known title, where Python has readline."""

    @cache
    def found(text: str) -> list[str]:
        return [title for title in known if title.casefold().startswith(text.casefold())]

    with suppress(ImportError):
        import readline

        readline.set_completer(lambda text, n: (found(text)[n : n + 1] or [None])[0])
        readline.set_completer_delims("")
        apple = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if apple else "tab: complete")


def text_of(
    history: list[str], names: list[str], lists: list[list[tuple[str, float]]], width: int
) -> list[str]:
    """Lists after a history, as many side by side as there is room for in so many columns."""
    beside = max(1, min((width + len(GAP)) // (NARROW + len(GAP)), len(names)))
    column = min(max((width + len(GAP)) // beside - len(GAP), LEAST), WIDE)
    blocks = [
        list_lines(name, ranked[:TOP], history, column)
        for name, ranked in zip(names, lists, strict=True)
    ]
    lines = [fitted(f"After {', '.join(map(quoted, history))}:", width)]
    for start in range(0, len(blocks), beside):
        lines += side_by_side(blocks[start : start + beside], column)
    return [*lines, "(* is in the history)", ""]


def show(titles: list[str], model: list[str], catalogue: Path | None, **options: Any) -> None:
    """Print what models recommend after titles, or after each of the histories that are typed.

    Raises:
        InputError: as `recommender` and `known_titles` do, or models have different catalogues.
    """
    places = [Path(one) for one in model]
    each = [read_titles(catalogue or catalogue_of(place)) for place in places]
    for place, own in zip(places, each, strict=True):
        if own != each[0]:
            raise InputError(f"{place}: has another catalogue than {places[0]}; ask them apart")
    asked = [known_titles(titles, each[0])] if titles else histories(each[0])
    models = [recommender(place, catalogue, **options) for place in places]
    names = ["/".join(place.absolute().with_suffix("").parts[-3:]) for place in places]
    for history in asked:
        lists = [recommend(history) for recommend in models]
        print("\n".join(text_of(history, names, lists, shutil.get_terminal_size().columns)))


def main(words: list[str] | None = None) -> None:
    """The command line; that of this process by default."""
    parser = argparse.ArgumentParser("python -m scripts.recommend", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    several = "folder of a model, or .safetensors of a baseline; again for one beside it"
    parser.add_argument("titles", nargs="*", help="a history, oldest first")
    parser.add_argument("--model", required=True, action="append", help=several)
    parser.add_argument("--catalogue", type=Path, help="of a model that is not in its study")
    parser.add_argument("--backbone", type=Path, help="of an adapter that is not in its study")
    parser.add_argument("--decoder", default="constrained", help="one of the study's")
    parser.add_argument("--device", default="auto", choices=get_args(Device))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        show(**vars(parser.parse_args(words)))
    except KeyboardInterrupt:
        print()
    except Exception as error:
        message = told(error)
        if message is None:
            raise
        sys.exit(message)


if __name__ == "__main__":
    main()
