"""Fine-tune a backbone with any of the objectives, on transformers' Trainer."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME

from scripts.backbones.load import (
    context_of,
    load_backbone,
    load_tokenizer,
    neutral_generation_config,
)
from scripts.command import InputError, run
from scripts.contracts import EXAMPLES
from scripts.data.settings import Prompt
from scripts.device import Device, torch_device
from scripts.examples import EVALUATION_SEED, read_titles, subsample
from scripts.files import atomic, read_json, read_table, sha256, write_csv, write_json, write_text
from scripts.finetune.batches import Encoded, can_share_prefix, encode, no_history_prompt
from scripts.finetune.callbacks import (
    EpochLog,
    MetricsLog,
    learning_curves,
    metrics_lines,
    tensorboard,
)
from scripts.finetune.card import model_card
from scripts.finetune.settings import LoRA, Objective, Training
from scripts.finetune.trainer import CounterfactualTrainer, check_processes, training_arguments
from scripts.fingerprint import fingerprint
from scripts.prompts import check_tokenizer, prompt_text
from scripts.provenance import peak_memory_mb, provenance

logger = logging.getLogger(__name__)

STEP = "scripts.finetune.train"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


def finetune(
    backbone: Path,
    train: Path,
    valid: Path,
    items: Path,
    prompt: Prompt,
    objective: Objective,
    training: Training,
    seed: int,
    output: Path,
    device: Device = "auto",
) -> None:
    """Fine-tune a backbone; the epoch with the lowest weighted normal validation loss is kept.

    Checkpoints and `metrics.jsonl` lie beside `output` while it trains, so that a killed run
    resumes. Several processes share the work if they are started together, by
    `python -m torch.distributed.run --standalone --nproc-per-node N -m scripts.finetune.train`,
    and `training.processes` says so; the first of them writes.

    Args:
        backbone: model folder to start from.
        train: training examples.
        valid: validation examples.
        items: the catalogue.
        prompt: the data set's sentences.
        objective: what is trained.
        training: how it is trained.
        seed: draws the training sub-sample, the order of the examples and the adapter's weights.
        output: model folder (or PEFT adapter), with run.json, curves.csv and metrics.jsonl.
        device: where to train.
    """
    started = time.perf_counter()
    place = torch_device(device)
    check_processes(training.processes, place)
    main = os.environ.get("RANK", "0") == "0"
    if not main:
        logging.getLogger("scripts").setLevel(logging.ERROR)
    set_seed(seed)
    tokenizer = load_tokenizer(backbone)
    titles = read_titles(items)
    check_tokenizer(tokenizer, prompt, titles[:100])
    examples = {
        "train": subsample(read_table(train, EXAMPLES), training.train_examples, seed),
        "valid": subsample(read_table(valid, EXAMPLES), training.valid_examples, EVALUATION_SEED),
    }
    for split, frame in examples.items():
        if frame.empty:
            raise InputError(f"The {split} split has no examples; widen the window or lower k_core")
    encoded = {
        split: encode(frame, titles, tokenizer, prompt, training.max_tokens)
        for split, frame in examples.items()
    }
    steps = training.epochs * math.ceil(len(examples["train"]) / training.batch_size)
    if training.warmup_steps >= steps:
        logger.warning(
            "training.warmup_steps is %d, but the run has %d steps at most: the learning rate "
            "never reaches its peak",
            training.warmup_steps,
            steps,
        )
    model = load_backbone(backbone, "fp32")
    for shown, _ in encoded.values():
        check_context(shown, context_of(model))
    if training.lora is not None:
        model = add_adapter(model, training.lora)
    checkpoints = checkpoint_folder(
        output, [backbone, train, valid, items], prompt, objective, training, seed
    )
    resume = last_checkpoint(checkpoints, training.processes)
    callbacks: list[TrainerCallback] = [
        EarlyStoppingCallback(training.patience),
        EpochLog(),
        MetricsLog(checkpoints / METRICS),
    ]
    if training.tensorboard and main:
        callbacks.append(tensorboard(checkpoints / TENSORBOARD, step_of(resume) if resume else 0))
    trainer = CounterfactualTrainer(
        objective=objective,
        training=training,
        no_history=no_history_prompt(tokenizer, prompt, objective.counterfactual),
        pad=tokenizer.pad_token_id,
        share=can_share_prefix(model, training.gradient_checkpointing),
        model=model,
        args=training_arguments(training, seed, place, checkpoints),
        train_dataset=encoded["train"][0],
        eval_dataset=encoded["valid"][0],
        callbacks=callbacks,
    )
    if resume is not None:
        logger.info("Resuming from %s", resume)
        state = TrainerState.load_from_json(str(resume / TRAINER_STATE_NAME))
        if state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
            # The run had come to its end, which the Trainer forgets: only the best epoch is loaded.
            trainer.args.num_train_epochs = round(state.epoch or 0)
    # Each process draws dropout of its own.
    torch.manual_seed(seed + trainer.args.process_index)
    trainer.train(resume_from_checkpoint=resume and str(resume))
    # All have read the best epoch from the checkpoints, which the main process will delete.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    if not main:
        return

    curves = learning_curves(trainer.state.log_history)
    losses = curves.loc[curves["split"] == "valid"]
    record = backbone / "backbone.json"
    timer = trainer.timer
    token_weights, position_tokens = trainer.weights_by_position()
    facts: dict[str, Any] = {
        "alpha": objective.alpha,
        "beta": objective.beta,
        "seed": seed,
        "train_examples": len(examples["train"]),
        "valid_examples": len(examples["valid"]),
        "truncated_prompts": encoded["train"][1],
        "steps": trainer.state.global_step,
        "epochs_run": math.ceil(trainer.state.epoch or 0),
        "best_epoch": round(losses.loc[losses["loss"].idxmin(), "epoch"]),
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "seconds": time.perf_counter() - started,
        # Of the whole run, whatever it was resumed from.
        "seconds_per_step": statistics.median(timer.seconds) if timer.seconds else None,
        "seconds_per_epoch": statistics.median(timer.epochs),
        "tokens_per_step": statistics.mean(timer.tokens),
        # By position, from the first token on: the mean weight of the training answers' tokens at
        # the end of the run, and their number; null where no answer is that long.
        "token_weights": token_weights,
        "position_tokens": position_tokens,
        "peak_memory_mb": peak_memory_mb(place),
        "resumed": resume is not None,
        "backbone": read_json(record) if record.is_file() else str(backbone),
        "backbone_folder": str(backbone),
        "settings": {
            "prompt": prompt.model_dump(),
            "objective": objective.model_dump(),
            "training": training.model_dump(),
        },
        "code": fingerprint(STEP),
        **provenance(place),
    }
    if objective.schedule == "learned":
        # What the learned weights follow, by position.
        running = trainer.position_losses.running
        facts["position_losses"] = [None if math.isnan(loss) else loss for loss in running]
    with atomic(output) as partial:
        if training.lora is None:
            model.config.use_cache = True
            model.generation_config = neutral_generation_config(tokenizer)
            model.save_pretrained(partial)
        else:
            model.save_pretrained(partial, save_embedding_layers=False)
        tokenizer.save_pretrained(partial)
        write_csv(curves, partial / "curves.csv")
        write_text(metrics_lines(trainer.state.log_history), partial / METRICS)
        if training.tensorboard:
            shutil.copytree(checkpoints / TENSORBOARD, partial / TENSORBOARD)
        write_json(facts, partial / "run.json")
        card = model_card(
            facts,
            objective,
            training,
            train.parent.parent.name,
            losses["loss"].min(),
            prompt_text(prompt, ["First title", "Second title"]),
        )
        write_text(card, partial / "README.md")
    shutil.rmtree(checkpoints.parent, ignore_errors=True)


def check_context(examples: list[Encoded], context: int) -> None:
    """Check that the backbone sees the examples whole.

    Raises:
        InputError: one of them is longer.
    """
    longest = max(len(example.prompt) + len(example.answer) for example in examples)
    if longest > context:
        raise InputError(
            f"An example has {longest} tokens, more than the {context} that the backbone sees at "
            f"most; lower training.max_tokens to {context}, and its oldest titles are dropped"
        )


def add_adapter(model: Any, lora: LoRA) -> Any:
    """Put LoRA adapters on all linear layers of the body."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.rank,
            lora_alpha=lora.scale,
            lora_dropout=lora.dropout,
            target_modules="all-linear",
        ),
    )


