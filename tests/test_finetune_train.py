"""Fine-tuning of a tiny backbone: what is learnt, what is written, and what a kill leaves."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard, constants
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from scripts.backbones.fetch import fetch
from scripts.backbones.load import load_backbone, load_tokenizer
from scripts.backbones.scratch import make_scratch
from scripts.backbones.settings import Scratch
from scripts.command import InputError
from scripts.contracts import EXAMPLES
from scripts.data.prepare import prepare
from scripts.data.settings import Preparation
from scripts.examples import EVALUATION_SEED, read_titles, subsample
from scripts.files import read_csv, read_json, read_table, sha256, write_json
from scripts.finetune import callbacks, train, trainer
from scripts.finetune.order import StepOrder
from scripts.finetune.settings import LoRA, Objective, Training
from scripts.finetune.shortcuts import Shortcuts
from scripts.prompts import prompt_text, quoted
from tests.generate_amazon import generate
from tests.small_data import AMAZON, raw_files
from tests.small_language import PROMPT
from tests.tiny_models import whole_logits

pytestmark = pytest.mark.slow

PLAIN, CFT = Objective(), Objective(alpha=0.1, beta=0.25)
PLACEHOLDER = Objective(alpha=0.1, beta=0.25, counterfactual="placeholder")
LEARNED = Objective(alpha=0.1, token_weights="learned")
LORA = LoRA(rank=4, scale=8)
#: Eight optimiser steps an epoch, so that the curve's windows of five cross the epochs' ends.
TRAINING = Training(
    learning_rate=5e-3,
    batch_size=8,
    micro_batch_size=8,
    epochs=3,
    patience=3,
    warmup_steps=2,
    train_examples=64,
    valid_examples=16,
    max_tokens=256,
    precision="fp32",
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    generate(folder / "raw", users=20, items=18, seed=0)
    rules = Preparation(minimum_items=0, max_history=2)
    prepare(AMAZON, raw_files(folder / "raw"), rules, folder / "data")
    make_scratch(
        train=folder / "data" / "examples" / "train.parquet",
        catalogue=folder / "data" / "catalogue.parquet",
        prompt=PROMPT,
        settings=Scratch(kind="scratch", hidden_size=16, layers=2, heads=2, vocabulary=400),
        output=folder / "backbone",
        device="cpu",
    )
    return folder


def finetune(folder, output, objective=CFT, seed=0, backbone="backbone", tuning=None, **training):
    """Fine-tune with TRAINING but for the settings given; the output's folder."""
    train.finetune(
        backbone=folder / backbone,
        train=folder / "data" / "examples" / "train.parquet",
        valid=folder / "data" / "examples" / "valid.parquet",
        catalogue=folder / "data" / "catalogue.parquet",
        prompt=PROMPT,
        objective=Objective.model_validate(objective),
        training=Training.model_validate(TRAINING.model_dump() | training),
        seed=seed,
        output=output,
        tuning=tuning,
        device="cpu",
    )
    return output


@pytest.fixture(scope="session")
def undisturbed(folder):
    return finetune(folder, folder / "undisturbed")


def weights(output):
    return sha256(next(output.glob("*.safetensors")))


def load(folder, output):
    if (output / "adapter_config.json").is_file():
        backbone = AutoModelForCausalLM.from_pretrained(folder / "backbone")
        return PeftModel.from_pretrained(backbone, output).eval()
    return AutoModelForCausalLM.from_pretrained(output)


class Drawn(NamedTuple):
    """An example that a run draws."""

    example_id: int
    text: str
    prompt: list[int]
    answer: list[int]


def drawn(folder, size=8, split="train", seed=0):
    """The examples that a run draws of a split, with their tokens."""
    tokenizer = load_tokenizer(folder / "backbone")
    titles = read_titles(folder / "data" / "catalogue.parquet")
    examples = read_table(folder / "data" / "examples" / f"{split}.parquet", EXAMPLES)
    rows = []
    for example in subsample(examples, size, seed).itertuples():
        text = prompt_text(PROMPT, [titles[i] for i in example.history])
        answer = [*tokenizer(quoted(titles[example.target])).input_ids, tokenizer.eos_token_id]
        rows.append(Drawn(example.example_id, text, tokenizer(text).input_ids, answer))
    return rows


