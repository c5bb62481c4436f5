"""The whole workflow on a generated data set, and what each edit reruns."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from scripts.study.config import load
from scripts.study.jobs import jobs_of
from scripts.study.outputs import OUTPUTS
from scripts.study.status import so_far, strangers
from tests.generate_amazon import generate
from tests.hub_server import commit_of, serve
from tests.torture import torture

ROOT = Path(__file__).resolve().parent.parent
CODE = ("Snakefile", "workflow", "scripts", "config", "envs", "profiles")
#: For a study in another folder than the checkout.
ELSEWHERE = ("--snakefile", str(ROOT / "Snakefile"))
SMOKE = str(ROOT / "config/smoke.yaml")
#: What hangs on everything: these may rerun with any new cell.
SUMMARIES = re.compile(r"((analysis|table|figure)_\w+|report|all)$")

pytestmark = pytest.mark.slow


def snakemake(folder: Path, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the copied workflow in its own folder."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done


def planned(folder: Path, *options: str, config: str = "config/smoke.yaml") -> Counter[str]:
    """Jobs of a dry-run by rule and, where there are any, the values of their wildcards."""
    done = snakemake(folder, "--dry-run", "--configfile", config, *options)
    jobs: Counter[str] = Counter()
    for block in re.split(r"\n(?=(?:local)?rule )", done.stdout + done.stderr):
        if rule := re.match(r"(?:local)?rule (\w+):", block):
            wildcards = re.search(r"^    wildcards: (.*)$", block, re.MULTILINE)
            values = re.findall(r"=([^,]+)", wildcards[1]) if wildcards else []
            jobs[" ".join([rule[1], *values])] += 1
    return jobs


def cells_of(jobs: Counter[str]) -> list[str]:
    """The planned jobs that make no summary."""
    return [job for job in jobs if not SUMMARIES.match(job.split()[0])]


def rules_of(jobs: Counter[str]) -> set[str]:
    """Names of their rules."""
    return {re.sub("^(recommend|per_example)_.*", r"\1", job.split()[0]) for job in cells_of(jobs)}


def test_a_live_run_is_not_joined_and_a_killed_one_needs_no_unlocking(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from scripts.files import freed_of_dead_runs
LIVES = freed_of_dead_runs(Path(".snakemake"))
rule all:
    output: "made"
    shell: "sleep {{config[seconds]}}; touch {{output}}"
""")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", "seconds=20"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as live:
        while not [*tmp_path.glob(".snakemake/incomplete/*")]:
            time.sleep(0.1)
        second = snakemake(tmp_path, "--config", "seconds=0", check=False)
        live.kill()
    assert "LockException" in second.stderr
    assert [*tmp_path.glob(".snakemake/locks/*")]
    snakemake(tmp_path, "--config", "seconds=0", "--rerun-incomplete")
    assert (tmp_path / "made").exists()


