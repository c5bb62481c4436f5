"""One test example, told for people: its history, the lists of one or two models, and what the
history does to each token of the target.

    python -m scripts.decode.explain --results results/quickstart --dataset ml-100k \
        --example 90001 --models '["tiny/plain/seed-0", "tiny/cft/seed-0"]' --output example
"""

from __future__ import annotations

import logging
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
from pydantic import TypeAdapter

from scripts.backbones.load import load_tokenizer
from scripts.cells import Cell, cell_path, model_of, model_path
from scripts.command import InputError, run
from scripts.contracts import EXAMPLES, RECOMMENDATIONS, TOKEN_EFFECTS
from scripts.data.settings import Prompt
from scripts.decode.recommend import recommend
from scripts.decode.settings import Decoder
from scripts.device import Device
from scripts.evaluate.token_effects import token_effects
from scripts.examples import read_examples, read_titles
from scripts.figures import style
from scripts.files import read_json, read_table, write_table
from scripts.prompts import answer_ids

logger = logging.getLogger(__name__)

#: Titles shown of each list, and columns of the text in all, of one model and between two.
TOP, WIDTH, COLUMN, GAP = 10, 100, 48, "    "
SCORES = {
    "grounded": "distance to the generated text, with a minus",
    "grounded-merged": "rank, with a minus",
    "constrained": "log-probability of the title's tokens",
    "assisted": "weighted log-probabilities of the model and its assistant",
}


class Told(NamedTuple):
    """What one model makes of the example."""

    name: str
    ranking: pd.DataFrame
    """The example's RECOMMENDATIONS rows."""
    kind: str
    """Kind of the decoder that made them."""
    tokens: pd.DataFrame
    """The target's TOKEN_EFFECTS rows, with the token as text."""


def explain(
    results: Path,
    dataset: str,
    example: int,
    models: list[str],
    output: Path,
    decoder: str = "constrained",
    device: Device = "auto",
) -> None:
    """Print a test example with its history, what models recommend, and its target's tokens.

    Lists are those of the study where they hold the example, and else are decoded now.

    Args:
        results: folder of a finished study.
        dataset: one of its data sets.
        example: `example_id` of a test example.
        models: one or two models, as <backbone>/<objective>/seed-<n>.
        output: PDF of the tokens' figure; .svg, .png and .csv beside it.
        decoder: one of the study's decoders.
        device: where to run.
    """
    if not 1 <= len(models) <= 2:
        raise InputError(f"models: found {len(models)}; give one or two, to stand side by side")
    data = results / "data" / dataset
    if not data.is_dir():
        raise InputError(f"{data}: no such data set; there are {names(data.parent, '*')}")
    folders = [model_folder(results, dataset, model) for model in models]
    titles = read_titles(data / "items.parquet")
    one = test_example(data / "examples" / "test.parquet", len(titles), example)
    target = titles[one["target"].item()]
    told = []
    with TemporaryDirectory() as scratch:
        alone = Path(scratch) / "example.parquet"
        write_table(one, alone, EXAMPLES)
        for name, folder in zip(models, folders, strict=True):
            step = options(results, folder) | {
                "test": alone,
                "items": data / "items.parquet",
                "device": device,
            }
            told.append(
                Told(
                    name,
                    *ranking(results, folder, decoder, example, step),
                    target_tokens(folder, target, step),
                )
            )
    history = [titles[item] for item in one["history"].item()]
    print("\n".join(text(dataset, one, history, target, titles, decoder, told)))
    draw(told, output)
    print(f"\nFigure: {output.with_suffix('.pdf')}")


