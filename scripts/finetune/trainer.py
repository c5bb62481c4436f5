"""The training loop: transformers' Trainer with our batches, our objective and our order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from scripts.command import InputError
from scripts.finetune.batches import Encoded, answer_logits, branches, tokens_run
from scripts.finetune.objective import Loss, token_weights, total_loss, weighted_losses
from scripts.finetune.settings import Objective, Training

#: Examples of so many optimiser steps are sorted by length together.
STEPS_SORTED = 16


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


class LengthGroupedOrder(Sampler[int]):
    """A random order whose steps hold examples of like length, given by the seed and the epoch.

    Chunks of a random permutation are sorted by length and cut into steps, whose order is random
    again.

    Args:
        lengths: length of each example.
        step: examples per optimiser step.
        seed: of the order.
    """

    def __init__(self, lengths: list[int], step: int, seed: int) -> None:
        self.lengths = torch.tensor(lengths)
        self.step = step
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer at the beginning of each epoch, resumed or not."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """Indices of the examples in the order of this epoch."""
        # The factor keeps a seed's second epoch apart from the next seed's first.
        generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        order = torch.randperm(len(self), generator=generator)
        whole = len(order) - len(order) % self.step
        steps = [
            step
            for chunk in order[:whole].split(self.step * STEPS_SORTED)
            for step in chunk[self.lengths[chunk].argsort(stable=True)].split(self.step)
        ]
        for i in torch.randperm(len(steps), generator=generator).tolist():
            yield from steps[i].tolist()
        # An incomplete step is the last one, as the Trainer expects.
        yield from order[whole:].tolist()


def batch_inputs(
    batch: list[Encoded], beta: float, no_history: list[int] | None, pad: int, share: bool
) -> dict[str, Any]:
    """A batch as `step_sums` takes it: see `branches`; `no_history` None leaves that branch out."""
    answers = [example.answer for example in batch]
    return {
        "branches": branches([e.prompt for e in batch], answers, no_history, pad, share),
        "targets": torch.tensor([token for answer in answers for token in answer]),
        "weights": token_weights(torch.tensor([len(answer) for answer in answers]), beta),
        "example_ids": torch.tensor([example.example_id for example in batch]),
    }


def step_sums(model: Any, inputs: dict[str, Any]) -> Loss:
    """The weighted sums of the losses of a batch, causal loss included if it has that branch."""
    logits, without_history = answer_logits(model, inputs["branches"])
    return weighted_losses(logits, inputs["targets"], inputs["weights"], without_history)


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
        """A training batch: without history too where the objective compares the two."""
        no_history = self.no_history if self.objective.alpha > 0 else None
        return batch_inputs(batch, self.objective.beta, no_history, self.pad, self.share)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedOrder:
        return LengthGroupedOrder(
            [len(example.prompt) + len(example.answer) for example in self.train_dataset],
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            self.args.data_seed,
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """The validation batches, with their history only, in order of length."""
        examples = sorted(
            self.eval_dataset, key=lambda example: (len(example.prompt), example.example_id)
        )

        def collate(batch: list[Encoded]) -> dict[str, Any]:
            return batch_inputs(batch, self.objective.beta, None, self.pad, self.share)

        return DataLoader(examples, self.args.eval_batch_size, collate_fn=collate)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """The micro-batches of an optimiser step and the sum of their token weights."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        self.tokens.append(sum(tokens_run(batch["branches"]) for batch in batches))
        return batches, sum(batch["weights"].sum() for batch in batches).to(device)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The share of a micro-batch in the total loss of its step (docs/paper.md §2)."""
        loss = total_loss(step_sums(model, inputs), self.objective.alpha, num_items_in_batch)
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
                total += step_sums(model, inputs).normal.item()
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
