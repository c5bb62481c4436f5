import itertools
import re
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow.parquet as pq
import pytest
from docutils.core import publish_doctree
from docutils.nodes import paragraph
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.command import InputError
from scripts.files import write_json, write_text
from scripts.labels import one_line
from scripts.report import manifest, paragraphs, report, revision
from scripts.study.config import load
from scripts.study.outputs import OUTPUTS
from scripts.tables.format import Table, write
from tests.tiny_study import catalogue, split

#: The analysis of a case whose target is in the list of a baseline.
CASE = """\
case,example_id,list,position,title,is_target,target_rank,depth,token,with_history,without_history
drawn,7,history,1,{0},False,,,,,
drawn,7,target,1,{0},True,,,,,
drawn,7,"most-popular, baseline",1,{0},True,1,50,,,
drawn,7,"cft, tokens",1,,False,,,{0},-0.5,-2.0
"""

ROOT = Path(__file__).parents[1]
CAPTIONS = ROOT / "workflow" / "report"
STUDY = load(ROOT / "config" / "smoke.yaml").model_dump(mode="json") | {"study": "toy & co"}


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def make(tmp_path: Path, label: str = "<script>alert(1)</script>") -> str:
    """A page of two tables and a figure."""
    frame = pd.DataFrame({"Method": [label], "HR@1": ["0.5"]})
    table = Table(frame, ["A note."], 1, {(0, "HR@1")})
    write(table, None, tmp_path / "tables" / "accuracy.csv")
    for name in ("statistics", "cases"):
        write(Table(frame, [], left=1), None, tmp_path / "tables" / f"{name}.csv")
    quoted = label.replace('"', '""')
    write_text(CASE.format(f'"{quoted}"'), tmp_path / "cases.csv")
    said = pd.DataFrame({"Topic": ["What was run"], "Sentence": [f"One study of {label} " * 9]})
    write(Table(said, [], left=2), None, tmp_path / "tables" / "summary.csv")
    figure = tmp_path / "figures" / "curves.svg"
    for path in [figure, *(figure.with_suffix(f".{ending}") for ending in ("pdf", "png", "csv"))]:
        write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", path)
    tables = ("accuracy", "statistics", "summary", "cases")
    for name in ("figure_curves", *(f"table_{name}" for name in tables)):
        write_text(f"What {name} shows.", tmp_path / "captions" / f"{name}.rst")
    run = {"device": "a device", "python": "3.11", "versions": {"torch": "2.0"}}
    write_json(run, tmp_path / "run.json")
    datasets = {name: one | {"label": label} for name, one in STUDY["datasets"].items()}
    part = {"stage": 1, "only": STUDY["only"] | {"seeds": [0, 3]}}
    report(
        STUDY | {"datasets": datasets} | part,
        [tmp_path / "tables" / f"{name}.json" for name in tables],
        [figure],
        tmp_path / "captions",
        [tmp_path / "run.json"],
        [],
        [tmp_path / "cases.csv"],
        10,
        tmp_path / "report.html",
    )
    return (tmp_path / "report.html").read_text()


def test_the_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    html = make(tmp_path)
    page = Page()
    page.feed(html)
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert "link" not in names
    loaded = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert all(address.startswith("data:image/svg+xml;base64,") for address in loaded)
    assert not re.search(r"url\(|@import", html)
    assert "<script>alert(1)</script>" in page.text
    assert "<strong>0.5</strong>" in html
    for text in ("toy & co", "A note.", "What table_accuracy shows.", "a device", "torch 2.0"):
        assert text in page.text
    assert "up to stage 1, seeds 0; 3 alone" in page.text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    anchors = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    files = {link for link in links if not link.startswith("#")}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert {"tables/accuracy.tex", "tables/statistics.csv", "figures/curves.pdf"} <= files
    assert all((tmp_path / file).exists() for file in files)


@settings(deadline=None, max_examples=20)
@given(st.text(st.characters() | st.sampled_from("<>&;\"'{}%#/!-"), min_size=1))
@example("{{ study }} {% raw %} &lt; <!-- ]]> 😀 日本")
def test_any_label_is_shown_as_it_is(label: str) -> None:
    page = Page()
    with TemporaryDirectory() as folder:
        page.feed(make(Path(folder), label := f"{one_line(label)}."))
    # In both tables, in the opening, in the case, and in words on the data sets; the settings are
    # YAML.
    assert page.text.count(label) >= 3 + 4 + 9


def test_a_case_is_shown_whole_and_read_without_a_mouse(tmp_path: Path) -> None:
    html = make(tmp_path, "a <b> & c")
    case = html.split('<section id="table-cases"')[1].split("</section>")[0]
    assert "<summary>Drawn (example 7): <bdi>a &lt;b&gt; &amp; c</bdi></summary>" in case
    assert '<h4>Most popular</h4>\n<p class="note">target: rank 1</p>' in case
    assert "<li><bdi><mark>a &lt;b&gt; &amp; c</mark></bdi> (target)</li>" in case
    assert 'href="tables/cases.csv"' in case


