import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from docutils.core import publish_doctree
from docutils.nodes import paragraph

from scripts.command import InputError
from scripts.files import write_text
from scripts.report import paragraphs, report
from scripts.tables.format import write

CAPTIONS = Path(__file__).parents[1] / "workflow" / "report"


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def make(tmp_path: Path) -> str:
    frame = pd.DataFrame({"Method": ["<script>alert(1)</script>"], "HR@1": ["0.5"]})
    write(frame, tmp_path / "accuracy.csv", ["A note."], left=1, bold={(0, "HR@1")})
    write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", tmp_path / "curves.svg")
    report(
        "toy & co",
        [tmp_path / "accuracy.csv"],
        [tmp_path / "curves.pdf"],
        CAPTIONS,
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
    addresses = [v for _, attrs in page.tags for k, v in attrs.items() if k in {"src", "href"}]
    assert all(address.startswith(("#", "data:image/svg+xml;base64,")) for address in addresses)
    assert not re.search(r"url\(|@import", html)
    assert "<script>alert(1)</script>" in page.text
    assert "<strong>0.5</strong>" in html
    for text in ("toy & co", "A note.", "accuracy.tex", "curves.png"):
        assert text in page.text
    anchors = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {address[1:] for address in addresses if address.startswith("#")} == anchors


def test_a_missing_caption_is_named(tmp_path: Path) -> None:
    write(pd.DataFrame({"a": ["1"]}), tmp_path / "other.csv", [], left=1)
    with pytest.raises(InputError, match=r"table_other\.rst: cannot be read"):
        report("toy", [tmp_path / "other.csv"], [], CAPTIONS, tmp_path / "report.html")


@pytest.mark.parametrize("path", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_are_plain_paragraphs(path: Path) -> None:
    text = path.read_text()
    # Strict: any complaint of docutils is an error.
    tree = publish_doctree(text, settings_overrides={"halt_level": 1, "report_level": 1})
    assert all(isinstance(node, paragraph) for node in tree.children)
    assert [" ".join(node.astext().split()) for node in tree.children] == paragraphs(text)
    # Snakemake's report renders captions with Jinja2.
    assert "{" not in text
