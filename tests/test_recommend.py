"""Recommending by hand against whole forward passes, and what is typed and printed."""

import io
import re
import readline
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.backbones.load import load_tokenizer
from scripts.baselines.sequential_model import load_model, make_model, save_model
from scripts.baselines.settings import SASRec
from scripts.columns import GAP, TOP
from scripts.command import InputError
from scripts.decode.model import finetuned_of
from scripts.recommend import WIDE, histories, main, recommender, text_of
from tests.small_data import write_catalogue
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
    """They print the exact ranking, as the trie is narrower than the default beams."""
    section = PAGE.read_text(encoding="utf-8").split("## Ask for titles")[1]
    lines = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    lines = lines.replace("results/quickstart/models/ml-100k/tiny/cft/seed-0", str(models[0]))
    exec(lines.replace('["Die Hard", "Speed"]', str(HISTORY)))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(models[0]), load_tokenizer(models[0])
    exact = {t: log_probabilities(model, tokenizer, HISTORY, t).sum() for t in set(TITLES)}
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{score:8.2f}  {title}" for title, score in best_first(exact)]


def test_a_baseline_sees_the_item_that_stands_for_a_title(models, caplog, tmp_path):
    """And, as a language model, the newest of a history that is longer than those of its study."""
    network = load_model(models[3], torch.device("cpu"))
    shown = torch.tensor([[6, 7, 8, 2]])
    with torch.inference_mode():
        scores = (network(shown, shown == 2) @ network.items.weight.T)[0].tolist()
    exact = {t: max(s for s, u in zip(scores, TITLES, strict=True) if t == u) for t in TITLES}
    # Here item 2, and not 4, stands for their title.
    catalogue = write_catalogue(tmp_path / "catalogue.parquet", TITLES, [*range(9, 0, -1)])
    recommend, titles = recommender(models[3], catalogue), [TITLES[item] for item in (6, 7, 8, 4)]
    found = recommend(titles)
    assert [title for title, _ in found] == [title for title, _ in best_first(exact)]
    assert dict(found) == pytest.approx(exact, abs=1e-5)
    assert not caplog.text
    assert recommend(["Amber Harbour", *titles]) == found
    assert f"{models[3]}: takes the newest 4 of these 5" in caplog.text
    recommender(models[0])(["1984"] * 11)
    assert f"{models[0]}: takes the newest 10 of these 11" in caplog.text


def test_an_adapter_finds_its_backbone_by_its_weights(models, tmp_path):
    """A fresh adapter changes nothing, so it recommends what its backbone does."""
    expected = recommender(models[1])(HISTORY)
    root = shutil.copytree(models[0].parents[6], tmp_path / "root")
    adapter = root / models[2].relative_to(models[0].parents[6])
    catalogue, place = root / "catalogue.parquet", root / "resources/backbones/other"
    for next_place in ("results/small/backbones/books/other", "elsewhere"):
        assert finetuned_of(adapter).backbone == place
        (root / next_place).parent.mkdir(parents=True, exist_ok=True)
        place = place.rename(root / next_place)
    shutil.copytree(models[0], root / "resources/backbones/other")  # Of other weights.
    with pytest.raises(InputError, match=r"backbone other, .*, is not at .*/resources/backbones/o"):
        finetuned_of(adapter)
    moved = adapter.rename(tmp_path / "moved")
    for given, message in (({}, "--catalogue"), ({"catalogue": catalogue}, "--backbone")):
        with pytest.raises(InputError, match=message):
            recommender(moved, **given)
    found = recommender(moved, catalogue, place)(HISTORY)
    assert [title for title, _ in found] == [title for title, _ in expected]
    assert dict(found) == pytest.approx(dict(expected), abs=1e-4)


@pytest.mark.parametrize(("width", "beside"), [(30, 1), (80, 2), (200, 3)])
def test_lists_stand_side_by_side_where_there_is_room(width, beside):
    ranked = [(f"A title of some length, number {i}", -i / 3) for i in range(12)]
    lines = text_of([ranked[1][0]], ["a", "b", "c"], [ranked] * 3, width)
    assert max(map(len, lines)) <= min(width, 3 * WIDE + 2 * len(GAP))
    rows = [line.split() for line in lines if not line.startswith(("After", "(")) and line]
    assert next(row for row in rows if row[0] in "abc") == ["a", "b", "c"][:beside]
    assert len(rows) == (TOP + 1) * -(-3 // beside)
    assert sum(line.count("* A") for line in lines) == 3


def test_histories_through_a_pipe(models, monkeypatch, capsys):
    words = [f"--model={model}" for model in (models[0], models[3])]
    piped = '\n1984\n "Broken Island" \n\n\nCrimson Tower\n'
    for titles in (HISTORY, ["Crimson Tower"]):
        main([*words, *titles])
    expected = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(piped))
    main(words)
    assert capsys.readouterr().out == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("1984\nbroken isle\n"))
    with pytest.raises(SystemExit, match=r'"broken isle" is no title .*: .Broken Island.'):
        main(words)


def test_a_terminal_proposes_titles_by_number(monkeypatch, capsys):
    """A title that is a number stays one."""
    typed = io.StringIO("crimson\n2\nbroken\n1\n\nquit\n1984\n")
    typed.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", typed)
    assert list(histories([*TITLES, "1"])) == [["Crimson Tower: a Novel", "1"]]
    assert "   1  Crimson Tower\n   2  Crimson Tower: a Novel\n" in capsys.readouterr().out
    complete = readline.get_completer()
    assert [complete("crim", i) for i in range(3)] == ["Crimson Tower: a Novel", TITLES[8], None]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{0}", ""], "A title is empty"),
        (["{0}", "1984", "amber harbor", "Zz"], "amber harbor.* are: 'Amber H.*\n.*Zz.* are: none"),
        (["results/small/tiny/plain", "1984"], "nearest in results/: .*/tiny/plain/seed-0, "),
        (["{root}", "1984"], "is neither the folder of a fine-tuned model"),
        (["{0}", "1984", "--decoder", "grounded"], "no lists of a decoder grounded; .* none"),
    ],
)
def test_bad_input(models, monkeypatch, words, message):
    root = models[0].parents[6]
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit) as error:
        main(["--model", *(word.format(*models, root=root) for word in words)])
    assert re.search(message, error.value.code)