@torch.inference_mode()
def valid_loss(folder, model, beta):
    """The weighted normal loss of the validation examples, one whole forward pass at a time."""
    total = weight_sum = 0.0
    for *_, prompt, answer in drawn(folder, TRAINING.valid_examples, "valid", EVALUATION_SEED):
        losses = -whole_logits(model, prompt, answer).double().log_softmax(-1)
        weight = np.linspace(1, beta, len(answer))
        total += float((losses[range(len(answer)), answer].numpy() * weight).sum())
        weight_sum += weight.sum()
    return total / weight_sum


def altered(folder, output, change):
    """The backbone with something changed, in a folder of its own."""
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    change(model)
    model.save_pretrained(output)
    load_tokenizer(folder / "backbone").save_pretrained(output)
    return output


def assert_resumed(output, undisturbed):
    """That a run was resumed, and came to the same."""
    assert read_json(output / "run.json")["resumed"]
    assert weights(output) == weights(undisturbed)
    assert sha256(output / "curves.csv") == sha256(undisturbed / "curves.csv")


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("objective", [PLAIN, CFT], ids=["plain", "cft"])
def test_training(folder, tmp_path, caplog, objective, lora):
    logger = logging.getLogger("transformers.trainer")
    logger.addHandler(caplog.handler)
    output = finetune(
        folder, tmp_path / "model", objective, lora=lora and lora.model_dump(), micro_batch_size=4
    )
    logger.removeHandler(caplog.handler)
    assert "missing keys" not in caplog.text  # Of tied weights, when the best epoch is loaded.
    curves, record = read_csv(output / "curves.csv"), read_json(output / "run.json")

    losses = ["loss", "equal_weight_loss"]
    assert curves.columns.tolist() == ["step", "epoch", "split", *losses, "learning_rate"]
    training, validation = (curves[curves["split"] == split] for split in ("train", "valid"))
    # An adapter can do little with random weights.
    assert training["loss"].iloc[-1] < training["loss"].iloc[0] - (0.5 if lora is None else 0.05)
    assert training["learning_rate"].max() <= TRAINING.learning_rate
    assert validation["step"].tolist() == [8, 16, 24]
    assert validation["epoch"].tolist() == [1, 2, 3]
    assert set(validation["step"]) <= set(training["step"])
    model = load(folder, output)
    best = validation.loc[validation["loss"].idxmin()]
    assert valid_loss(folder, model, objective.beta) == pytest.approx(best["loss"], rel=1e-5)
    # The same passes without the objective's weights.
    assert valid_loss(folder, model, 1) == pytest.approx(best["equal_weight_loss"], rel=1e-5)
    assert (abs(best["loss"] / best["equal_weight_loss"] - 1) < 1e-6) == (objective.beta == 1)
    assert training["equal_weight_loss"].isna().all()
    assert [record[f"valid_{name}"] for name in losses] == best[losses].tolist()

    assert record["settings"]["objective"] == objective.model_dump()
    assert record["settings"]["prompt"] == PROMPT.model_dump()
    assert record["best_epoch"] == validation["loss"].to_numpy().argmin() + 1
    assert (record["steps"], record["epochs_run"], record["resumed"]) == (24, 3, False)
    assert (record["train_examples"], record["valid_examples"]) == (64, 16)
    assert record["parameters"] == sum(p.numel() for p in model.parameters())
    full = lora is None
    assert (record["trainable_parameters"] == record["parameters"]) == full
    assert record["tokens_per_step"] > 8
    assert record["seconds"] > record["seconds_per_epoch"] > record["seconds_per_step"] > 0
    assert {"alpha", "beta", "seed", "code", "device", "versions", "peak_memory_mb"} <= set(record)
    assert load_tokenizer(output).eos_token_id == load_tokenizer(folder / "backbone").eos_token_id
    assert not (tmp_path / "model.checkpoints").exists()
    card = ModelCard.load(output / "README.md")
    assert f"{record['train_examples']} training examples" in card.text
    assert card.data.library_name == ("transformers" if full else "peft")


def test_seeds(folder, undisturbed, tmp_path):
    assert weights(finetune(folder, tmp_path / "again")) == weights(undisturbed)
    assert weights(finetune(folder, tmp_path / "other", seed=1)) != weights(undisturbed)


