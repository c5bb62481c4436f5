"""One explained example against the study's files and a plain forward pass per target."""

import re
import shutil
from itertools import product

import pytest
from transformers import AutoModelForCausalLM

from scripts.backbones.load import load_tokenizer
from scripts.command import InputError
from scripts.contracts import CATALOGUE, RECOMMENDATIONS
from scripts.decode.explain import explain
from scripts.decode.settings import Constrained, Grounded, GroundedMerged
from scripts.files import read_csv, read_table, write_json, write_table
from tests.small_language import (
    ROWS,
    TITLES,
    finetuned,
    listed,
    log_probabilities,
    write_small_study,
)

pytestmark = pytest.mark.slow  # Every call draws its figure in three formats.

DECODERS = {
    "constrained": Constrained(kind="constrained", beams=3),
    "grounded": Grounded(kind="grounded", beams=2, max_new_tokens=6),
    "merged": GroundedMerged(kind="grounded-merged", beams=2, max_new_tokens=6),
}
MODELS = ["tiny/plain/seed-0", "tiny/cft/seed-1", "tiny/lora/seed-0"]


def decode(folder, data, decoder, output, test_examples=None):
    model, test = finetuned(data, model=folder, backbone=folder), data / "examples/test.parquet"
    return listed(model, test, decoder, output.parent, test_examples=test_examples)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A study of three models, whose lists hold three of the six test examples."""
    root = tmp_path_factory.mktemp("explain")
    models, data = write_small_study(root)[0].parents[2], root / "results/small/data/books"
    for model in MODELS[:2]:
        for name, decoder in DECODERS.items():
            output = root / f"results/small/recommendations/books/{model}/{name}/with.parquet"
            decode(models / model, data, decoder, output, test_examples=3)
    return root


@pytest.fixture(scope="module")
def whole_lists(root, tmp_path_factory):
    """The lists of all six test examples by model and decoder, from the step itself."""
    study, output = root / "results/small", tmp_path_factory.mktemp("whole") / "with.parquet"
    return {
        (model, name): decode(study / "models/books" / model, study / "data/books", decoder, output)
        for model in MODELS[:2]
        for name, decoder in DECODERS.items()
    }


def printed(root, capsys, example, models=MODELS[:2], decoder="constrained"):
    explain(
        results=root / "results/small",
        dataset="books",
        example=example,
        models=models,
        output=root / "figures/x",
        decoder=decoder,
        device="cpu",
    )
    return capsys.readouterr().out.splitlines()


def section(lines, begin):
    """The lines after the one that begins so, up to an empty one."""
    start = next(i for i, line in enumerate(lines) if line.startswith(begin)) + 1
    return lines[start : lines.index("", start)]


@pytest.mark.parametrize(
    ("decoder", "row"),
    [*(("constrained", row) for row in range(len(ROWS))), *product(["grounded", "merged"], [0, 3])],
)
def test_what_is_printed(root, whole_lists, capsys, row, decoder):
    """Also of the three examples that have no lists yet, such as the first one."""
    lines = printed(root, capsys, 10 + row, decoder=decoder)
    user, history, target = ROWS[row]
    assert max(map(len, lines)) <= 100
    assert lines[0] == f"Test example {10 + row} of books, user {user}"
    shown = [line.split(maxsplit=1) for line in section(lines, "History")]
    assert shown == [[str(i), TITLES[item]] for i, item in enumerate(history, 1)]
    assert f"Target: {TITLES[target]}" in lines
    ranked = section(lines, f"Decoder {decoder};")
    assert ranked[0].split() == MODELS[:2]
    for column, model in enumerate(MODELS[:2]):
        lists = whole_lists[model, decoder]
        expected = lists[lists["example_id"] == 10 + row]
        cells = [line[52 * column : 52 * column + 48] for line in ranked[1:]]
        found = [re.fullmatch(r" *(\d+)([* ]) +(-?[\d.]+)  (.*?) *", cell) for cell in cells[:-1]]
        assert [int(one[1]) for one in found] == expected["rank"].tolist()
        titles = [TITLES[item] for item in expected["item_id"]]
        assert [one[4] for one in found] == titles
        assert [one[2] == "*" for one in found] == [title == TITLES[target] for title in titles]
        assert [float(one[3]) for one in found] == pytest.approx(expected["score"], abs=0.006)
        rank = titles.index(TITLES[target]) + 1 if TITLES[target] in titles else None
        place = rank or f"beyond the {len(titles)} listed"
        assert cells[-1].rstrip() == f"target's rank: {place}"


def test_tokens_and_figure(root, capsys):
    lines = printed(root, capsys, 12)
    table = section(lines, "Log-probability")
    data = read_csv(root / "figures/x.csv").set_index("model")
    _, history, target = ROWS[2]
    for column, model in enumerate(MODELS[:2]):
        folder = root / "results/small/models/books" / model
        loaded, tokenizer = AutoModelForCausalLM.from_pretrained(folder), load_tokenizer(folder)
        titles = [TITLES[item] for item in history]
        first = log_probabilities(loaded, tokenizer, titles, TITLES[target])
        second = log_probabilities(loaded, tokenizer, [], TITLES[target])
        rows = [line[52 * column : 52 * column + 48].split() for line in table[2:]]
        assert "".join(row[0] for row in rows[:-2]) == '"Broken␣Island"'
        assert rows[-2][0] == "eos"
        assert rows[-1][0] == "sum"
        assert [float(row[1]) for row in rows[:-1]] == pytest.approx(first, abs=0.006)
        assert [float(row[2]) for row in rows[:-1]] == pytest.approx(second, abs=0.006)
        assert [float(row[3]) for row in rows[:-1]] == pytest.approx(first - second, abs=0.006)
        sums = [first.sum(), second.sum(), first.sum() - second.sum()]
        assert [float(cell) for cell in rows[-1][1:]] == pytest.approx(sums, abs=0.006)
        assert data.loc[model, "with_history"].tolist() == pytest.approx(first, abs=1e-4)
        assert data.loc[model, "without_history"].tolist() == pytest.approx(second, abs=1e-4)
    for kind in ("pdf", "svg", "png"):
        assert (root / f"figures/x.{kind}").stat().st_size
    words = (root / "figures/x.svg").read_text(encoding="utf-8")
    assert all(f">{model}<" in words for model in MODELS[:2])


def test_one_model(root, capsys):
    lines = printed(root, capsys, 10, models=MODELS[1:2])
    assert max(map(len, lines)) <= 100
    assert MODELS[1] in lines


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"example": 9}, "no test example 9; the test split holds 10 to 15"),
        ({"models": ["tiny/none/seed-0"]}, f"no model tiny/none/seed-0; .* {MODELS[1]}, .*"),
        ({"models": ["tiny"]}, f"no model tiny; .* {MODELS[0]}"),
        ({"models": []}, "found 0; give one or two"),
        ({"models": MODELS}, "found 3; give one or two"),
        ({"dataset": "films"}, "no such data set; there are books"),
        ({"decoder": "beam"}, "no lists of a decoder beam; .* constrained, grounded, merged"),
        ({"results": "elsewhere"}, "no such data set; there are none"),
    ],
)
def test_bad_input(root, tmp_path, change, words):
    options = {"results": "small", "dataset": "books", "example": 10, "models": MODELS[:1]}
    options |= {"output": tmp_path / "x", "device": "cpu"} | change
    with pytest.raises(InputError, match=words):
        explain(**options | {"results": root / "results" / options["results"]})
    assert not list(tmp_path.iterdir())


def test_an_assisted_decoder_explains_decoded_examples_only(root, capsys, tmp_path):
    study = tmp_path / "results/small"
    shutil.copytree(root / "results/small", study)
    for model in MODELS[:2]:
        record = study / f"recommendations/books/{model}/constrained/with.json"
        write_json({"decoder": {"kind": "assisted", "assistant": "sasrec"}}, record)
    lists = record.with_suffix(".parquet")
    decoded = set(read_table(lists, RECOMMENDATIONS)["example_id"])
    printed(tmp_path, capsys, min(decoded))
    other = min(set(range(10, 16)) - decoded)
    with pytest.raises(InputError, match=f"{other} is not among the 3 .* such as {min(decoded)}"):
        printed(tmp_path, capsys, other)


def test_long_titles_and_dollars(root, capsys, tmp_path):
    """Titles too long are cut, and a figure's labels are no formulas."""
    study = tmp_path / "results/small"
    shutil.copytree(root / "results/small", study)
    items = study / "data/books/catalogue.parquet"
    frame = read_table(items, CATALOGUE)
    frame.loc[frame["item_id"] == 1, "title"] = "$ " + "very long " * 12 + "$"
    write_table(frame, items, CATALOGUE)
    lines = printed(tmp_path, capsys, 13)
    assert max(map(len, lines)) <= 100
    assert any(line.endswith("…") for line in lines)
    printed(tmp_path, capsys, 10)
