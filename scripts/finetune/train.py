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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from transformers import EarlyStoppingCallback, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME

from scripts.backbones.load import (
    check_vocabulary,
    context_of,
    load_backbone,
    load_tokenizer,
    neutral_generation_config,
)
from scripts.command import InputError, Seed, Settings, run
from scripts.contracts import EXAMPLES
from scripts.data.settings import Prompt
from scripts.device import Device, torch_device
from scripts.examples import EVALUATION_SEED, read_titles, subsample
from scripts.extensions import own_code
from scripts.files import (
    atomic,
    checksums,
    read_json,
    read_table,
    sha256,
    write_csv,
    write_json,
    write_text,
)
from scripts.finetune.batches import encode, no_history_prompt
from scripts.finetune.callbacks import (
    CHECKSUMS,
    CheckpointSums,
    EpochLog,
    MetricsLog,
    learning_curves,
    metrics_lines,
)
from scripts.finetune.card import model_card
from scripts.finetune.settings import TUNED, LoRA, Objective, Training
from scripts.finetune.shortcuts import find_shortcuts
from scripts.finetune.trainer import CounterfactualTrainer, check_processes, training_arguments
from scripts.fingerprint import fingerprint
from scripts.prompts import answers_of, check_tokenizer, prompt_limit, prompt_text
from scripts.provenance import peak_memory_mb, provenance

logger = logging.getLogger(__name__)

STEP = "scripts.finetune.train"
METRICS = "metrics.jsonl"