def names(folder: Path, pattern: str) -> str:
    """What lies in a folder, for messages."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))
    return ", ".join(found) or "none"


def model_folder(results: Path, dataset: str, model: str) -> Path:
    """Folder of a model.

    Raises:
        InputError: there is no such model.
    """
    folder = results / "models" / dataset
    if not (folder / model / "run.json").is_file():
        raise InputError(f"{folder}: no model {model}; there are {names(folder, '*/*/seed-*')}")
    return folder / model


def test_example(test: Path, items: int, example: int) -> pd.DataFrame:
    """The row of a test example.

    Args:
        test: test examples.
        items: size of the catalogue.
        example: `example_id`.

    Raises:
        InputError: there is no such test example, or one's item is not in the catalogue.
    """
    examples = read_examples(test, items)
    one = examples[examples["example_id"] == example]
    if one.empty:
        numbers = examples["example_id"]
        raise InputError(
            f"{test}: no test example {example}; the test split holds {numbers.min()} to "
            f"{numbers.max()}"
        )
    return one


def options(results: Path, folder: Path) -> dict[str, Any]:
    """Options that every step on a model takes, from the record of its training."""
    settings = read_json(folder / "run.json")["settings"]
    adapter = folder / "adapter_config.json"
    # A path in an adapter starts where the study was run from, above results/<study>.
    root = results.absolute().parents[1]
    return {
        "model": folder,
        "backbone": root / read_json(adapter)["base_model_name_or_path"]
        if adapter.is_file()
        else folder,
        "prompt": Prompt.model_validate(settings["prompt"]),
        "max_tokens": settings["training"]["max_tokens"],
        "precision": settings["training"]["precision"],
    }


def ranking(
    results: Path, folder: Path, decoder: str, example: int, step: dict[str, Any]
) -> tuple[pd.DataFrame, str]:
    """The list of an example with its history, and the kind of its decoder.

    Args:
        results: folder of the study.
        folder: the model's.
        decoder: name of the decoder.
        example: `example_id`.
        step: options of the steps, for the example alone.

    Raises:
        InputError: the study has no lists of this decoder for the model, or the example cannot be
            decoded alone.
    """
    cell = Cell(*model_of(folder), decoder=decoder, history="with")
    made = results / "recommendations" / model_path(*cell[:4])
    lists = (results / "recommendations" / cell_path(cell)).with_suffix(".parquet")
    if not lists.is_file():
        raise InputError(
            f"{made}: no lists of a decoder {decoder}; there are those of {names(made, '*')}"
        )
    settings = read_json(lists.with_suffix(".json"))["decoder"]
    found = read_table(lists, RECOMMENDATIONS)
    if example not in set(found["example_id"]):
        count = found["example_id"].nunique()
        if settings["kind"] == "assisted":
            raise InputError(
                f"{lists}: example {example} is not among the {count} that were decoded, and an "
                "assisted decoder runs within a study only; choose one of them, such as "
                f"{found['example_id'].min()}, or another decoder"
            )
        logger.info("Example %d is not among the %d of %s: decoding it", example, count, lists)
        output = step["test"].with_name("list.parquet")
        recommend(
            **step,
            decoder=TypeAdapter(Decoder).validate_python(settings),
            history="with",
            output=output,
            record=output.with_suffix(".json"),
        )
        found = read_table(output, RECOMMENDATIONS)
    return found[found["example_id"] == example].sort_values("rank"), settings["kind"]


def target_tokens(folder: Path, target: str, step: dict[str, Any]) -> pd.DataFrame:
    """TOKEN_EFFECTS rows of the example, with the column `token`: its text, blanks made visible."""
    output = step["test"].with_name("effects.parquet")
    token_effects(**step, output=output)
    effects = read_table(output, TOKEN_EFFECTS)
    tokenizer = load_tokenizer(folder)
    words = [tokenizer.decode([token]) for token in answer_ids(tokenizer, target)[:-1]]
    return effects.assign(token=[*(word.replace(" ", "␣") for word in words), "eos"])


def text(
    dataset: str,
    one: pd.DataFrame,
    history: list[str],
    target: str,
    titles: list[str],
    decoder: str,
    told: list[Told],
) -> list[str]:
    """The example as lines of at most `WIDTH` columns."""
    example, user = one["example_id"].item(), one["user"].item()
    meaning = SCORES.get(told[0].kind)
    return [
        *(f"Test example {example} of {dataset}, user {user}", "", "History, oldest first:"),
        *(fitted(f"{i:4}  {title}", WIDTH) for i, title in enumerate(history, 1)),
        *("", fitted(f"Target: {target}", WIDTH)),
        *("", f"Decoder {decoder}" + (f"; score: {meaning}" if meaning else "")),
        *side_by_side([ranking_lines(one_told, target, titles) for one_told in told]),
        *("", "Log-probability of the target's tokens with the history and without it"),
        *side_by_side([token_lines(one_told) for one_told in told]),
    ]


def fitted(line: str, width: int) -> str:
    """A line, cut with an ellipsis where it is too long."""
    return line if len(line) <= width else line[: width - 1] + "…"


def side_by_side(blocks: list[list[str]]) -> list[str]:
    """Blocks of lines as columns."""
    rows = zip_longest(*blocks, fillvalue="")
    return [GAP.join(f"{line:<{COLUMN}}" for line in row).rstrip() for row in rows]


def ranking_lines(told: Told, target: str, titles: list[str]) -> list[str]:
    """The top of a list, the target marked, and the target's rank."""
    lines = [fitted(told.name, COLUMN)]
    listed = told.ranking["item_id"].map(titles.__getitem__)
    for rank, title, score in zip(
        told.ranking["rank"][:TOP], listed, told.ranking["score"], strict=False
    ):
        mark = "*" if title == target else " "
        lines.append(f"{rank:4}{mark} {fitted(title, 33):<33} {score:8.2f}")
    # Items with the same title are one target.
    ranks = told.ranking.loc[listed == target, "rank"]
    place = f"beyond the {len(listed)} listed" if ranks.empty else str(ranks.min())
    return [*lines, f"target's rank: {place}"]


