import itertools
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scripts.command import InputError
from scripts.files import read_csv, read_json
from scripts.labels import one_line
from scripts.rows import in_order
from scripts.tables.format import _LATEX, Table, escape_latex, number, with_interval, with_sd, write


def read_back(folder: Path) -> dict[str, list]:
    """What a Markdown reader makes of `t.md`: just what `t.json` holds."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found: dict[str, list] = {"header": [], "rows": [], "notes": []}
    for before, token in itertools.pairwise(reader.parse((folder / "t.md").read_text())):
        text = "".join(child.content for child in token.children or [])
        if token.type == "tr_open" and found["header"]:
            found["rows"].append([])
        elif before.type == "td_open":
            bold = any(child.type == "strong_open" for child in token.children)
            found["rows"][-1].append({"text": text, "bold": bold})
        elif token.type == "inline":
            found["header" if before.type == "th_open" else "notes"].append(text)
    assert found == read_json(folder / "t.json")
    return found


def test_numbers() -> None:
    assert number(-0.12345) == "−0.1235"
    assert number(float("nan")) == "–"
    assert with_sd(0.5, float("nan")) == "0.5000"
    assert with_sd(0.5, 0.01, 2) == "0.50 ± 0.01"
    assert with_interval(0.1, -0.05, 0.2, 2, sign=True) == "+0.10 [−0.05, +0.20]"
    assert with_interval(float("nan"), 0, 0) == "–"


#: What LaTeX makes of a command, as its manuals say.
COMMANDS = {
    **{"textbackslash": "\\", "textasciigrave": "`", "textasciitilde": "~", "textasciicircum": "^"},
    **{"textless": "<", "textgreater": ">", "textbar": "|", "textendash": "–"},
    **{"pm": "±", "times": "×", "Delta": "Δ", "alpha": "α", "beta": "β", "-": "−"},
}


def printed(source: str) -> str:
    """What LaTeX prints of a paragraph; fails at what it would not print as it stands."""
    tokens = {
        r"\\([a-z]+)\{\}|\$\\?(-|[A-Za-z]+)\$": lambda m: COMMANDS[m[1] or m[2]],
        r"\\([&%$#_{}])": lambda m: m[1],
        r"\{\}": lambda m: "",
        r"([^\\&%$#_{}~^`<>|',-]|([',-])(?!\2))": lambda m: m[1],
    }
    text = ""
    while source:
        match, show = next(
            (m, s) for t, s in tokens.items() if (m := re.match(t, source, re.DOTALL))
        )
        text, source = text + show(match), source[match.end() :]
    return text


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_characters="\0") | st.sampled_from([*_LATEX, *"'-,"])))
@example("a---b, ''c'', 'd' –- ±")
def test_latex_prints_the_text(text: str) -> None:
    assert printed(escape_latex(text)) == text.replace("\0", "")


def test_four_formats(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Name": ["a|b", "c_d <i>", "*"], "HR@1": ["0.5", "0.7", None]})
    write(Table(frame, ["A note.", ""], 1, {(1, "HR@1")}), None, tmp_path / "t.csv")
    assert read_csv(tmp_path / "t.csv")["HR@1"].tolist() == ["0.5", "0.7", "–"]
    tex = (tmp_path / "t.tex").read_text()
    assert r"c\_d \textless{}i\textgreater{} & \textbf{0.7} \\" in tex
    assert tex.count(r"\toprule") == tex.count(r"\midrule") == tex.count(r"\bottomrule") == 1
    table = read_back(tmp_path)
    assert table["header"] == ["Name", "HR@1"]
    assert [[(cell["text"], cell["bold"]) for cell in row] for row in table["rows"]] == [
        [("a|b", False), ("0.5", False)],
        [("c_d <i>", False), ("0.7", True)],
        [("*", False), ("–", False)],
    ]
    assert table["notes"] == ["A note."]


def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    formulas = [
        '=HYPERLINK("http://a.example")',
        "@SUM(1)",
        "+1+cmd|' /C calc'!A0",
        "-2+f(1)",
        "＝f(1)",
    ]
    texts = ["+0.01 [−0.02, +0.04]; p < 0.001", "−1", "+3.5 %", "a=b", "-", "'t", "+0.1 ± 0.2"]
    frame = pd.DataFrame({"=f(1)": [*formulas, *texts, "\t=f(1)"]})
    write(Table(frame, [], left=1), None, tmp_path / "t.csv")
    found = read_csv(tmp_path / "t.csv")
    assert found.columns.tolist() == ["'=f(1)"]
    assert found["'=f(1)"].tolist() == [*(f"'{cell}" for cell in formulas), *texts, "'=f(1)"]
    assert read_back(tmp_path)["rows"][0][0]["text"] == formulas[0]


@settings(deadline=None, max_examples=50)
@given(*[st.text(st.characters() | st.sampled_from("#*_`[](){}<>|\\!&;:~$-+=.1 '^%"))] * 3)
@example("a|b", "*x* _y_ `z` **z** ~~x~~", "# no heading")
@example(r"a\(b", "[a](b)", "&lt;b&gt; & <i> $5, $6")
@example("x", "[x]", "[x]: http://a.example")
@example("a\nb", "two\n\nparagraphs", "1. no\n- list")
def test_any_text_is_shown_as_it_is(header: str, cell: str, note: str) -> None:
    header, cell, note = (f"{one_line(text)}." for text in (header, cell, note))
    frame = pd.DataFrame({"Name": [cell], header: ["1"]})
    with TemporaryDirectory() as folder:
        write(Table(frame, [note], 1, {(0, "Name")}), None, Path(folder) / "t.csv")
        shown = read_back(Path(folder))
    assert shown == {
        "header": ["Name", header],
        "rows": [[{"text": cell, "bold": True}, {"text": "1", "bold": False}]],
        "notes": [note],
    }


def test_wide_latex_tables_are_stacked(tmp_path: Path) -> None:
    names = [f"Δ of a long name {i}" for i in range(5)]
    row = dict.fromkeys(names, "−0.1 [−0.2, +0.0]; p 0.042")
    for columns, stacked in ((names, True), (names[:2], False)):
        frame = pd.DataFrame([{"Title": "Alien [1979]"} | {name: row[name] for name in columns}])
        write(Table(frame, [], 1, {(0, names[0])}), None, tmp_path / "t.csv")
        text = (tmp_path / "t.tex").read_text()
        lines = r"\textbf{$-$0.1}\\{}\textbf{[$-$0.2, +0.0]}\\{}\textbf{p 0.042}"
        assert (lines in text) == stacked
        assert (r"$\Delta$ of a long\\{}name 0" in text) == stacked
        assert "Alien [1979] &" in text
        assert "; p 0.042" in (tmp_path / "t.md").read_text()


def test_repeated_names_are_left_blank(tmp_path: Path) -> None:
    """Only below the same names, and never the last of them; the CSV has them all."""
    cells = {"Set": "aaab", "Backbone": "xxyy", "Objective": "ppqq", "HR": "1234"}
    frame = pd.DataFrame({name: list(column) for name, column in cells.items()})
    write(Table(frame, [], left=3), None, tmp_path / "t.csv")
    assert read_csv(tmp_path / "t.csv")["Set"].tolist() == list("aaab")
    assert [[cell["text"] for cell in row] for row in read_back(tmp_path)["rows"]] == [
        ["a", "x", "p", "1"],
        ["", "", "p", "2"],
        ["", "y", "q", "3"],
        ["b", "y", "q", "4"],
    ]
    # One rule below the header, one where a new set begins.
    assert (tmp_path / "t.tex").read_text().count(r"\midrule") == 2


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to show"):
        write(Table(pd.DataFrame({"a": []}), [], left=1), None, tmp_path / "t.csv")


def test_order_of_first_appearance() -> None:
    frame = pd.DataFrame({"a": ["y", "x", "y"], "b": [2, 2, 1]})
    assert in_order(frame, ["a", "b"]).to_numpy().tolist() == [["y", 2], ["y", 1], ["x", 2]]
