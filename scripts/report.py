"""One self-contained HTML page with every table and figure of a study, by question."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.command import InputError, run
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.extensions import own
from scripts.files import read_csv, read_json, read_table, write_json, write_text
from scripts.fingerprint import ROOT, fingerprint
from scripts.study.outputs import Output, with_own
from scripts.tables.cases import examples

#: Of whose code `manifest.json` holds fingerprints.
STEPS = (
    *("data.prepare", "baselines.sequential", "finetune.train", "decode.recommend"),
    "evaluate.per_example",
)


def _text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a plain text, each on one line."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _groups(entries: list[dict[str, Any]], outputs: list[Output]) -> list[dict[str, Any]]:
    """Tables and figures by question, both in the order of the outputs, a table before the figure
    of its name; a question without any is left out."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for output in outputs:
        of_question = groups.setdefault(output.question, [])
        of_question += [entry for entry in entries if entry["name"] == output.name]
    return [
        {"question": question, "anchor": f"question-{number}", "entries": of_question}
        for number, (question, of_question) in enumerate(groups.items(), start=1)
        if of_question
    ]


def _entry(path: Path, kind: str, caption: str, endings: list[str], base: Path) -> dict[str, Any]:
    """What tables and figures have in common: names, caption and addresses of the files."""
    files = {ending: path.with_suffix(f".{ending.lower()}") for ending in endings}
    return {
        "name": path.stem,
        "kind": kind,
        "title": path.stem.replace("_", " ").replace("-", " ").capitalize(),
        "anchor": f"{kind}-{path.stem}",
        "caption": paragraphs(caption),
        "files": {
            ending: quote(Path(os.path.relpath(file, base)).as_posix())
            for ending, file in files.items()
        },
    }


