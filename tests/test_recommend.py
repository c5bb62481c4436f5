"""Recommending by hand against whole forward passes, and what is typed and printed."""

import io
import re
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.backbones.load import load_tokenizer
from scripts.baselines.sequential_model import load_model, make_model, save_model
from scripts.baselines.settings import SASRec
from scripts.columns import TOP
from scripts.command import InputError
from scripts.decode.model import finetuned_of
from scripts.recommend import main, recommender, show
from tests.small_language import TITLES, log_probabilities, write_small_study

PAGE = Path(__file__).resolve().parent.parent / "docs/results.md"
HISTORY = ["1984", "Broken Island"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A whole model, a second one, an adapter of the second, and a baseline."""
    root = tmp_path_factory.mktemp("recommend")
    models = write_small_study(root)
    settings = SASRec(kind="sasrec", hidden_size=8, heads=2)
    torch.manual_seed(0)
    baseline = root / "results/small/models/books/baselines/sasrec/seed-0.safetensors"
    save_model(make_model(len(TITLES), 4, settings), settings, baseline)
    return [*models, baseline]


def best_first(scores):
    return sorted(scores.items(), key=lambda one: -one[1])


def test_the_lines_of_the_documentation(models, capsys):
    """They print the exact ranking, as there are fewer titles than beams."""
    section = PAGE.read_text(encoding="utf-8").split("## Ask for titles")[1]
    lines = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    lines = lines.replace("results/quickstart/models/ml-100k/tiny/cft/seed-0", str(models[0]))
    exec(lines.replace('["Die Hard", "Speed"]', str(HISTORY)))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(models[0]), load_tokenizer(models[0])
    exact = {t: log_probabilities(model, tokenizer, HISTORY, t).sum() for t in set(TITLES)}
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{score:8.2f}  {title}" for title, score in best_first(exact)]


def test_a_baseline_sees_the_item_that_stands_for_a_title(models):
    """And the newest of a history that is longer than those of its study."""
    network = load_model(models[3], torch.device("cpu"))
    shown = torch.tensor([[6, 7, 8, 4]])
    with torch.inference_mode():
        scores = (network(shown, shown == 4) @ network.items.weight.T)[0].tolist()
    exact = {t: max(s for s, u in zip(scores, TITLES, strict=True) if t == u) for t in TITLES}
    # Item 2 has the title of item 4, which has more training targets.
    recommend = recommender(models[3])
    found = recommend([TITLES[item] for item in (3, 6, 7, 8, 2)])
    assert [title for title, _ in found] == [title for title, _ in best_first(exact)]
    assert dict(found) == pytest.approx(exact, abs=1e-5)
    with pytest.raises(InputError, match="There is no title"):
        recommend([])


def test_an_adapter_finds_its_backbone_by_its_weights(models, tmp_path):
    """A fresh adapter changes nothing, so it recommends what its backbone does."""
    expected = recommender(models[1])(HISTORY)
    root = shutil.copytree(models[0].parents[6], tmp_path / "root")
    adapter, place = root / models[2].relative_to(models[0].parents[6]), "resources/backbones/other"
    assert finetuned_of(adapter).backbone == root / place
    own = root / "results/small/backbones/books/other"
    own.parent.mkdir(parents=True)
    (root / place).rename(own)
    shutil.copytree(models[0], root / place)  # Of other weights.
    found = recommender(adapter)(HISTORY)
    assert [title for title, _ in found] == [title for title, _ in expected]
    assert dict(found) == pytest.approx(dict(expected), abs=1e-4)
    shutil.rmtree(own)
    with pytest.raises(InputError, match=r"backbone other, .*, is not in .* not at .*/other; put"):
        recommender(adapter)


@pytest.mark.parametrize(("width", "beside"), [(30, 1), (80, 2), (120, 3)])
def test_lists_stand_side_by_side_where_there_is_room(monkeypatch, capsys, width, beside):
    monkeypatch.setenv("COLUMNS", str(width))
    ranked = [(f"A title of some length, number {i}", -i / 3) for i in range(12)]
    show([(name, lambda _: ranked) for name in "abc"], [f' "{ranked[1][0]}"'])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if not line.startswith(("After", "(")) and line]
    assert next(row for row in rows if row[0] in "abc") == ["a", "b", "c"][:beside]
    assert len(rows) == (TOP + 1) * -(-3 // beside)
    assert sum(line.count("2* ") for line in lines) == 3


def test_titles_on_the_command_line_and_typed(models, monkeypatch, capsys):
    """An unknown title is told and left out; an empty line begins a new history."""
    first, second = (f"--model={model}" for model in (models[0], models[3]))
    printed = []
    for words in (["1984"], HISTORY, ["Crimson Tower"]):
        main([first, words[0], second, *words[1:]])
        printed.append(capsys.readouterr().out)
    typed = '1984\nbroken isle\n "Broken Island" \n\nCrimson Tower\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    main([first, second])
    _, one, told, two, empty_and_three, end = re.split("^> ", capsys.readouterr().out, flags=re.M)
    assert [one, two] == printed[:2]
    assert re.fullmatch('"broken isle" is no title of .*: "Broken Island"\n', told)
    assert empty_and_three == f"> {printed[2]}"
    assert end == "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{0}", "1984", "amber harbor", "Zz"], 'harbor.* are: "Amber H.*\n.*Zz.* are: none'),
        (["results/small/tiny/plain", "1984"], "nearest in results/: .*/tiny/plain/seed-0, "),
        (["{root}", "1984"], "is neither the folder of a fine-tuned model"),
    ],
)
def test_bad_input(models, monkeypatch, words, message):
    root = models[0].parents[6]
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit) as error:
        main(["--model", *(word.format(*models, root=root) for word in words)])
    assert re.search(message, error.value.code)