@pytest.mark.parametrize("objective", [PLAIN, CFT, PLACEHOLDER], ids=["plain", "cft", "other"])
def test_one_step_by_hand(folder, tmp_path, objective):
    """Both branches of each example in one whole forward pass, then torch's AdamW."""
    settings = {"epochs": 1, "train_examples": 8, "warmup_steps": 0, "learning_rate": 1e-3}
    found = load(folder, finetune(folder, tmp_path / "model", objective, **settings))
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    tokenizer = load_tokenizer(folder / "backbone")
    counterfactual = prompt_text(PROMPT, [])
    if objective == PLACEHOLDER:
        counterfactual = prompt_text(PROMPT, ["(unknown)"]).replace('"(unknown)"', "(unknown)")
    other = tokenizer(counterfactual).input_ids
    total, weight_sum = 0.0, 0.0
    for *_, prompt, answer in drawn(folder):
        logits = [whole_logits(model, shown, answer) for shown in (prompt, other)]
        weight = torch.linspace(1, objective.beta, len(answer))
        for scale, of_one in ((1, logits[0]), (objective.alpha, logits[0] - logits[1])):
            total -= scale * (of_one.log_softmax(-1)[range(len(answer)), answer] * weight).sum()
        weight_sum += weight.sum()
    (total / weight_sum).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0).step()
    for ours, theirs in zip(found.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kept", ["fp32", "bf16"])
def test_small_updates_round_away_in_bf16(folder, tmp_path, kept):
    """AdamW's first step is as long as the learning rate. The norms' weights begin at 1, where
    numbers of bf16 lie 2^-8 and more apart, so that 0.001 is lost there; the other weights lie near
    0, where it is not."""
    settings = {"epochs": 1, "train_examples": 8, "warmup_steps": 0, "learning_rate": 1e-3}
    settings |= {"weights": kept, "precision": "bf16"}
    found = load_file(finetune(folder, tmp_path / "model", **settings) / "model.safetensors")
    backbone = load_file(folder / "backbone" / "model.safetensors")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[kept]
    assert {weights.dtype for weights in found.values()} == {dtype}
    moves = {name: (found[name] - backbone[name].to(dtype)).float().abs().max() for name in found}
    for name, move in moves.items():
        lost = kept == "bf16" and "norm" in name
        assert move.item() == pytest.approx(
            0 if lost else 1e-3, rel=0.01 if kept == "fp32" else 0.3
        )
    assert sum("norm" in name for name in moves) == 5
    assert read_json(tmp_path / "model" / "config.json")["dtype"] == str(dtype).split(".")[1]


def test_what_ran_in_bf16_is_saved_as_decoding_in_bf16_loads_it(folder, tmp_path, monkeypatch):
    def in_bf16(*given):
        arguments = trainer.training_arguments(*given)
        arguments.bf16 = True
        return arguments

    def save_both(running, *others):
        running.model.save_pretrained(tmp_path / "whole")
        save(running, *others)

    save = train.save
    monkeypatch.setattr(train, "training_arguments", in_bf16)
    monkeypatch.setattr(train, "save", save_both)
    output = finetune(folder, tmp_path / "model", epochs=1, train_examples=8)
    whole, half = (path / "model.safetensors" for path in (tmp_path / "whole", output))
    assert {weights.dtype for weights in load_file(whole).values()} == {torch.float32}
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    found = load_backbone(output, "bf16").state_dict()
    for name, weights in load_backbone(tmp_path / "whole", "bf16").state_dict().items():
        assert torch.equal(found[name], weights)
    assert read_json(output / "config.json")["use_cache"]
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "model"}


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": "bf16", "precision": "bf16", "train_examples": 57, "micro_batch_size": 4},
        {"lora": LoRA(rank=4, dropout=0.3).model_dump()},
    ],
    ids=["bf16", "dropout"],
)
def test_an_interrupted_run_ends_the_same(folder, tmp_path, settings):
    undisturbed = finetune(folder, tmp_path / "undisturbed", **settings)
    interrupt(folder, tmp_path / "model", step=19, **settings)
    [state] = tmp_path.glob("model.checkpoints/*/checkpoint-16/optimizer.pt")
    moments = [value for of_one in torch.load(state)["state"].values() for value in of_one.values()]
    dtype = torch.bfloat16 if "weights" in settings else torch.float32
    assert {value.dtype for value in moments if value.dim()} == {dtype}
    assert_resumed(finetune(folder, tmp_path / "model", **settings), undisturbed)


def test_settings_that_bf16_weights_exclude():
    for other, words in (({"precision": "fp32"}, "needs precision: bf16"), ({"lora": {}}, "lora")):
        with pytest.raises(ValidationError, match=f"weights: bf16 .*{words}"):
            Training.model_validate({"weights": "bf16"} | other)


