"""Fine-tune a backbone with any of the objectives, on transformers' Trainer."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME

from scripts.backbones.load import (
    Device,
    load_backbone,
    load_tokenizer,
    neutral_generation_config,
    torch_device,
)
from scripts.command import InputError, run
from scripts.contracts import EXAMPLES
from scripts.data.settings import Prompt
from scripts.examples import EVALUATION_SEED, read_titles, subsample
from scripts.files import atomic, read_json, read_table, sha256, write_csv, write_json
from scripts.finetune.batches import (
    Encoded,
    answer_logits,
    branch,
    can_share_prefix,
    encode,
    no_history_prompt,
)
from scripts.finetune.objective import token_weights, total_loss, weighted_losses
from scripts.finetune.settings import LoRA, Objective, Training
from scripts.fingerprint import fingerprint
from scripts.prompts import check_tokenizer
from scripts.provenance import peak_memory_mb, provenance

logger = logging.getLogger(__name__)

STEP = "scripts.finetune.train"


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

    Checkpoints lie beside `output` while it trains, so that a killed run resumes.

    Args:
        backbone: model folder to start from.
        train: training examples.
        valid: validation examples.
        items: the catalogue.
        prompt: the data set's sentences.
        objective: what is trained.
        training: how it is trained.
        seed: draws the training sub-sample, the order of the examples and the adapter's weights.
        output: model folder (or PEFT adapter), with run.json and curves.csv.
        device: where to train.
    """
    started = time.perf_counter()
    place = torch_device(device)
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
    model = load_backbone(backbone, "fp32")
    if training.lora is not None:
        model = add_adapter(model, training.lora)
    checkpoints = checkpoint_folder(
        output, [backbone, train, valid, items], prompt, objective, training, seed
    )
    timer = StepTimer(place)
    trainer = CounterfactualTrainer(
        objective=objective,
        no_history=no_history_prompt(tokenizer, prompt),
        pad=tokenizer.pad_token_id,
        share=can_share_prefix(model, training.gradient_checkpointing),
        model=model,
        args=training_arguments(training, seed, place, checkpoints),
        train_dataset=encoded["train"][0],
        eval_dataset=encoded["valid"][0],
        callbacks=[EarlyStoppingCallback(training.patience), EpochLog(), timer],
    )
    resume = last_checkpoint(checkpoints)
    if resume is not None:
        logger.info("Resuming from %s", resume)
        state = TrainerState.load_from_json(str(resume / TRAINER_STATE_NAME))
        if state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
            # The run had come to its end, which the Trainer forgets: only the best epoch is loaded.
            trainer.args.num_train_epochs = round(state.epoch or 0)
    trainer.train(resume_from_checkpoint=resume and str(resume))

    curves = learning_curves(trainer.state.log_history)
    losses = curves.loc[curves["split"] == "valid"]
    record = backbone / "backbone.json"
    with atomic(output) as partial:
        if training.lora is None:
            model.config.use_cache = True
            model.generation_config = neutral_generation_config(tokenizer)
            model.save_pretrained(partial)
        else:
            model.save_pretrained(partial, save_embedding_layers=False)
        tokenizer.save_pretrained(partial)
        write_csv(curves, partial / "curves.csv")
        write_json(
            {
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
                "trainable_parameters": sum(
                    p.numel() for p in model.parameters() if p.requires_grad
                ),
                "seconds": time.perf_counter() - started,
                "seconds_per_step": statistics.median(timer.seconds) if timer.seconds else None,
                "tokens_per_step": statistics.mean(trainer.tokens) if trainer.tokens else None,
                "peak_memory_mb": peak_memory_mb(place),
                "resumed": resume is not None,
                "backbone": read_json(record) if record.is_file() else str(backbone),
                "settings": {
                    "prompt": prompt.model_dump(),
                    "objective": objective.model_dump(),
                    "training": training.model_dump(),
                },
                "code": fingerprint(STEP),
                **provenance(place),
            },
            partial / "run.json",
        )
    shutil.rmtree(checkpoints.parent, ignore_errors=True)


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
        "settings": [s.model_dump() for s in (prompt, objective, training)],
        "seed": seed,
        "code": fingerprint(STEP),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    parent = output.with_name(f"{output.name}.checkpoints")
    for stale in parent.glob("*"):
        if stale.name != key:
            shutil.rmtree(stale)
    return parent / key


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint, or None: a kill can leave a part of one, without its state."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def training_arguments(
    training: Training, seed: int, device: torch.device, checkpoints: Path
) -> TrainingArguments:
    """The Trainer's arguments: AdamW, linear decay, a check each epoch (docs/paper.md §5)."""
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        seed=seed,
        data_seed=seed,
        use_cpu=device.type == "cpu",
        bf16=training.precision == "bf16" and device.type == "cuda",
        learning_rate=training.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=training.warmup_steps,
        optim="adamw_torch",
        per_device_train_batch_size=training.micro_batch_size,
        per_device_eval_batch_size=training.micro_batch_size,
        gradient_accumulation_steps=training.batch_size // training.micro_batch_size,
        activation_checkpointing=training.gradient_checkpointing,
        num_train_epochs=training.epochs,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=5,
        report_to="none",
        remove_unused_columns=False,
        dataloader_num_workers=0,
    )
    if arguments.n_gpu > 1:
        raise InputError(
            f"{arguments.n_gpu} GPUs are visible, which would multiply training.batch_size: "
            "set CUDA_VISIBLE_DEVICES to one of them"
        )
    return arguments


