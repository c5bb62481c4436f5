"""The tables compile in LaTeX, whatever stands in their cells."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from scripts.tables.format import _LATEX, INTERVALS, Table, write

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\begin{document}
\input{table.tex}
\end{document}
"""


def compiled(folder: Path) -> str:
    """The log of a run over `table.tex` in a folder; fails with it where LaTeX stops."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (folder / "document.tex").write_text(DOCUMENT)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "document.tex"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    return (folder / "document.log").read_text(errors="replace")


def test_every_character_of_titles_compiles(tmp_path: Path) -> None:
    titles = [
        *("[First] & last", "*Starred", "50 % off_now #1 {x} ~ ^ \\ $5", "<b>|</b>"),
        *("“Amélie” – naïve…", "C:\\new\\textbf{x}", "'quoted' \"twice\"", ""),
        "".join(_LATEX),
    ]
    frame = pd.DataFrame({"Title_%": titles, "HR@5": "0.1 ± 0.2 [−1, +1]"})
    bold = {(i, column) for i in range(len(titles)) for column in frame}
    write(Table(frame, [INTERVALS, *titles], 1, bold), None, tmp_path / "table.csv")
    compiled(tmp_path)


def test_a_wide_table_is_shrunk_to_the_line(tmp_path: Path) -> None:
    row = {f"Column {i}": "+0.0030 [−0.0126, +0.0167]; p 0.041" for i in range(12)}
    write(Table(pd.DataFrame([row] * 3), [], left=2), None, tmp_path / "table.csv")
    assert "Overfull \\hbox" not in compiled(tmp_path)