def test_steps_and_micro_batches_are_drawn_at_random_if_asked(folder, tmp_path, monkeypatch):
    def spy(model, inputs, *rest):
        shown.append(inputs["example_ids"])
        return add_gradients(model, inputs, *rest)

    add_gradients, shown = trainer.add_gradients, []
    monkeypatch.setattr(trainer, "add_gradients", spy)
    released = {"order": "random", "normalisation": "micro-batch", "micro_batch_size": 4}
    finetune(folder, tmp_path / "model", epochs=1, **released)
    sample = [example.example_id for example in drawn(folder, 64)]
    steps = [[sample[i] for i in step] for step in StepOrder([0] * 64, 8, seed=0)]
    assert shown == [[step[:4], step[4:]] for step in steps]


def test_learned_weights_begin_equal_and_follow_the_loss_by_position(folder, tmp_path):
    settings = {"epochs": 1, "train_examples": 8}
    learned = finetune(folder, tmp_path / "learned", LEARNED, **settings)
    equal = finetune(folder, tmp_path / "equal", Objective(alpha=0.1, beta=1), **settings)
    assert weights(learned) == weights(equal)  # One step, before anything has been learned.
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    losses: dict[int, list[float]] = {}
    for *_, prompt, answer in drawn(folder):
        with torch.inference_mode():
            of_tokens = -whole_logits(model, prompt, answer).log_softmax(-1)
        for place, token in enumerate(answer):
            losses.setdefault(place, []).append(of_tokens[place, token].item())
    record = read_json(learned / "run.json")
    means = np.array([np.mean(losses[place]) for place in sorted(losses)])
    assert record["position_losses"][: len(means)] == pytest.approx(means, 1e-4)
    assert set(record["position_losses"][len(means) :]) == {None}
    # The weights that follow: a softmax of the losses, of mean 1 over the positions seen.
    expected = np.exp(means)
    expected *= len(means) / expected.sum()
    assert record["token_weights"][: len(means)] == pytest.approx(expected, rel=1e-3)
    assert set(record["token_weights"][len(means) :]) == {None}
    assert record["position_tokens"][: len(means)] == [len(losses[p]) for p in sorted(losses)]
    [validation] = [entry for entry in lines(learned / "metrics.jsonl") if "seconds" in entry]
    assert validation["token_weights"] == record["token_weights"]
    assert {w for w in read_json(equal / "run.json")["token_weights"] if w is not None} == {1}


def test_linear_weights_are_recorded_as_the_mean_over_the_answers(folder, undisturbed):
    answers = [len(example.answer) for example in drawn(folder, 64)]
    record = read_json(undisturbed / "run.json")
    for place in range(max(answers)):
        found = [np.linspace(1, CFT.beta, n)[place] for n in answers if n > place]
        assert record["token_weights"][place] == pytest.approx(np.mean(found), rel=1e-6)
        assert record["position_tokens"][place] == len(found)
    assert not any("token_weights" in entry for entry in lines(undisturbed / "metrics.jsonl"))


def test_the_times_of_a_resumed_run_cover_what_lies_behind_the_checkpoint(folder, tmp_path):
    interrupt(folder, tmp_path / "model", step=19)
    *_, last = sorted(tmp_path.glob("model.checkpoints/*/checkpoint-16/trainer_state.json"))
    state = read_json(last)
    attributes = state["stateful_callbacks"]["StepTimer"]["attributes"]
    assert [len(attributes[name]) for name in ("seconds", "tokens", "epochs")] == [15, 16, 2]
    attributes |= {"seconds": [50.0] * 15, "tokens": [7000] * 16, "epochs": [400.0] * 2}
    last.write_text(json.dumps(state))
    seal = last.with_name(callbacks.CHECKSUMS)
    write_json(read_json(seal) | {last.name: sha256(last)}, seal)
    record = read_json(finetune(folder, tmp_path / "model") / "run.json")
    # Seven more timed steps of eight, whose first is a warm-up, and one more epoch.
    assert (record["seconds_per_step"], record["seconds_per_epoch"]) == (50, 400)
    assert 16 * 7000 / 24 < record["tokens_per_step"] < 17 * 7000 / 24