def token_lines(told: Told) -> list[str]:
    """The target's tokens with their log-probabilities and the difference, and the sums."""
    lines = [fitted(told.name, COLUMN), f"  {'token':<19}{'with':>9}{'without':>9}{'effect':>9}"]
    sums = told.tokens[["with_history", "without_history"]].sum()
    for token, first, second in [
        *told.tokens[["token", "with_history", "without_history"]].itertuples(index=False),
        ("sum", *sums),
    ]:
        lines.append(f"  {fitted(token, 18):<19}{first:z9.2f}{second:z9.2f}{first - second:+z9.2f}")
    return lines


def draw(told: list[Told], output: Path) -> None:
    """Draw the log-probability of each token with the history and without it, a panel a model."""
    columns = ["position", "token", "with_history", "without_history"]
    data = pd.concat([one.tokens[columns].assign(model=one.name) for one in told])
    width = style.PAGE if len(told) > 1 else style.COLUMN
    height = 0.5 + 0.16 * data["position"].max()
    figure, axes = style.panels(1, len(told), width, height)
    least = data[["with_history", "without_history"]].min().min()
    looks = style.looks(one.name.split("/")[1] for one in told)
    for axis, one in zip(axes[0], told, strict=True):
        colour, marker = looks[one.name.split("/")[1]]
        tokens = one.tokens
        first, second = tokens["with_history"], tokens["without_history"]
        axis.hlines(tokens["position"], second, first, color=colour, alpha=0.5)
        axis.plot(second, tokens["position"], marker, color=colour, mfc="white", clip_on=False)
        axis.plot(first, tokens["position"], marker, color=colour, clip_on=False)
        axis.set_yticks(tokens["position"], tokens["token"], parse_math=False)
        axis.set_ylim(len(tokens) + 0.6, 0.4)
        axis.set_xlim(1.05 * min(least, -0.1), 0)
        axis.grid(visible=False, axis="y")
        axis.set_xlabel("log-probability")
        style.panel_name(axis, one.name)
    filled = style.handle("with history", (style.NEUTRAL, "o"), "")
    hollow = style.handle("without", (style.NEUTRAL, "o"), "")
    hollow.set_markerfacecolor("white")
    style.legend(figure, [filled, hollow])
    style.save(figure, data, output)


if __name__ == "__main__":
    run(explain)