def test_the_page_is_accessible(tmp_path: Path) -> None:
    page = Page()
    page.feed(make(tmp_path))
    assert ("html", {"lang": "en"}) in page.tags
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_page_opens_with_the_summary_and_a_terminal_shows_it(tmp_path: Path) -> None:
    before, after = make(tmp_path, "a & b").split("<nav", 1)
    sentence = ("One study of a & b " * 9).strip()
    assert f"<dt>What was run</dt><dd>{escape(sentence)}</dd>" in before
    assert "tables/summary.csv" in before
    assert "Table: Summary" not in after
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert " ".join(line.strip() for line in lines) == f"What was run: {sentence}"
    assert len(lines) == 2
    assert max(map(len, lines)) <= 100


def test_the_manifest_says_what_was_used_and_names_no_path_of_the_machine(tmp_path: Path) -> None:
    run = tmp_path / "models/toy/tiny/cft/seed-0/run.json"
    losses = {"steps": 2, "best_epoch": 1, "valid_loss": 0.1}
    machine = {"device": "a GPU", "processor": "a CPU", "python": "3", "versions": {"torch": "2"}}
    write_json(losses | machine | {"code": "abc", "backbone": {"sha256": {"w": "01"}}}, run)
    catalogue(tmp_path, [0, 1])
    split(tmp_path, [[0], [1, 0]])
    test = tmp_path / "data/toy/examples/test.parquet"
    write_json({"raw_sha256": {"reviews": "02"}}, tmp_path / "data/toy/preparation.json")
    study = {"backbones": [{"path": f"{tmp_path}/weights"}], "prompt": "a/b"}
    found = manifest(study, 10, [test], [run])
    assert found["study"] == {"backbones": [{"path": "weights"}], "prompt": "a/b"}
    assert str(tmp_path) not in str(found)
    assert found["trainings"] == {"toy/tiny/cft/seed-0": losses}
    assert found["backbones"] == {"toy/tiny": {"w": "01"}}
    assert found["machine"]["processors"] == ["a CPU"]
    assert found["code"]["trained"] == ["abc"]
    assert found["data"]["toy"]["raw"] == {"reviews": "02"}
    # The rows count, and not how they are packed.
    pq.write_table(pq.read_table(test), test, compression="none")
    assert manifest(study, 10, [test], [run]) == found
    split(tmp_path, [[0], [0, 1]])
    changed = manifest(study, 10, [test], [run])["data"]["toy"]
    assert changed["test"] != found["data"]["toy"]["test"]
    assert changed["catalogue"] == found["data"]["toy"]["catalogue"]


def test_tables_and_figures_stand_under_their_questions(tmp_path: Path) -> None:
    html = make(tmp_path)
    headings = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", html)
    assert headings == [
        *("What is the data?", "Table: Statistics", "How accurate is each method?"),
        *("Table: Accuracy", "What does each part of CFT add?", "Figure: Curves"),
        *("Who gains?", "Table: Cases", "How was it made?"),
    ]


def test_every_output_with_a_caption_answers_a_question() -> None:
    shown = {f"table_{output.name}": output for output in OUTPUTS if output.table}
    shown |= {f"figure_{output.name}": output for output in OUTPUTS if output.figure}
    assert {path.stem for path in CAPTIONS.glob("*.rst")} == set(shown)
    assert all(output.question for output in shown.values())
    assert len(OUTPUTS) == len({output.name for output in OUTPUTS})


def test_the_revision_is_that_of_the_code_itself(tmp_path: Path) -> None:
    assert revision(tmp_path) == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = revision(tmp_path)
    assert re.fullmatch("[0-9a-f]{40,64}", commit)
    assert revision(tmp_path / "inner") == "unknown"
    (tmp_path / "inner" / "file").write_text("2")
    assert revision(tmp_path) == f"{commit}, with changes"


def test_a_missing_caption_is_named(tmp_path: Path) -> None:
    write(Table(pd.DataFrame({"a": ["1"]}), [], left=1), None, tmp_path / "other.csv")
    with pytest.raises(InputError, match=r"table_other\.rst: cannot be read"):
        report(
            STUDY, [tmp_path / "other.json"], [], CAPTIONS, [], [], [], 10, tmp_path / "report.html"
        )


@pytest.mark.parametrize("path", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_are_plain_paragraphs(path: Path) -> None:
    text = path.read_text()
    # Strict: any complaint of docutils is an error.
    tree = publish_doctree(text, settings_overrides={"halt_level": 1, "report_level": 1})
    assert all(isinstance(node, paragraph) for node in tree.children)
    assert [" ".join(node.astext().split()) for node in tree.children] == paragraphs(text)
    # Snakemake's report renders captions with Jinja2.
    assert "{" not in text