def test_learned_weights_survive_an_interruption(folder, tmp_path):
    undisturbed = finetune(folder, tmp_path / "undisturbed", LEARNED)
    interrupt(folder, tmp_path / "model", step=19, objective=LEARNED)
    output = finetune(folder, tmp_path / "model", LEARNED)
    assert_resumed(output, undisturbed)
    # Equal weights in the validation, whatever the training weighs.
    found = read_csv(output / "curves.csv").query("split == 'valid'")
    model = load(folder, output)
    assert valid_loss(folder, model, beta=1) == pytest.approx(found["loss"].min(), rel=1e-5)
    assert found["equal_weight_loss"].tolist() == pytest.approx(found["loss"].tolist(), rel=1e-6)
    learned = finetune(folder, tmp_path / "equal", Objective(alpha=0.1, beta=1))
    assert weights(learned) != weights(output)


@pytest.mark.parametrize(
    "settings",
    [
        {"micro_batch_size": 2},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": True, "lora": LORA.model_dump()},
    ],
    ids=["parts", "checkpointing", "checkpointing lora"],
)
def test_saving_memory_changes_nothing_but_rounding(folder, tmp_path, settings):
    step = {"epochs": 1, "train_examples": 8, "warmup_steps": 0, "lora": settings.get("lora")}
    models = [
        load(folder, finetune(folder, tmp_path / name, **step | own))
        for name, own in (("whole", {}), ("saving", settings))
    ]
    for expected, found in zip(*(model.parameters() for model in models), strict=True):
        # AdamW's first step is as long as the learning rate wherever there is a gradient.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * TRAINING.learning_rate)


def interrupt(folder, output, step=None, **settings):
    """Fine-tune, and stop at the beginning of a step, or else before the output is written."""

    def stop(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise InterruptedError

    def stop_writing(frame, path):
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.StepTimer, "on_step_begin", stop)
        patch.setattr(train, "write_csv", stop_writing)
        with pytest.raises(InterruptedError):
            finetune(folder, output, **settings)
    assert not output.exists()


#: Fine-tune as the test does, and kill the process without notice at a point of the run; of several
#: the second one.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from scripts.finetune import callbacks, train
from tests.test_finetune_train import finetune

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_at_step_11(self, args, state, control, **kwargs):
    if state.global_step == 11:
        die()

def die_while_saving_step_16(self, output_dir):
    if output_dir.endswith("-16"):
        die()
    save(self, output_dir)

folder, output, settings, point = sys.argv[1:]
save = train.CounterfactualTrainer._save_optimizer_and_scheduler
if point == "in the second epoch" and os.environ.get("RANK") != "0":
    callbacks.StepTimer.on_step_begin = die_at_step_11
elif point == "in the second checkpoint":
    train.CounterfactualTrainer._save_optimizer_and_scheduler = die_while_saving_step_16
elif point == "before the output":
    train.write_csv = die
finetune(Path(folder), Path(output), **json.loads(settings))
"""


def test_a_run_killed_three_times_ends_the_same(folder, undisturbed, tmp_path):
    output = tmp_path / "model"
    left = {
        "in the second epoch": {"checkpoint-8"},
        "in the second checkpoint": {"checkpoint-8", "checkpoint-16"},
        "before the output": {"checkpoint-16", "checkpoint-24"},
    }
    for point, checkpoints in left.items():
        killed = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder), str(output), "{}", point],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert {p.name for p in tmp_path.glob("model.checkpoints/*/checkpoint-*")} == checkpoints
        assert not output.exists()
    assert_resumed(finetune(folder, output), undisturbed)
    records = [read_json(path / "run.json") for path in (output, undisturbed)]
    assert not records[1]["resumed"]
    for name in ("steps", "epochs_run", "best_epoch", "settings", "code"):
        assert records[0][name] == records[1][name]
    assert not (tmp_path / "model.checkpoints").exists()
    # As when a second process has waited for the first.
    made = (output / "run.json").stat()
    assert (finetune(folder, output) / "run.json").stat() == made
    finetune(folder, output, PLAIN, epochs=1)
    assert (output / "run.json").stat() != made


def flip(file):
    """Change one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_checkpoint_with_any_broken_file_is_passed_over(folder, undisturbed, tmp_path, caplog):
    interrupt(folder, tmp_path / "model", step=19)
    [last] = tmp_path.glob("model.checkpoints/*/checkpoint-16")
    files = sorted(last.iterdir())
    assert len(files) > 6
    for file in files:
        content = file.read_bytes()
        for fault in (flip, lambda path: os.truncate(path, 100), os.remove):
            assert train.last_checkpoint(last.parent) == last
            fault(file)
            assert train.last_checkpoint(last.parent) == last.with_name("checkpoint-8")
            assert f"{last} is broken (" in caplog.text
            caplog.clear()
            file.write_bytes(content)
    flip(last / "optimizer.pt")
    assert_resumed(finetune(folder, tmp_path / "model"), undisturbed)