def finetune(
    backbone: Path,
    train: Path,
    valid: Path,
    catalogue: Path,
    prompt: Prompt,
    objective: Objective,
    training: Training,
    seed: Seed,
    output: Path,
    tuning: list[Path] | None = None,
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
        catalogue: the data set's catalogue.
        prompt: the data set's sentences.
        objective: what is trained.
        training: how it is trained.
        seed: draws the training sub-sample, the order of the examples and the adapter's weights.
        output: model folder (or PEFT adapter), with run.json, curves.csv and metrics.jsonl.
        tuning: what `scripts.decode.validate` wrote for several objectives, of which the best takes
            the place of `objective`.
        device: where to train.
    """
    started = time.perf_counter()
    place = torch_device(device)
    check_processes(training.processes, place)
    if not is_main_process():
        logging.getLogger("scripts").setLevel(logging.ERROR)
    set_seed(seed)
    objective, choice = chosen(tuning) if tuning else (objective, {})
    training = training.model_copy(update=objective.training())
    tokenizer = load_tokenizer(backbone)
    titles = read_titles(catalogue)
    check_tokenizer(tokenizer, prompt, titles[:100])
    model = load_backbone(backbone, training.weights)
    check_vocabulary(backbone, tokenizer, model)
    answers, context = answers_of(tokenizer, titles), context_of(model)
    limit = prompt_limit(tokenizer, prompt, titles, answers, training.max_tokens, context)
    encoded = partial(encode, titles=titles, tokenizer=tokenizer, prompt=prompt, limit=limit)
    train_set, truncated = encoded(sample(train, training.train_examples, seed))
    valid_set, _ = encoded(sample(valid, training.valid_examples, EVALUATION_SEED))
    warn_of_long_warmup(training, len(train_set))
    if training.lora is not None:
        model = add_adapter(model, training.lora)
    code = fingerprint(STEP, *own_code(objective, "causal_losses"))
    checkpoints = checkpoint_folder(
        output, [backbone, train, valid, catalogue], [prompt, objective, training], seed, code
    )
    # Its folder is put there as a whole.
    record = read_json(output / "run.json", needed=False)
    if record.get("made_from") == checkpoints.name:
        logger.info("%s is finished already, from the same data, settings and code", output)
        # The same may have been chosen from others.
        if is_main_process() and record["tuned"] != choice:
            write_json(record | {"tuned": choice}, output / "run.json")
        return
    resume = last_checkpoint(checkpoints)
    arguments = training_arguments(training, seed, place, checkpoints)
    # A new adapter changes nothing yet.
    model = model.to(arguments.device)
    shortcuts = find_shortcuts(model, tokenizer, prompt, titles, limit)
    trainer = CounterfactualTrainer(
        objective=objective,
        training=training,
        no_history=no_history_prompt(tokenizer, prompt, objective.counterfactual),
        pad=tokenizer.pad_token_id,
        share=shortcuts.prefix,
        model=model,
        args=arguments,
        train_dataset=train_set,
        eval_dataset=valid_set,
        callbacks=[
            EarlyStoppingCallback(training.patience),
            EpochLog(),
            MetricsLog(checkpoints / METRICS),
            CheckpointSums(),
        ],
    )
    train_from(resume, trainer)
    if not is_main_process():
        return
    record = facts_of(trainer) | {
        "truncated_prompts": truncated,
        "seconds": time.perf_counter() - started,
        "peak_memory_mb": peak_memory_mb(place),
        "resumed": resume is not None,
        "shortcuts": shortcuts._asdict(),
        "backbone": origin_of(backbone),
        "tuned": choice,
        "settings": {
            "prompt": prompt.model_dump(),
            "objective": objective.model_dump(),
            "training": training.model_dump(),
        },
        "code": code,
        # Of the data, settings, seed and code, see `checkpoint_folder`.
        "made_from": checkpoints.name,
        **provenance(place),
    }
    card = model_card(
        record,
        objective,
        training,
        train.parent.parent.name,
        prompt_text(prompt, ["First title", "Second title"]),
    )
    with atomic(output) as folder:
        save(trainer, tokenizer, folder, record["backbone"])
        write_text(card, folder / "README.md")
        write_json(record | {"files": checksums(folder)}, folder / "run.json")
    shutil.rmtree(checkpoints.parent, ignore_errors=True)


def chosen(tuning: list[Path]) -> tuple[Objective, dict[str, Any]]:
    """The objective with the highest NDCG@10 on validation examples, of equal ones the first, and
    what the record of a run says of the choice."""
    tried = [read_json(path) for path in tuning]
    best = max(tried, key=lambda one: one["validation_ndcg"])
    candidates = {
        name: list(dict.fromkeys(one["objective"][name] for one in tried)) for name in TUNED
    }
    candidates = {name: values for name, values in candidates.items() if len(values) > 1}
    facts = {"candidates": candidates, "models": len(tried), "examples": best["examples"]}
    return Objective.model_validate(best["objective"]), facts


def is_main_process() -> bool:
    """Whether this is the first of the run's processes, the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def sample(path: Path, size: int | None, seed: int) -> pd.DataFrame:
    """EXAMPLES rows of a split, or a sub-sample of them.

    Raises:
        InputError: there are none.
    """
    examples = read_table(path, EXAMPLES)
    if examples.empty:
        raise InputError(f"{path}: no examples; widen the window or lower k_core")
    return subsample(examples, size, seed)


def warn_of_long_warmup(training: Training, examples: int) -> None:
    """Warn where the training ends before its learning rate has reached its peak."""
    steps = training.epochs * math.ceil(examples / training.batch_size)
    if training.warmup_steps >= steps:
        logger.warning(
            "training.warmup_steps is %d, but the run has %d steps at most: the learning rate "
            "never reaches its peak",
            training.warmup_steps,
            steps,
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
    output: Path, inputs: Sequence[Path], settings: Sequence[Settings], seed: int, code: str
) -> Path:
    """Folder of the checkpoints: its name says from which data, settings and code they come.

    A checkpoint of anything else is deleted, so that it can never be resumed by mistake.
    """
    facts = {
        "inputs": [sha256(path) for path in inputs],
        "settings": [each.model_dump() for each in settings],
        "seed": seed,
        "code": code,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    parent = output.with_name(f"{output.name}.checkpoints")
    for stale in parent.glob("*") if is_main_process() else ():
        if stale.name != key:
            shutil.rmtree(stale)
    return parent / key


def last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that is whole, as is the one of its best epoch, which ends the run; None
    where there is none: a kill or a power cut can leave a part of one."""
    whole = {path for path in folder.glob("checkpoint-*") if is_whole(path)}
    able = [path for path in whole if best_of(path) in whole]
    return max(able, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint holds what was written, which its checksums, the last file, tell."""
    try:
        written = read_json(checkpoint / CHECKSUMS)
        broken = [name for name in written if sha256(checkpoint / name) != written[name]]
    except (InputError, OSError) as error:
        broken = [str(error)]
    if broken:
        logger.warning("%s is broken (%s): the run does not resume from it", checkpoint, broken[0])
    return not broken


def best_of(checkpoint: Path) -> Path:
    """The checkpoint of the best epoch so far."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    return checkpoint.with_name(f"checkpoint-{state.best_global_step}")


def delete_others(folder: Path, resume: Path | None) -> None:
    """Delete the checkpoints that a run does not go on from; the Trainer would count them, too."""
    needed = {resume, best_of(resume)} if resume else set()
    for checkpoint in folder.glob("checkpoint-*"):
        if checkpoint not in needed:
            shutil.rmtree(checkpoint)


def train_from(resume: Path | None, trainer: CounterfactualTrainer) -> None:
    """Train, from a checkpoint if there is one, and load the best epoch."""
    if resume is not None:
        logger.info("Resuming from %s", resume)
        state = TrainerState.load_from_json(str(resume / TRAINER_STATE_NAME))
        if state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
            # The run had come to its end, which the Trainer forgets: only the best epoch is loaded.
            trainer.args.num_train_epochs = round(state.epoch or 0)
    trainer.accelerator.wait_for_everyone()  # All have looked for a checkpoint.
    if is_main_process():
        delete_others(Path(trainer.args.output_dir), resume)
    # Each process draws dropout of its own.
    torch.manual_seed(trainer.args.seed + trainer.args.process_index)
    trainer.train(resume_from_checkpoint=resume and str(resume))
    # All have read the best epoch from the checkpoints, which the main process will delete.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def facts_of(trainer: CounterfactualTrainer) -> dict[str, Any]:
    """What the record of a run says of the training itself."""
    objective, timer = trainer.objective, trainer.timer
    curves = learning_curves(trainer.state.log_history)
    losses = curves[curves["split"] == "valid"]
    best = losses.loc[losses["loss"].idxmin()]
    parameters = [*trainer.model.parameters()]
    token_weights, position_tokens = trainer.weights_by_position()
    facts: dict[str, Any] = {
        "alpha": objective.alpha,
        "beta": objective.beta,
        "seed": trainer.args.seed,
        "train_examples": len(trainer.train_dataset),
        "valid_examples": len(trainer.eval_dataset),
        "steps": trainer.state.global_step,
        "epochs_run": math.ceil(trainer.state.epoch or 0),
        "best_epoch": round(best["epoch"]),
        # Of the best epoch: with the objective's token weights, and with equal ones, as all have.
        "valid_loss": best["loss"],
        "valid_equal_weight_loss": best["equal_weight_loss"],
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        # Of the whole run, whatever it was resumed from.
        "seconds_per_step": statistics.median(timer.seconds) if timer.seconds else None,
        "seconds_per_epoch": statistics.median(timer.epochs),
        "tokens_per_step": statistics.mean(timer.tokens),
        # By position, from the first token on: the mean weight of the training answers' tokens at
        # the end of the run, and their number; null where no answer is that long.
        "token_weights": token_weights,
        "position_tokens": position_tokens,
    }
    if objective.token_weights == "learned":
        # What the learned weights follow, by position.
        running = trainer.position_losses.running
        facts["position_losses"] = [None if math.isnan(loss) else loss for loss in running]
    return facts


def origin_of(backbone: Path) -> dict[str, Any]:
    """What a backbone is known by on any machine: its folder's `name`, the `sha256` of its weights,
    and what its backbone.json says: `id` and `commit` on the hub, or how it was made."""
    weights = sorted(backbone.glob("*.safetensors"))
    return read_json(backbone / "backbone.json", needed=False) | {
        "name": backbone.resolve().name,
        "sha256": {path.name: sha256(path) for path in weights},
    }


def save(
    trainer: CounterfactualTrainer, tokenizer: Any, folder: Path, origin: dict[str, Any]
) -> None:
    """Write the model or adapter, its tokenizer and the curves of its training to a folder.

    A model whose passes ran in bf16 is saved as decoding in bf16 loads it, in half the bytes.

    An adapter names its backbone, see `origin_of`, by id and commit on the hub, or not at all: a
    path of this machine is none elsewhere, and a bare name is somebody else's on the hub.
    """
    model, log = trainer.model, trainer.state.log_history
    if trainer.training.lora is None:
        if trainer.args.bf16 and trainer.training.weights == "fp32":
            # Some families keep a few weights in float32, which only their loading knows.
            with TemporaryDirectory(dir=folder.parent) as whole:
                model.save_pretrained(whole)
                model = load_backbone(Path(whole), "bf16")
        model.config.use_cache = True
        model.generation_config = neutral_generation_config(tokenizer)
        model.save_pretrained(folder)
    else:
        model.save_pretrained(folder, save_embedding_layers=False)
        config = folder / "adapter_config.json"
        base = {"base_model_name_or_path": origin.get("id"), "revision": origin.get("commit")}
        write_json(read_json(config) | base, config, sealed=False)
    tokenizer.save_pretrained(folder)
    write_csv(learning_curves(log), folder / "curves.csv")
    write_text(metrics_lines(log), folder / METRICS)


if __name__ == "__main__":
    run(finetune, exclusive=True)