def revision(folder: Path) -> str:
    """Commit of the code in a folder and whether files differ from it; "unknown" without git."""
    try:
        found = [
            subprocess.run(
                ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
            ).stdout
            for command in (
                ["rev-parse", "--show-prefix", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    prefix, commit = found[0].split("\n")[:2]
    if prefix:  # A copy inside the repository of something else.
        return "unknown"
    return f"{commit}, with changes" if found[1].strip() else commit


def _objective(name: str, settings: dict[str, Any]) -> str:
    weights = (
        "learned weights" if settings["token_weights"] == "learned" else f"β = {settings['beta']:g}"
    )
    own = f", {settings['module']}.py" if settings["module"] else ""
    return f"{name} (α = {settings['alpha']:g}, {weights}{own})"


def _distinct(values: Iterable[Any]) -> list[Any]:
    return sorted({value for value in values if value is not None})


def _machine(records: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """What the models were trained on and with, as far as the run records say it."""
    software = [{"python": r["python"], **r["versions"]} for r in records if "versions" in r]
    return {
        "devices": _distinct(record.get("device") for record in records),
        "processors": _distinct(record.get("processor") for record in records),
        "software": _distinct(", ".join(f"{k} {v}" for k, v in one.items()) for one in software),
    }


def _facts(study: dict[str, Any], runs: list[Path]) -> dict[str, str]:
    """The study in a few lines: what was compared, with which seeds, and on what it ran."""

    def named(kind: str) -> str:
        entries = study[kind].items()
        return "; ".join(entry.get("label") or name for name, entry in entries) or "none"

    def listed(values: Iterable[object]) -> str:
        return "; ".join(map(str, dict.fromkeys(values)))

    machine = _machine([read_json(path) for path in runs])
    seeds = sorted({seed for block in study["experiments"] for seed in block["seeds"]})
    part = [f"up to stage {study['stage']}"] if study["stage"] else []
    part += [f"{kind} {listed(names)} alone" for kind, names in study["only"].items() if names]
    used = dict.fromkeys(name for block in study["experiments"] for name in block["objectives"])
    facts = {
        "Part of the study": ", ".join(part),
        "Data sets": named("datasets"),
        "Backbones": named("backbones"),
        "Objectives": "; ".join(_objective(name, study["objectives"][name]) for name in used),
        "Decoders": named("decoders"),
        "Baselines": named("baselines"),
        "Seeds": f"{listed(seeds)}; of the baselines: {listed(study['baseline_seeds'])}",
        "Devices": listed(machine["devices"]),
        "Processors": listed(machine["processors"]),
        "Software": listed(machine["software"]),
        "Code": f"{revision(ROOT)} when this page was made",
    }
    return {name: text for name, text in facts.items() if text}


def _without_paths(value: Any) -> Any:
    """Settings in which an absolute path is its last name: the rest is this machine's affair."""
    if isinstance(value, dict):
        return {key: _without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_paths(one) for one in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value


def _content(path: Path, schema: pa.Schema) -> str:
    """SHA-256 of a table's rows: a file's bytes hang on the version of the library, too."""
    rows = read_table(path, schema).to_json(orient="records", lines=True)
    return hashlib.sha256(rows.encode()).hexdigest()


def manifest(study: dict[str, Any], k: int, tests: list[Path], runs: list[Path]) -> dict[str, Any]:
    """What a study was made from, for `scripts.compare` and for whoever gets its results.

    Args are those of `report`.

    Returns:
        k, study (settings), code (fingerprints of the steps when this is made, and of those that
        trained), data (by data set SHA-256 of the raw files, and of the rows of catalogue and test
        split), backbones (SHA-256 of their weights), machine, and trainings (by model its steps,
        best epoch and validation loss, to the last digit).
    """
    records = {"/".join(path.parts[-5:-1]): read_json(path) for path in runs}
    data = {}
    for path in tests:
        folder = path.parents[1]
        record = folder / "preparation.json"  # One that is cut from another data set has none.
        data[folder.name] = {
            "raw": read_json(record, needed=False).get("raw_sha256"),
            "catalogue": _content(folder / "catalogue.parquet", CATALOGUE),
            "test": _content(path, EXAMPLES),
        }
    steps = {step: fingerprint(f"scripts.{step}") for step in STEPS}
    trained = _distinct(record.get("code") for record in records.values())
    facts = ("steps", "best_epoch", "valid_loss")
    return {
        "k": k,
        "study": _without_paths(study),
        "code": steps | {"revision": revision(ROOT), "trained": trained},
        "data": data,
        "backbones": {
            name.rpartition("/")[0].rpartition("/")[0]: record.get("backbone", {}).get("sha256")
            for name, record in records.items()
        },
        "machine": _machine(records.values()),
        "trainings": {name: {f: one.get(f) for f in facts} for name, one in records.items()},
    }


def report(
    study: dict[str, Any],
    tables: list[Path],
    figures: list[Path],
    captions: Path,
    runs: list[Path],
    tests: list[Path],
    cases: list[Path],
    k: int,
    output: Path,
) -> None:
    """Gather tables, figures and captions in one HTML file that loads nothing from elsewhere.

    It opens with the table `summary` as sentences, which `summary.txt` beside it holds for a
    terminal. `manifest.json` holds what the study was made from.

    Args:
        study: the study's settings, defaults filled in.
        tables: `<name>.json`.
        figures: `<name>.svg`.
        captions: folder of `table_<name>.rst` and `figure_<name>.rst`, plain paragraphs.
        runs: run records of the fine-tuned models, for devices and versions.
        tests: test splits, `data/<data set>/examples/test.parquet`, for their checksums.
        cases: analysis of the case study, shown whole in the place of its table; none without one.
        k: the K that figures show.
        output: HTML to write.
    """

    def caption(kind: str, path: Path) -> str:
        """The text of a file; of the user's own tables and figures, their docstring."""
        if path.stem in study["outputs"]:
            return own(path.stem, kind).__doc__ or ""
        return _text(captions / f"{kind}_{path.stem}.rst")

    baselines = {name: one["label"] or name for name, one in study["baselines"].items()}
    browsers = {path.stem: examples(read_csv(path), baselines) for path in cases}
    shown = [
        _entry(path, "table", caption("table", path), ["CSV", "MD", "TEX"], output.parent)
        | {"table": read_json(path), "examples": browsers.get(path.stem)}
        for path in tables
    ]
    shown += [
        _entry(path, "figure", caption("figure", path), ["PDF", "SVG", "PNG", "CSV"], output.parent)
        | {"svg": base64.b64encode(_text(path.with_suffix(".svg")).encode()).decode()}
        for path in figures
    ]
    opening = [entry for entry in shown if entry["name"] == "summary"]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        study=study["study"],
        opening=opening,
        groups=_groups([e for e in shown if e not in opening], with_own(study["outputs"])),
        facts=_facts(study, runs),
        settings=yaml.safe_dump(study, sort_keys=False, allow_unicode=True, width=100),
    )
    sentences = [
        textwrap.fill(f"{topic['text']}: {sentence['text']}", 100, subsequent_indent="  ")
        for entry in opening
        for topic, sentence in entry["table"]["rows"]
    ]
    write_text("".join(f"{sentence}\n" for sentence in sentences), output.with_name("summary.txt"))
    write_json(manifest(study, k, tests, runs), output.with_name("manifest.json"))
    write_text(page + "\n", output)


if __name__ == "__main__":
    run(report)
