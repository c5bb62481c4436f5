"""One test example, printed for people: its history, the lists of one or two models, and what the
history does to each token of the target.

    python -m scripts.decode.explain --results results/quickstart --dataset ml-100k \
        --example 90001 --models tiny/plain/seed-0 tiny/cft/seed-0 --output example
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd
from pydantic import TypeAdapter

from scripts import style
from scripts.cells import Cell, model_of
from scripts.columns import TOP, fitted, list_lines, side_by_side
from scripts.command import InputError, run
from scripts.contracts import EXAMPLES, RECOMMENDATIONS, TOKEN_EFFECTS
from scripts.decode.model import Finetuned, finetuned_of
from scripts.decode.recommend import recommend
from scripts.decode.settings import Decoder
from scripts.decode.token_effects import token_effects
from scripts.device import Device
from scripts.examples import read_examples, read_titles
from scripts.files import read_json, read_table, write_table

logger = logging.getLogger(__name__)

#: Columns of the text.
WIDTH = 100
SCORES = {
    "grounded": "distance to the generated text, with a minus",
    "grounded-merged": "rank, with a minus",
    "constrained": "log-probability of the title's tokens",
    "assisted": "weighted log-probabilities of the model and its assistant",
}


class Explanation(NamedTuple):
    """What one model makes of the example."""

    name: str
    ranking: pd.DataFrame
    """The example's RECOMMENDATIONS rows."""
    kind: str
    """Kind of the decoder that made them."""
    tokens: pd.DataFrame
    """The target's TOKEN_EFFECTS rows."""


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
    titles = read_titles(data / "catalogue.parquet")
    one = test_example(data / "examples" / "test.parquet", len(titles), example)
    target = titles[one["target"].item()]
    explanations = []
    with TemporaryDirectory() as scratch:
        alone = Path(scratch) / "example.parquet"
        write_table(one, alone, EXAMPLES)
        for name, folder in zip(models, folders, strict=True):
            finetuned = finetuned_of(folder, device=device)
            ranked = ranking(results, finetuned, decoder, example, alone)
            effects = alone.with_name("effects.parquet")
            token_effects(finetuned, alone, effects)
            explanations.append(Explanation(name, *ranked, read_table(effects, TOKEN_EFFECTS)))
    history = [titles[item] for item in one["history"].item()]
    print("\n".join(text(dataset, one, history, target, titles, decoder, explanations)))
    draw(explanations, output)
    print(f"\nFigure: {output.with_suffix('.pdf')}")


def names(folder: Path, pattern: str) -> str:
    """What lies in a folder, for messages."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))
    return ", ".join(paths) or "none"


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
    """The row of a test example, whose items are among the first so many.

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


def ranking(
    results: Path, finetuned: Finetuned, decoder: str, example: int, alone: Path
) -> tuple[pd.DataFrame, str]:
    """The list of an example with its history, and the kind of its decoder; `alone` is the example
    as a file of its own.

    Raises:
        InputError: the study has no lists of this decoder for the model, or the example cannot be
            decoded alone.
    """
    cell = Cell(*model_of(finetuned.model), decoder=decoder, history="with")
    made = results / "recommendations" / cell.model
    lists = results / "recommendations" / f"{cell.path}.parquet"
    if not lists.is_file():
        raise InputError(
            f"{made}: no lists of a decoder {decoder}; there are those of {names(made, '*')}"
        )
    settings = read_json(lists.with_suffix(".json"))["decoder"]
    rows = read_table(lists, RECOMMENDATIONS)
    if example not in set(rows["example_id"]):
        count = rows["example_id"].nunique()
        if settings["kind"] == "assisted":
            raise InputError(
                f"{lists}: example {example} is not among the {count} that were decoded, and an "
                "assisted decoder runs within a study only; choose one of them, such as "
                f"{rows['example_id'].min()}, or another decoder"
            )
        logger.info("Example %d is not among the %d of %s: decoding it", example, count, lists)
        chosen = TypeAdapter(Decoder).validate_python(settings)
        recommend(finetuned, alone, chosen, histories=["with"], output=alone.parent)
        rows = read_table(alone.with_name("with.parquet"), RECOMMENDATIONS)
    return rows[rows["example_id"] == example].sort_values("rank"), settings["kind"]


def text(
    dataset: str,
    one: pd.DataFrame,
    history: list[str],
    target: str,
    titles: list[str],
    decoder: str,
    explanations: list[Explanation],
) -> list[str]:
    """The example as lines of at most `WIDTH` columns."""
    example, user = one["example_id"].item(), one["user"].item()
    meaning = SCORES.get(explanations[0].kind)
    return [
        *(f"Test example {example} of {dataset}, user {user}", "", "History, oldest first:"),
        *(fitted(f"{i:4}  {title}", WIDTH) for i, title in enumerate(history, 1)),
        *("", fitted(f"Target: {target}", WIDTH)),
        *("", f"Decoder {decoder}" + (f"; score: {meaning}" if meaning else "")),
        *side_by_side([ranking_lines(each, target, titles) for each in explanations], WIDTH),
        *("", "Log-probability of the target's tokens with the history and without it"),
        *side_by_side([token_lines(each) for each in explanations], WIDTH),
    ]


def ranking_lines(explanation: Explanation, target: str, titles: list[str]) -> list[str]:
    """The top of a list, the target marked, and the target's rank."""
    listed = explanation.ranking["item_id"].map(titles.__getitem__)
    ranked = zip(listed[:TOP], explanation.ranking["score"][:TOP], strict=True)
    lines = list_lines(explanation.name, ranked, {target})
    # Items with the same title are one target.
    ranks = explanation.ranking.loc[listed == target, "rank"]
    place = f"beyond the {len(listed)} listed" if ranks.empty else str(ranks.min())
    return [*lines, f"target's rank: {place}"]


def token_lines(explanation: Explanation) -> list[str]:
    """The target's tokens with their log-probabilities and the difference, and the sums."""
    lines = [explanation.name, f"  {'token':<19}{'with':>9}{'without':>9}{'effect':>9}"]
    sums = explanation.tokens[["with_history", "without_history"]].sum()
    for token, first, second in [
        *explanation.tokens[["token", "with_history", "without_history"]].itertuples(index=False),
        ("sum", *sums),
    ]:
        lines.append(f"  {fitted(token, 18):<19}{first:z9.2f}{second:z9.2f}{first - second:+z9.2f}")
    return lines


def draw(explanations: list[Explanation], output: Path) -> None:
    """Draw the log-probability of each token with the history and without it, a panel a model."""
    columns = ["position", "token", "with_history", "without_history"]
    data = pd.concat([one.tokens[columns].assign(model=one.name) for one in explanations])
    width = style.PAGE if len(explanations) > 1 else style.COLUMN
    height = 0.5 + 0.16 * data["position"].max()
    figure, axes = style.panels(1, len(explanations), width, height)
    least = data[["with_history", "without_history"]].min().min()
    looks = style.looks(one.name.split("/")[1] for one in explanations)
    for axis, one in zip(axes[0], explanations, strict=True):
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
    style.save(style.Drawing(figure, data), output)


if __name__ == "__main__":
    run(explain)
