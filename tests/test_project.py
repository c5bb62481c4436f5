"""What is written twice for different readers stays in step."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def pins(name: str) -> set[str]:
    """The pinned requirements of a file, without its comments."""
    lines = (ROOT / "envs" / name).read_text(encoding="utf-8").splitlines()
    return {line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()}


def test_every_requirement_is_pinned_and_explained() -> None:
    for name in ("requirements.txt", "development.txt", "slurm.txt"):
        text = (ROOT / "envs" / name).read_text(encoding="utf-8")
        for line in text.splitlines():
            if not line.startswith("#"):
                assert re.match(r"^[\w\-\[\]]+==[\w.]+ +# \S", line), line


def test_the_readme_is_short_and_its_lines_too() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(len(line) for line in lines if not line.startswith("![")) <= 100


def test_files_that_the_documents_link_to_exist() -> None:
    documents = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")]
    for name in ("README.md", "CONTRIBUTING.md", "config/README.md", *documents):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "PLACEHOLDER" not in text
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert ((ROOT / name).parent / target).exists(), f"{name} links to {target}"


def test_profiles_agree_where_they_need_not_differ() -> None:
    def profile(name: str) -> dict:
        return yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text(encoding="utf-8"))

    shared = profile("default")
    del shared["cores"], shared["resources"]
    for name in ("gpu", "slurm"):
        assert shared.items() <= profile(name).items(), name


def test_the_version_is_one_and_the_citation_names_each_author_once() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert citation["version"] == project["version"] == changes[0]
    # The format's schema refuses two authors that are alike.
    authors = citation["preferred-citation"]["authors"]
    assert len({tuple(author.items()) for author in authors}) == len(authors)