class EpochLog(TrainerCallback):
    """Ends a window of the training curve with each epoch, where a resumed run begins one."""

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Log the steps since the last log."""
        control.should_log = True


class StepTimer(TrainerCallback):
    """Wall time of every optimiser step, in seconds; the first, which warms up, is left out."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []
        self.began = 0.0
        self.warm = False

    def now(self) -> float:
        """The clock, once the device has finished what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.began = self.now()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        if self.warm:
            self.seconds.append(self.now() - self.began)
        self.warm = True


class CounterfactualTrainer(Trainer):
    """The Trainer with our objective; losses are normalised over the whole optimiser step."""

    def __init__(
        self, objective: Objective, no_history: list[int], pad: int, share: bool, **kwargs: Any
    ) -> None:
        super().__init__(data_collator=self.collate, **kwargs)
        self.objective = objective
        self.no_history = no_history
        self.pad = pad
        self.share = share
        self.tokens: list[int] = []
        # Our loss is divided by the weights of the whole step, accumulation included.
        self.loss_is_scaled_for_ga = True

    def collate(self, batch: list[Encoded]) -> dict[str, Any]:
        """Both branches of a batch, its targets and weights."""
        prompts = [example.prompt for example in batch]
        answers = [example.answer for example in batch]
        lengths = torch.tensor([len(answer) for answer in answers])
        inputs = {
            "factual": branch(prompts, answers, self.pad, self.share),
            "targets": torch.tensor([token for answer in answers for token in answer]),
            "weights": token_weights(lengths, self.objective.beta),
            "lengths": lengths,
            "example_ids": torch.tensor([example.example_id for example in batch]),
        }
        if self.objective.alpha > 0:
            prompts = [self.no_history] * len(batch)
            inputs["counterfactual"] = branch(prompts, answers, self.pad, self.share)
        return inputs

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """The micro-batches of an optimiser step and the sum of their token weights."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        self.tokens.append(
            sum(
                int(batch[name]["attention_mask"].sum())
                for batch in batches
                for name in ("factual", "counterfactual")
                if name in batch
            )
        )
        return batches, sum(batch["weights"].sum() for batch in batches).to(device)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The share of a micro-batch in the total loss of its step (docs/paper.md §2)."""
        counterfactual = None
        if self.objective.alpha > 0:
            counterfactual = answer_logits(model, inputs["counterfactual"], inputs["lengths"])
        sums = weighted_losses(
            answer_logits(model, inputs["factual"], inputs["lengths"]),
            inputs["targets"],
            inputs["weights"],
            counterfactual,
        )
        loss = total_loss(sums, self.objective.alpha, num_items_in_batch)
        if not torch.isfinite(loss):
            raise InputError(
                f"The loss is {loss.item()} on examples {inputs['example_ids'].tolist()}: lower "
                "training.learning_rate, or look at these examples"
            )
        return loss

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The weighted normal loss of the validation examples; the causal term is left out."""
        model = self.model.eval()
        total = weight_sum = 0.0
        for inputs in self.get_eval_dataloader(eval_dataset):
            inputs = self._prepare_inputs(inputs)
            with self.compute_loss_context_manager():
                logits = answer_logits(model, inputs["factual"], inputs["lengths"])
                sums = weighted_losses(logits, inputs["targets"], inputs["weights"], None)
            total += sums.normal.item()
            weight_sum += inputs["weights"].sum().item()
        model.train()
        metrics = {f"{metric_key_prefix}_loss": total / weight_sum}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


def learning_curves(log: list[dict[str, float]]) -> pd.DataFrame:
    """The Trainer's log as rows (step, epoch, split, loss, learning_rate)."""
    rows = [
        {
            "step": int(entry["step"]),
            "epoch": entry["epoch"],
            "split": "train" if "loss" in entry else "valid",
            "loss": entry.get("loss", entry.get("eval_loss")),
            "learning_rate": entry.get("learning_rate"),
        }
        for entry in log
        if "loss" in entry or "eval_loss" in entry
    ]
    return pd.DataFrame(rows, columns=["step", "epoch", "split", "loss", "learning_rate"])


if __name__ == "__main__":
    run(finetune)