def test_a_study_that_is_killed_on_its_way_to_a_model_makes_the_same_model(tmp_path: Path) -> None:
    target = "results/smoke/models/generated/tiny/cft/seed-0/run.json"
    torture(tmp_path / "torture", kills=3, seed=0, targets=[target], stride=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the smoke study has run once."""
    folder = tmp_path_factory.mktemp("project")
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    generate(folder / "generated", users=60, items=60, seed=0)
    snakemake(folder, "--configfile", "config/smoke.yaml")
    return folder


@pytest.fixture
def edited(finished: Path):
    """Edit files of the copied project; they are restored afterwards."""
    originals: dict[Path, str] = {}

    def edit(name: str, old: str, new: str) -> None:
        path = finished / name
        text = path.read_text(encoding="utf-8")
        originals.setdefault(path, text)
        assert old in text, f"{name} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    yield edit
    for path, text in originals.items():
        path.write_text(text, encoding="utf-8")


def variant(folder: Path, change) -> str:
    """A changed copy of the smoke study's configuration."""
    config = yaml.safe_load((folder / "config/smoke.yaml").read_text(encoding="utf-8"))
    change(config)
    path = folder / "variant.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path.name


def test_every_output_exists(finished: Path) -> None:
    results = finished / "results/smoke"
    tables = {path.stem for path in (results / "tables").glob("*.csv")}
    figures = {path.stem for path in (results / "figures").glob("*.pdf")}
    # One backbone and one data set.
    absent = {"backbones", "beyond_amazon"}
    assert tables == {output.name for output in OUTPUTS if output.table} - absent
    assert figures == {output.name for output in OUTPUTS if output.figure}
    for name in tables:
        assert (results / f"tables/{name}.md").stat().st_size
        assert (results / f"tables/{name}.tex").stat().st_size
    report = (results / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"']https?://", report), "the report fetches something"
    assert len(re.findall("^What ", (results / "summary.txt").read_text("utf-8"), re.M)) == 5
    assert not list(results.rglob("*.partial"))
    assert not list(results.rglob("*.checkpoints"))


def test_every_job_is_done_and_its_log_where_the_status_looks(finished: Path, monkeypatch) -> None:
    monkeypatch.chdir(finished)
    study = load(Path("config/smoke.yaml"))
    jobs = jobs_of(study)
    assert {job.state for job in jobs} == {"done"}
    assert [job.name for job in jobs if not job.seconds] == []
    assert set(Path("results/smoke/logs").rglob("*.log")) <= {job.log for job in jobs}
    assert strangers(study) == []
    lists = "results/smoke/metrics/generated/tiny/cft/seed-{}/constrained/with.parquet"
    value = sum(pd.read_parquet(lists.format(seed))["ndcg@10"].mean() for seed in (0, 1)) / 2
    line = f"  generated tiny cft constrained: {value:.4f}, 2 of 2 seeds, 30 examples"
    assert [one.split(";")[0] for one in so_far(study)].count(line) == 1


def test_accuracy_is_what_the_lists_say(finished: Path) -> None:
    """HR@5 of one method, recomputed by hand from the recommendations of both seeds."""
    results = finished / "results/smoke"
    test = pd.read_parquet(results / "data/generated/examples/test.parquet")
    items = pd.read_parquet(results / "data/generated/catalogue.parquet")
    titles = items.set_index("item_id")["title"]
    hits = []
    for seed in (0, 1):
        cell = f"generated/tiny/cft/seed-{seed}/constrained/with"
        lists = pd.read_parquet(results / f"recommendations/{cell}.parquet")
        for example, group in lists.groupby("example_id"):
            target = test.loc[test["example_id"] == example, "target"].item()
            top = group.sort_values("rank").head(5)["item_id"]
            hits.append(titles[target] in set(titles[top]))
    accuracy = pd.read_csv(results / "analyses/accuracy.csv")
    row = accuracy.query(
        "objective == 'cft' and decoder == 'constrained' and history == 'with' "
        "and metric == 'hr' and k == 5"
    )
    assert row["value"].item() == pytest.approx(sum(hits) / len(hits), abs=1e-6)
    assert row["seeds"].item() == 2


def test_recut_data_sets_stand_in_no_other_table(finished: Path) -> None:
    analyses = finished / "results/smoke/analyses"
    lengths = pd.read_csv(analyses / "history_length.csv")
    assert set(lengths["dataset"]) == {"generated"}
    assert set(lengths["length"]) == {2, 10}
    # At the data set's own length the experiments' cell serves.
    for objective in ("plain", "cft"):
        cell = f"metrics/generated/tiny/{objective}/seed-0/constrained/with.parquet"
        own = pd.read_parquet(analyses.parent / cell)
        rows = lengths[(lengths["length"] == 10) & (lengths["objective"] == objective)]
        rows = rows[rows["k"].notna()]
        assert len(rows) == 12
        names = [f"{m}@{k:.0f}" for m, k in zip(rows["metric"], rows["k"], strict=True)]
        # A K beyond the list is null in both.
        expected = own[names].mean(skipna=False).tolist()
        assert rows["value"].tolist() == pytest.approx(expected, abs=1e-6, nan_ok=True)
    for file in analyses.glob("*.csv"):
        assert "+history" not in file.read_text(encoding="utf-8"), file.name
    assert not list((finished / "results/smoke").glob("recommendations/*+history*/baselines"))
    assert not list((finished / "results/smoke").glob("backbones/*+history*"))


def test_a_part_of_a_finished_study_makes_summaries_alone(finished: Path) -> None:
    jobs = planned(finished, "--config", "stage=1", "only={seeds: [0]}")
    assert jobs
    assert not rules_of(jobs)


def test_touch_and_comments_rerun_nothing(finished: Path, edited) -> None:
    edited("scripts/finetune/objective.py", "from __future__", "# A comment.\nfrom __future__")
    edited("scripts/finetune/objective.py", '"""Weighted sums of the token', '"""Sums of the token')
    for path in (finished / "scripts").rglob("*.py"):
        os.utime(path)
    assert not planned(finished)


def test_objective_retrains_models_and_nothing_upstream(finished: Path, edited) -> None:
    edited("scripts/finetune/objective.py", 'reduction="none")', 'reduction="none") * 1.0')
    jobs = planned(finished)
    assert rules_of(jobs) == {
        *("finetune", "tune_assistant", "validate", "recommend", "per_example", "token_effects"),
        "audit",
    }
    assert not any("baselines" in job for job in jobs)
    trained = [job for job in jobs if job.startswith("finetune")]
    models = (finished / "results/smoke/models").glob("*/*/*/seed-*")
    assert len(trained) == sum(path.is_dir() for path in models)  # Those of baselines are files.


def test_one_figure_redraws_alone(finished: Path, edited) -> None:
    edited("scripts/figures/balance.py", "def balance(", "CHANGED = 1\n\n\ndef balance(")
    assert set(planned(finished)) == {"figure_balance", "report", "all"}


def test_decoder_code_reruns_recommendations_only(finished: Path, edited) -> None:
    edited("scripts/decode/constrained.py", "np.argsort(-total", "np.argsort(0 - total")
    decoding = {"tune_assistant", "validate", "recommend", "per_example", "audit"}
    jobs = planned(finished)
    assert rules_of(jobs) == decoding | {"finetune", "token_effects"}
    # A choice on the validation split may fall otherwise.
    trained = [job for job in jobs if job.startswith("finetune")]
    assert trained == ["finetune generated tiny weighted 0"]


def with_decoder(config: dict) -> None:
    config["decoders"]["wide"] = config["decoders"]["constrained"] | {"beams": 7}
    config["experiments"][0]["decoders"].append("wide")


def with_backbone(config: dict) -> None:
    config["backbones"]["small"] = config["backbones"]["tiny"]
    config["experiments"].append(config["experiments"][0] | {"backbones": ["small"]})


def with_data_set(config: dict) -> None:
    config["datasets"]["other"] = copy.deepcopy(config["datasets"]["generated"])
    config["datasets"]["other"]["preparation"]["k_core"] = 4
    config["experiments"].append(config["experiments"][0] | {"datasets": ["other"]})


DECODED = {"recommend", "per_example"}
TRAINED = {"finetune", "token_effects"} | DECODED
MADE = {"scratch_backbone", "title_tokens"} | TRAINED


def test_lists_go_out_and_come_back(finished: Path) -> None:
    metrics = finished / "results/smoke/metrics/generated/baselines"
    run = "results/smoke/trec/generated/baselines/sasrec/seed-0.run"
    given = {"kind": "lists", "files": {"generated": {"with": run}}}
    config = variant(finished, lambda c: c["baselines"].update(given=given))
    wanted = "results/smoke/metrics/generated/baselines/given/seed-0.parquet"
    done = snakemake(finished, wanted, "--configfile", config, check=False)
    assert f"{run} (baselines.given.files.generated.with)" in done.stdout + done.stderr
    snakemake(finished, run, "recbole", "--configfile", "config/smoke.yaml")
    assert rules_of(planned(finished, config=config)) == {"given_lists", "per_example"}
    snakemake(finished, wanted, "--configfile", config)
    both = [metrics / name / "seed-0.parquet" for name in ("sasrec", "given")]
    assert both[0].read_bytes() == both[1].read_bytes()


@pytest.mark.parametrize(
    ("change", "own", "rules"),
    [
        (
            lambda c: c["history_length"][0]["lengths"].append(5),
            r"generated\+history5",
            {"recut", "finetune"} | DECODED,
        ),
        (lambda c: c["experiments"][0]["seeds"].append(7), r"seed-7|\b7\b", TRAINED),
        # All lists of a model are measured together.
        (with_decoder, "wide|^per_example_", DECODED),
        (with_backbone, "small", MADE),
    ],
    ids=["length", "seed", "decoder", "backbone"],
)
def test_what_is_new_runs_its_own_cells(finished: Path, change, own: str, rules: set[str]) -> None:
    jobs = planned(finished, config=variant(finished, change))
    assert rules_of(jobs) == rules
    assert all(re.search(own, job) for job in cells_of(jobs))


def test_a_backbone_of_a_hub_from_download_to_table(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter on the scratch backbone of the smoke study, which a hub on this machine has."""
    shutil.copytree(finished / "results/smoke/backbones/generated/tiny", tmp_path / "some/tiny")

    def change(config: dict) -> None:
        block, decoders = config["experiments"][0], config["decoders"]
        kept = {key: config[key] for key in ("device", "threads", "datasets", "backbones")}
        kept["decoders"] = {"constrained": decoders["constrained"]}
        kept["backbones"]["tiny"]["source"] = {"kind": "hub", "id": "some/tiny"}
        kept["backbones"]["tiny"]["training"]["lora"] = {}
        kept["experiments"] = [block | {"objectives": ["cft"], "seeds": [0]}]
        kept["methods"] = [{"label": "D3 + CFT", "objective": "cft", "decoder": "constrained"}]
        config.clear()
        config.update(kept, study="hub")

    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    with serve(tmp_path) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        snakemake(finished, "table_accuracy", "--configfile", variant(finished, change))
    results, commit = finished / "results/hub", commit_of(tmp_path / "some/tiny")
    model = results / "models/generated/tiny/cft/seed-0"
    run = json.loads((model / "run.json").read_text(encoding="utf-8"))
    assert (run["backbone"]["id"], run["backbone"]["commit"]) == ("some/tiny", commit)
    card = (model / "README.md").read_text(encoding="utf-8")
    assert f"some/tiny at revision {commit}" in card
    assert f'"some/tiny", revision="{commit}"' in card
    assert len(pd.read_csv(results / "tables/accuracy.csv"))


def test_a_data_set_and_a_setting_of_another_touch_only_their_own_cells(finished: Path) -> None:
    """Beside a second data set that is still to be made, the change adds the first one's jobs."""

    def change(config: dict) -> None:
        with_data_set(config)
        config["datasets"]["generated"]["preparation"]["max_history"] = 6

    before = planned(finished, config=variant(finished, with_data_set))
    assert rules_of(before) == {"prepare", "most_popular", "transitions", "sequential"} | MADE
    assert all("other" in job for job in cells_of(before))
    added = planned(finished, config=variant(finished, change)) - before
    assert {"prepare", "finetune", "sequential", "recommend"} <= rules_of(added)
    assert all("generated" in job for job in cells_of(added))


def test_labels_redraw_without_recomputing(finished: Path) -> None:
    def change(config: dict) -> None:
        for kind in ("datasets", "backbones", "decoders", "baselines"):
            for name, entry in config[kind].items():
                entry["label"] = f"Another {name}"

    jobs = planned(finished, config=variant(finished, change))
    assert "table_accuracy" in jobs
    assert not rules_of(jobs)


def test_labels_and_sentences_reach_the_steps(finished: Path) -> None:
    """Whatever Snakemake, the shell and JSON take braces, quotes and dollars for."""
    text = "{dataset} {{x}} $HOME `id` \\n 'q' \"w\" %s 😀 日本 </b> | #"

    def change(config: dict) -> None:
        config["datasets"]["generated"]["label"] = text
        config["datasets"]["generated"]["prompt"]["instruction"] = text

    config = variant(finished, change)
    options = ["--dry-run", "--printshellcmds", "--configfile", config, "--forceall", "report"]
    done = snakemake(finished, *options)
    steps: dict[str, list[str]] = {}
    for line in re.findall(r"python -m scripts\..*$", done.stdout + done.stderr, re.MULTILINE):
        words = shlex.split(line)
        for option in {"--prompt", "--options", "--study"} & set(words):
            steps.setdefault(option, []).append(json.loads(words[words.index(option) + 1]))
    assert {value["instruction"] for value in steps["--prompt"]} == {text}
    assert {value["labels"]["datasets"]["generated"] for value in steps["--options"]} == {text}
    assert [value["datasets"]["generated"]["label"] for value in steps["--study"]] == [text]


@pytest.fixture(scope="module")
def elsewhere(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the finished study, its files' times in any order."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("generated", "results", ".snakemake"):
        shutil.copytree(finished / name, folder / name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    random.Random(0).shuffle(files)
    for second, path in enumerate(files, start=10**9):
        os.utime(path, (second, second))
    return folder


def test_a_copy_another_checkout_and_another_device_rerun_nothing(elsewhere: Path) -> None:
    assert not planned(elsewhere, *ELSEWHERE, "--config", "device=auto", config=SMOKE)


def test_a_job_in_a_container_finds_the_code(elsewhere: Path, monkeypatch, tmp_path) -> None:
    """A stand-in for apptainer, which like it hands on every variable but PATH."""
    programs = {
        "bin/apptainer": """
            [ "$1" = --version ] && echo apptainer version 1.4.0 && exit
            while [ "${1%.sif}" = "$1" ]; do shift; done
            shift
            PATH=$IMAGE:/usr/bin:/bin exec "$@"
            """,
        "image/python": f"""
            echo "$APPTAINER_BIND $@" >> "$IMAGE/calls"
            exec {sys.executable} "$@"
            """,
    }
    for name, text in programs.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"#!/bin/sh{text}", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("IMAGE", f"{tmp_path}/image")
    options = ["--sdm", "apptainer", "--apptainer-args=--nv", "--configfile", SMOKE]
    snakemake(
        elsewhere, *ELSEWHERE, *options, "--forcerun", "figure_cost", "--until", "figure_cost"
    )
    calls = (tmp_path / "image/calls").read_text(encoding="utf-8").splitlines()
    assert [call.split(" --")[0] for call in calls] == [f"{ROOT} -m scripts.figures cost"]


def test_another_workflow_uses_this_one_as_a_module(elsewhere: Path) -> None:
    accuracy = "results/smoke/analyses/accuracy.csv"
    text = f"""
module cft:
    snakefile: "{ROOT}/Snakefile"
    config: config

use rule * from cft as cft_*

rule mine:
    default_target: True
    input: "{accuracy}"
    output: "mine.csv"
"""
    (elsewhere / "Snakefile").write_text(text, encoding="utf-8")
    assert set(planned(elsewhere, config=SMOKE)) == {"mine"}
    prefixed = text.replace("config: config", 'config: config\n    prefix: "sub"')
    (elsewhere / "Snakefile").write_text(prefixed, encoding="utf-8")
    done = snakemake(elsewhere, "--dry-run", "--configfile", SMOKE, check=False)
    assert "takes neither `prefix` nor `replace_prefix`" in done.stdout + done.stderr


def test_what_was_put_there_by_hand_is_not_downloaded(finished: Path) -> None:
    raw, model = finished / "resources/raw", finished / "resources/backbones/some--one--main"
    for folder in (raw, model):
        folder.mkdir(parents=True)
    shutil.copy(finished / "generated/reviews.json.gz", raw / "other.json.gz")
    (model / "config.json").write_text("{}", encoding="utf-8")

    def change(config: dict) -> None:
        config["study"] = "by-hand"
        config["datasets"]["generated"]["source"]["reviews"] = "http://localhost/other.json.gz"
        config["backbones"]["tiny"]["source"] = {"kind": "hub", "id": "some/one"}

    config = variant(finished, change)
    facts = "results/by-hand/data/generated/preparation.json"
    snakemake(finished, facts, "--configfile", config)
    # Its checksum is recorded, so its time says nothing, even where it is too large for Snakemake.
    os.utime(raw / "other.json.gz")
    jobs = planned(finished, "--max-checksum-file-size", "1", config=config)
    assert "finetune" in rules_of(jobs)
    assert not {"download", "prepare", "fetch_backbone"} & rules_of(jobs)


def documented() -> dict[str, str]:
    """Every command that the documents show, with the document."""
    found: dict[str, str] = {}
    names = ["README.md", "CONTRIBUTING.md", "config/README.md"]
    for name in [*names, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]:
        text = (ROOT / name).read_text(encoding="utf-8")
        blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        lines = re.sub(r"\\\n\s*", " ", "\n".join(blocks)).splitlines()
        commands = [part for line in lines for part in re.sub(r" +#.*", "", line).split(" && ")]
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        commands += re.findall(
            r"`((?:\.venv/bin/|make|snakemake|python|hf|pre-commit) ?[^`]+)`", prose
        )
        found |= {" ".join(command.split()): name for command in commands if command.strip()}
    return found


#: Commands that this test does not run, by how they begin, and why.
NOT_RUN = {
    "git clone": "needs the network",
    "cd cft-reproduction": "needs the clone",
    "source .venv/bin/activate": "a shell's own",
    "make": "sets up an environment, or is what runs the tests",
    "pre-commit install": "needs the network",
    "hf auth login": "needs the network",
    "python -m tests.benchmarks": "takes minutes; its module is looked up",
    "python -m scripts.study.preflight --measure": "needs a GPU; test_study_preflight.py has one",
    "docker": "needs a daemon",
    "apptainer": "needs apptainer",
    "snakemake --sdm apptainer": "needs apptainer; a stand-in runs a job above",
    "snakemake --reporter": "needs a plugin that is not installed",
    "snakemake -n": "test_paper_study.py runs it",
    "snakemake --cores all": "needs a GPU",
    "snakemake --config device=cpu": "needs the network; test_paper_study.py plans it",
}


def test_every_documented_command_runs(finished: Path) -> None:
    """On the finished smoke study in place of the one that is named."""
    data = finished / "results/smoke/data/generated"
    test = pd.read_parquet(data / "examples/test.parquet")
    titles = pd.read_parquet(data / "catalogue.parquet")["title"]
    stand_ins = {
        "config/quickstart.yaml": "config/smoke.yaml",
        "my.yaml": "config/smoke.yaml",
        "results/quickstart": "results/smoke",
        "results/paper": "results/smoke",
        "../theirs": "results/smoke",
        "ml-100k": "generated",
        "90133": str(test["example_id"].iloc[0]),
        '"Die Hard"': shlex.quote(titles[0]),
        '"Speed"': shlex.quote(titles[1]),
        "<name>": "accuracy",
        "--config stage=1": "-n --config stage=1",  # A part has other summaries.
        "[toys]": "[generated]",
        ".venv/bin/": "",
    }
    used = set()
    for command, name in documented().items():
        if reason := next((r for r in NOT_RUN if re.match(rf"{re.escape(r)}\b", command)), None):
            exact = command == reason or reason not in ("snakemake -n", "snakemake --cores all")
            used.add(reason)
            if exact:
                if module := re.search(r"tests\.benchmarks\.\w+", command):
                    assert importlib.util.find_spec(module[0]), f"{name}: {command}"
                continue
        for shown, real in stand_ins.items():
            command = command.replace(shown, real)
        words = shlex.split(command)
        if words[0] == "snakemake":
            words[0:1] = ["python", "-m", "snakemake"]
            if "--configfile" not in words:
                words += ["--configfile", "config/smoke.yaml"]
            if "--cores" not in words:
                words[3:3] = ["--cores", "2"]
        elif len(words) == 3 and words[2] != "scripts.study.document":
            words.append("--help")  # A step that is named without its options.
        words[0] = sys.executable
        done = subprocess.run(words, cwd=finished, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {command}\n{done.stdout}{done.stderr}"
    assert used == set(NOT_RUN)


def test_after_a_failed_training_the_old_model_is_not_the_new_one(finished: Path, edited) -> None:
    """The last test: it leaves a model behind that is not there."""
    edited("scripts/finetune/train.py", "def finetune(", "int('no number')\n\n\ndef finetune(")
    target = "results/smoke/models/generated/tiny/cft/seed-1/run.json"
    options = ("--configfile", "config/smoke.yaml", "--", target)
    done = snakemake(finished, *options, check=False)
    assert done.returncode != 0
    assert "FAILED; the end of results/smoke/logs/models/generated/tiny/cft/seed-1" in done.stderr
    assert "invalid literal for int() with base 10: 'no number'" in done.stderr
    assert rules_of(planned(finished, "--", target)) == {"finetune"}