def test_two_processes_train_as_one_does_even_if_one_is_killed(folder, tmp_path):
    """Also the token weights that they learn together. No other objective shares more."""
    # The last step of an epoch has one example, which leaves the second process without any.
    settings = {"train_examples": 57, "micro_batch_size": 2}
    alone, output = finetune(folder, tmp_path / "alone", LEARNED, **settings), tmp_path / "both"
    (tmp_path / "script.py").write_text(SCRIPT)
    given = json.dumps(settings | {"processes": 2, "objective": LEARNED.model_dump()})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", tmp_path / "script.py", folder, output, given]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    options = {"env": os.environ | environment, "text": True, "timeout": 240}
    killed = subprocess.run([*command, "in the second epoch"], capture_output=True, **options)
    assert killed.returncode != 0
    assert not output.exists()
    left = {path.name for path in tmp_path.glob("both.checkpoints/*/checkpoint-*")}
    assert left == {"checkpoint-8"}
    ended = subprocess.run([*command, "at no point"], capture_output=True, **options)
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "both.checkpoints").exists()

    expected, found = (load(folder, path) for path in (alone, output))
    for one, two in zip(expected.parameters(), found.parameters(), strict=True):
        assert (two - one).norm() <= 1e-5 * one.norm()
    expected, found = (read_csv(path / "curves.csv") for path in (alone, output))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
    expected, found = (read_json(path / "run.json") for path in (alone, output))
    assert (expected["resumed"], found["resumed"]) == (False, True)
    assert found["steps"] == expected["steps"] == 24
    losses = [[x for x in one["position_losses"] if x is not None] for one in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert found["tokens_per_step"] > expected["tokens_per_step"]  # Each process has a trunk.


#: Run the code of the card in each folder, and show what the model it loads makes of a prompt.
ANYWHERE = """
import json, os, re, sys
from pathlib import Path

shown = []
for folder in sys.argv[1:]:
    os.chdir(folder)
    exec(re.search(r"```python\\n(.*?)```", Path("README.md").read_text(), re.DOTALL)[1])
    ids = tokenizer("Recommend", return_tensors="pt").input_ids
    written = model.generate(input_ids=ids, max_new_tokens=12)
    shown.append([written[0].tolist(), model(input_ids=ids).logits[0, -1].tolist()])
from peft import AutoPeftModelForCausalLM
AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
assert "scripts" not in sys.modules
print(json.dumps(shown))
"""


def test_models_and_adapters_load_in_any_folder(folder, tmp_path, monkeypatch):
    """An adapter of a hub's model, one of a local backbone, and a whole model, moved and loaded as
    their cards say, with transformers and peft alone."""
    cache, commit = tmp_path / "hub" / "models--someone--tiny", "0123456789" * 4
    shutil.copytree(folder / "backbone", cache / "snapshots" / commit)
    (cache / "snapshots" / commit / "backbone.json").unlink()
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    here = tmp_path / "here"
    fetch(here / "fetched", id="someone/tiny")
    shutil.copytree(folder / "backbone", here / "mine")

    lora = {"lora": LORA.model_dump()}
    whole = {"weights": "bf16", "precision": "bf16"}
    settings = {"fetched": lora, "mine": lora, "whole": whole}
    expected = []
    ids = load_tokenizer(folder / "backbone")("Recommend", return_tensors="pt").input_ids
    for name, own in settings.items():
        backbone = here / ("mine" if name == "whole" else name)
        output = finetune(folder, here / f"{name}-tuned", backbone=backbone, **own)
        model = load(folder, output)
        written = model.generate(input_ids=ids, max_new_tokens=12)
        expected.append([written[0].tolist(), model(input_ids=ids).logits[0, -1].tolist()])
        traces = [file for file in output.rglob("*") if str(tmp_path).encode() in file.read_bytes()]
        assert not traces
        shutil.move(output, tmp_path / "elsewhere" / name)
    shutil.move(here / "mine", tmp_path / "elsewhere" / "mine" / "mine")
    shutil.rmtree(here)

    for name, origin in (("fetched", ("someone/tiny", commit)), ("mine", (None, None))):
        config = read_json(tmp_path / "elsewhere" / name / "adapter_config.json")
        assert (config["base_model_name_or_path"], config["revision"]) == origin
    folders = [str(tmp_path / "elsewhere" / name) for name in settings]
    ran = subprocess.run(
        [sys.executable, "-I", "-c", ANYWHERE, *folders],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    for (tokens, logits), (own_tokens, own_logits) in zip(found, expected, strict=True):
        assert tokens == own_tokens
        assert logits == pytest.approx(own_logits, abs=1e-5)
    base = AutoModelForCausalLM.from_pretrained(folder / "backbone")(input_ids=ids).logits[0, -1]
    for _, logits in found:
        assert max(abs(base - torch.tensor(logits))) > 0.01


def test_the_number_of_processes_is_checked(folder, tmp_path):
    with pytest.raises(InputError, match=r"processes is 2, but 1 .* --nproc-per-node 2"):
        finetune(folder, tmp_path / "model", processes=2)
    with pytest.raises(ValidationError, match="processes 3 must divide batch_size 8"):
        finetune(folder, tmp_path / "model", processes=3)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_metrics_are_those_of_the_curves_and_survive_interruptions(
    folder, undisturbed, tmp_path
):
    interrupt(folder, tmp_path / "model", step=14)
    [live] = tmp_path.glob("model.checkpoints/*/metrics.jsonl")
    # Behind the checkpoint of step 8 lies a window that the resumed run repeats.
    assert [entry["step"] for entry in lines(live)] == [5, 8, 8, 10]
    output = finetune(folder, tmp_path / "model")
    found, expected = (lines(path / "metrics.jsonl") for path in (output, undisturbed))
    timings = {"seconds_per_step", "tokens_per_second", "seconds"}
    assert [{k: v for k, v in entry.items() if k not in timings} for entry in found] == [
        {k: v for k, v in entry.items() if k not in timings} for entry in expected
    ]
    curves = read_csv(output / "curves.csv")
    assert [entry["loss"] for entry in found] == curves["loss"].tolist()
    assert [entry["step"] for entry in found] == curves["step"].tolist()
    training = [entry for entry in found if entry["split"] == "train"]
    for entry in training:
        assert entry["seconds_per_step"] > 0
        assert entry["tokens_per_second"] > 0
        # One window is five steps; the gradient's norm is that of the last of them.
        assert 0 <= entry["clipped_steps"] <= 5
        assert (entry["gradient_norm"] > 1) <= (entry["clipped_steps"] > 0)
    assert all(entry["seconds"] > 0 for entry in found if entry["split"] == "valid")


def test_a_gradient_that_is_no_number_stops_the_run(folder, tmp_path, monkeypatch):
    def overflow(*args):
        loss = add_gradients(*args)
        args[0].get_input_embeddings().weight.grad[3, 0] = torch.inf
        return loss

    add_gradients = trainer.add_gradients
    monkeypatch.setattr(trainer, "add_gradients", overflow)
    with pytest.raises(InputError, match=r"norm is inf .*learning_rate") as error:
        finetune(folder, tmp_path / "model", train_examples=8)
    assert str(sorted(example.example_id for example in drawn(folder))) in str(error.value)


@pytest.mark.parametrize("patience", [1, 2])
def test_early_stopping_keeps_the_best_epoch_and_survives_interruptions(folder, tmp_path, patience):
    # Two steps an epoch, so large that they lead away at first.
    settings = {"epochs": 8, "patience": patience, "learning_rate": 1.0, "train_examples": 16}
    undisturbed = finetune(folder, tmp_path / "undisturbed", **settings)
    record = read_json(undisturbed / "run.json")
    curves = read_csv(undisturbed / "curves.csv")
    losses = curves.loc[curves["split"] == "valid", "loss"].tolist()
    assert record["epochs_run"] == len(losses) < 8
    assert record["best_epoch"] == len(losses) - patience
    assert min(losses) == losses[-1 - patience]
    loss = valid_loss(folder, load(folder, undisturbed), CFT.beta)
    assert loss == pytest.approx(min(losses), rel=1e-5)

    interrupt(folder, tmp_path / "last epoch", step=record["steps"] - 1, **settings)
    interrupt(folder, tmp_path / "end", **settings)
    for name in ("last epoch", "end"):
        output = finetune(folder, tmp_path / name, **settings)
        assert_resumed(output, undisturbed)
        found = read_json(output / "run.json")
        for field in ("steps", "epochs_run", "best_epoch"):
            assert found[field] == record[field]

    if patience == 2:  # The best checkpoint is not the last one; without it no run can end.
        interrupt(folder, tmp_path / "best", **settings)
        [best] = tmp_path.glob(f"best.checkpoints/*/checkpoint-{2 * record['best_epoch']}")
        flip(best / "model.safetensors")
        output = finetune(folder, tmp_path / "best", **settings)
        assert not read_json(output / "run.json")["resumed"]
        assert weights(output) == weights(undisturbed)


def test_an_objective_takes_what_was_best_on_validation_examples(folder, tmp_path):
    tried = []
    for alpha, rate, ndcg in ((0.1, 1e-3, 0.2), (0.1, 2e-3, 0.3), (0.02, 2e-3, 0.3)):
        point = CFT.model_copy(update={"alpha": alpha, "learning_rate": rate})
        tried.append(tmp_path / f"{len(tried)}.json")
        facts = {"objective": point.model_dump(), "validation_ndcg": ndcg, "examples": 7}
        write_json(facts, tried[-1])
    output = finetune(folder, tmp_path / "tuned", CFT, tuning=tried, epochs=1)
    best = Objective(alpha=0.1, beta=CFT.beta, learning_rate=2e-3)
    assert weights(output) == weights(
        finetune(folder, tmp_path / "given", CFT, learning_rate=2e-3, epochs=1)
    )
    record = read_json(output / "run.json")
    assert record["settings"]["objective"] == best.model_dump()
    candidates = {"alpha": [0.1, 0.02], "learning_rate": [1e-3, 2e-3]}
    assert record["tuned"] == {"candidates": candidates, "models": 3, "examples": 7}
    # The same, chosen from fewer, is not trained again; set in the config, it was not chosen.
    finetune(folder, output, CFT, tuning=tried[:2], epochs=1)
    fewer = {"candidates": {"learning_rate": [1e-3, 2e-3]}, "models": 2, "examples": 7}
    assert read_json(output / "run.json") == record | {"tuned": fewer}
    finetune(folder, output, best, epochs=1)
    assert read_json(output / "run.json") == record | {"tuned": {}}


@pytest.mark.parametrize(
    "other", [{"objective": PLAIN}, {"seed": 1}, {"epochs": 4}, {"backbone": "backbone-2"}]
)
def test_a_checkpoint_of_anything_else_is_never_resumed(folder, undisturbed, tmp_path, other):
    altered(
        folder, folder / "backbone-2", lambda m: m.get_input_embeddings().weight.data[5].add_(1)
    )
    interrupt(folder, tmp_path / "model", step=9, **other)
    output = finetune(folder, tmp_path / "model")
    assert not read_json(output / "run.json")["resumed"]
    assert weights(output) == weights(undisturbed)


@pytest.mark.parametrize(("warmup", "warned"), [(1, False), (2, True)])
def test_a_warm_up_as_long_as_the_training_is_warned_of(folder, tmp_path, caplog, warmup, warned):
    settings = {"epochs": 2, "train_examples": 8, "warmup_steps": warmup}
    curves = read_csv(finetune(folder, tmp_path / "model", PLAIN, **settings) / "curves.csv")
    peak = curves["learning_rate"].max() == TRAINING.learning_rate
    assert peak != warned
    assert ("the run has 2 steps at most: the learning rate" in caplog.text) == warned


def test_examples_longer_than_the_backbone_sees_are_refused(folder, tmp_path):
    """Rotary embeddings would go on beyond it in silence."""
    short = altered(
        folder, tmp_path / "short", lambda m: m.config.update({"max_position_embeddings": 64})
    )
    with pytest.raises(InputError, match=r"the backbone sees 64 with the answer.* larger context"):
        finetune(folder, tmp_path / "model", backbone=short, train_examples=8)


def test_a_loss_that_is_no_number_names_the_examples(folder, tmp_path, monkeypatch):
    """Were the backbone not tried first, which refuses it, the first step would find it."""
    broken = altered(
        folder, tmp_path / "broken", lambda m: m.get_input_embeddings().weight.data.fill_(torch.nan)
    )
    with pytest.raises(InputError, match="broken: the backbone gives logits that are not finite"):
        finetune(folder, tmp_path / "model", backbone=broken, train_examples=8)
    monkeypatch.setattr(train, "find_shortcuts", lambda *_: Shortcuts(True, True, True))
    with pytest.raises(InputError, match=r"loss is nan on examples \[.*learning_rate") as error:
        finetune(folder, tmp_path / "model", backbone=broken, train_examples=8)
    named = json.loads(str(error.value).partition("examples ")[2].partition("]")[0] + "]")
    assert sorted(named) == sorted(example.example_id for example in drawn(folder))
    assert not (tmp_path / "model").exists()
