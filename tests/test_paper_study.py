"""The paper's study, the default of plain `snakemake`, can be planned on any machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_workflow import CODE, ELSEWHERE, ROOT, snakemake

pytestmark = pytest.mark.slow


def test_dry_run_lists_the_complete_study(tmp_path: Path) -> None:
    for name in CODE:
        (tmp_path / name).symlink_to(ROOT / name)
    done = snakemake(tmp_path, "--dry-run")
    output = done.stdout + done.stderr
    for rule in (
        *("download", "prepare", "recut", "sequential", "fetch_backbone", "finetune"),
        *("tune_assistant", "recommend", "token_effects", "table_accuracy", "figure_sensitivity"),
        *("figure_history_length", "report"),
    ):
        assert f"\n{rule} " in output, rule
    # What the primary claims need on Toys comes first.
    job = r"rule finetune:(?:\n    .*)*?\n    wildcards: (.*)\n    priority: (\S+)"
    jobs = sorted(re.findall(job, output), key=lambda found: -float(found[1]))
    assert [wildcards for wildcards, _ in jobs[:6]] == [
        f"dataset=toys, backbone=qwen2-0.5b, objective={objective}, seed={seed}"
        for objective in ("plain", "cft")
        for seed in range(3)
    ]
    # What a cluster is asked for grows with the backbone.
    asked = r"rule finetune:.*?backbone=([^,]+),.*?runtime=(\d+), mem_mb=(\d+)"
    found = {name: (int(minutes), int(mb)) for name, minutes, mb in re.findall(asked, output, re.S)}
    assert found["qwen2-0.5b"] < found["llama-3.2-1b"] < found["qwen2.5-1.5b"]


def test_a_config_file_replaces_the_papers_study_whole(tmp_path: Path) -> None:
    """Even one that lacks the study's name; without a file, `--config` changes the default."""
    (tmp_path / "mine.yaml").write_text("device: cpu\n", encoding="utf-8")
    dry_run = (*ELSEWHERE, "--dry-run", "--quiet", "all")
    done = snakemake(tmp_path, *dry_run, "--configfile", "mine.yaml", check=False)
    assert done.returncode != 0
    assert "study: missing; see config/README.md" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    snakemake(tmp_path, *dry_run, "--config", "device=cpu")