def checkpoint_folder(
    output: Path,
    inputs: list[Path],
    prompt: Prompt,
    objective: Objective,
    training: Training,
    seed: int,
) -> Path:
    """Folder of the checkpoints: its name says from which data, settings and code they come.

    A checkpoint of anything else is deleted, so that it can never be resumed by mistake.
    """
    facts = {
        "inputs": [sha256(path) for path in inputs],
        "settings": [
            prompt.model_dump(),
            objective.model_dump(),
            training.model_dump(exclude={"tensorboard"}),
        ],
        "seed": seed,
        "code": fingerprint(STEP),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    parent = output.with_name(f"{output.name}.checkpoints")
    for stale in parent.glob("*"):
        if stale.name != key:
            # Of several processes one finds it gone.
            shutil.rmtree(stale, ignore_errors=True)
    return parent / key


def last_checkpoint(folder: Path, processes: int) -> Path | None:
    """The last whole checkpoint, or None: a kill or a power cut can leave a part of one."""
    whole = [path for path in folder.glob("checkpoint-*") if is_whole(path, processes)]
    return max(whole, key=step_of, default=None)


def is_whole(checkpoint: Path, processes: int) -> bool:
    """Whether a checkpoint has what each process has left, and the state, which is written last."""
    state = checkpoint / TRAINER_STATE_NAME
    if not state.is_file() or len([*checkpoint.glob("rng_state*.pth")]) != processes:
        return False
    try:
        TrainerState.load_from_json(str(state))
    except ValueError:
        logger.warning("%s is broken: the run does not resume from it", state)
        return False
    return True


def step_of(checkpoint: Path) -> int:
    """Number of optimiser steps behind a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


if __name__ == "__main__":
    run(finetune)
