"""The training loop: transformers' Trainer with our batches, our objective and our order."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from scripts.command import InputError
from scripts.extensions import own
from scripts.finetune.batches import Encoded, may_share_prefix, tokens_run, trunk_outputs
from scripts.finetune.callbacks import PositionLosses, StepTimer, clock
from scripts.finetune.objective import (
    POSITIONS,
    detached,
    effect_losses,
    learned_weights,
    position_sums,
    running_losses,
    token_weights,
)
from scripts.finetune.order import StepLoader, StepOrder
from scripts.finetune.settings import Objective, Training
from scripts.finetune.step import (
    Inputs,
    add_gradients,
    gradients,
    part_losses,
    recompute_activations,
    step_inputs,
)


def training_arguments(
    training: Training, seed: int, device: torch.device, checkpoints: Path
) -> TrainingArguments:
    """The Trainer's arguments: AdamW, linear decay, a check each epoch (docs/paper.md §5)."""
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        seed=seed,
        data_seed=seed,
        use_cpu=device.type == "cpu",
        # As the released code does, weights in bf16 are run in autocast, whose logits are fp32.
        bf16=training.weights == "bf16" or (training.precision == "bf16" and device.type == "cuda"),
        learning_rate=training.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=training.warmup_steps,
        optim="adamw_torch",
        # The Trainer is handed whole optimiser steps, see `CounterfactualTrainer`.
        per_device_train_batch_size=training.batch_size // training.processes,
        gradient_accumulation_steps=1,
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
    )
    # Of several visible GPUs a single process takes the first; the Trainer would split over all.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def check_processes(processes: int, device: torch.device) -> None:
    """Check that this run has the processes and the GPUs that it was configured for.

    Raises:
        InputError: it has others.
    """
    running = int(os.environ.get("WORLD_SIZE", "1"))
    if running != processes:
        raise InputError(
            f"training.processes is {processes}, but {running} of them run: begin the command with "
            f"python -m torch.distributed.run --standalone --nproc-per-node {processes} -m"
        )
    if device.type == "cuda" and torch.cuda.device_count() < processes:
        raise InputError(
            f"training.processes is {processes}, but {torch.cuda.device_count()} GPUs are visible: "
            "lower it, or set CUDA_VISIBLE_DEVICES to as many"
        )


class CounterfactualTrainer(Trainer):
    """The Trainer with our objective: it hands over whole optimiser steps, see `add_gradients`.

    With several processes each runs its share of every step, and the gradients are summed once a
    step. No wrapper does that: DistributedDataParallel averages, at the end of the first backward
    pass that it sees, and a step has several, through parameters that are used more than once.
    """

    def __init__(
        self,
        objective: Objective,
        training: Training,
        no_history: list[int],
        pad: int,
        share: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.objective = objective
        self.causal_loss = effect_losses
        if objective.module:
            self.causal_loss = own(objective.module, "causal_losses")
        if objective.detached:
            self.causal_loss = detached(self.causal_loss)
        self.training = training
        self.no_history = no_history
        self.pad = pad
        self.share = share and may_share_prefix(self.model)
        if training.gradient_checkpointing:
            recompute_activations(self.model)
        self.add_callback(StepTimer())
        if objective.token_weights == "learned":
            self.add_callback(PositionLosses())
        self.example_ids: list[int] = []
        self.clipped = 0

    def create_accelerator_and_postprocess(self) -> None:
        """Let accelerate put mixed precision around the model, and nothing else: what its
        `evaluation_mode` means. It is how the Trainer itself prepares models that see to their
        gradients."""
        super().create_accelerator_and_postprocess()
        self.accelerator.prepare_model = partial(
            self.accelerator.prepare_model, evaluation_mode=True
        )

    def inputs(
        self,
        examples: list[Encoded],
        weigh: Callable[[Tensor], Tensor],
        no_history: list[int] | None,
        training: Training,
    ) -> Inputs:
        """This process's share of some examples."""
        return step_inputs(
            examples, weigh, no_history, self.pad, self.share, training, self.args.process_index
        )

    def weigh(self, lengths: Tensor) -> Tensor:
        """(N,) weights of the tokens of answers of these (B,) lengths, as they are in this step."""
        if self.objective.token_weights == "linear":
            return token_weights(lengths, self.objective.beta)
        running = torch.tensor(self.position_losses.running, dtype=torch.float64)
        return learned_weights(running, lengths)

    @property
    def timer(self) -> StepTimer:
        """The times; a resumed Trainer puts another one in its place."""
        return next(c for c in self.callback_handler.callbacks if isinstance(c, StepTimer))

    @property
    def position_losses(self) -> PositionLosses:
        """What the learned weights follow; a resumed Trainer puts another one in its place."""
        return next(c for c in self.callback_handler.callbacks if isinstance(c, PositionLosses))

    def weights_by_position(self) -> tuple[list[float | None], list[int]]:
        """Mean weight, as it is now, and number of the training answers' tokens at each of the
        `POSITIONS`; null where no answer is that long."""
        lengths = torch.tensor([len(example.answer) for example in self.train_dataset])
        sums, numbers = position_sums(self.weigh(lengths), lengths).tolist()
        means = [s / n if n else None for s, n in zip(sums, numbers, strict=True)]
        return means, [int(n) for n in numbers]

    def learn_weights(self, token_losses: list[Tensor], lengths: list[Tensor]) -> None:
        """Move the learned weights on by a step, whose losses are those of this process's parts."""
        sums = torch.zeros(2, POSITIONS, dtype=torch.float64)
        for tokens, answers in zip(token_losses, lengths, strict=True):
            sums += position_sums(tokens, answers.cpu())
        if self.args.world_size > 1:
            sums = sums.to(self.args.device)
            self.sum_over_processes([sums])
        follows = self.position_losses
        running = torch.tensor(follows.running, dtype=torch.float64)
        follows.running = running_losses(running, sums.cpu()).tolist()

    def get_train_dataloader(self) -> DataLoader:
        """The training steps: without history too where the objective compares the two."""
        order = StepOrder(
            [len(example.prompt) + len(example.answer) for example in self.train_dataset],
            self.training.batch_size,
            self.args.data_seed,
            grouped=self.training.order == "length-grouped",
        )
        no_history = self.no_history if self.objective.alpha > 0 else None
        return StepLoader(
            self.train_dataset,
            batch_sampler=order,
            collate_fn=partial(
                self.inputs, weigh=self.weigh, no_history=no_history, training=self.training
            ),
        )

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of an optimiser step; its loss, summed over the processes."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss, token_losses = add_gradients(model, inputs, self.objective.alpha, self.causal_loss)
        tokens = torch.tensor(float(tokens_run(inputs["branches"])), device=loss.device)
        if self.args.world_size > 1:
            self.sum_over_processes([loss, tokens])
            self.sum_over_processes(gradients(model))
        if self.objective.token_weights == "learned":
            self.learn_weights(token_losses, inputs["lengths"])
        self.example_ids = sorted(i for part in inputs["example_ids"] for i in part)
        self.timer.tokens.append(int(tokens))
        return loss

    def sum_over_processes(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, the same bits in all of them."""
        for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            work.wait()

    def _clip_grad_norm(self, model: Any) -> Tensor:
        norm = super()._clip_grad_norm(model)
        if not torch.isfinite(norm):
            raise InputError(
                f"The gradient's norm is {norm.item()} in the step on examples "
                f"{self.example_ids}: lower training.learning_rate, or look at "
                "these examples"
            )
        self.clipped += int(norm > self.args.max_grad_norm)
        return norm

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # Checkpoints hold tied weights once: the other name is not missing.
        tied = getattr(self.model, "all_tied_weights_keys", {})
        missing = [key for key in load_result.missing_keys if key not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to the losses of the steps since the last log what these steps took."""
        if "loss" in logs:
            seconds, tokens = self.timer.take_window()
            logs["seconds_per_step"] = sum(seconds) / len(seconds)
            logs["tokens_per_second"] = tokens / sum(seconds)
            logs["clipped_steps"] = self.clipped
            self.clipped = 0
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, Any]:
        """The normal loss of the validation examples, weighted and with equal token weights.

        The causal term is left out. The weighted loss chooses the best epoch. The other one is
        alike for all objectives.
        """
        began = clock(self.args.device)
        model = self.model.eval()
        # Of the validation examples there is one loss, whatever the training normalises by.
        whole = self.training.model_copy(update={"normalisation": "step"})
        # Equal weights, as beta is 1, where they are learned: the losses compare over the epochs.
        weigh = partial(token_weights, beta=self.objective.beta)
        inputs = self._prepare_inputs(self.inputs(self.eval_dataset, weigh, None, whole))
        shared = trunk_outputs(model, inputs["branches"])
        parts = [part_losses(model, inputs, shared, i) for i in range(len(inputs["targets"]))]
        model.train()
        sums = torch.zeros(3, dtype=torch.float64, device=self.args.device)
        for part in parts:
            tokens = part.tokens.to(sums)
            sums += torch.stack([part.normal.to(sums), tokens.sum(), sums.new_tensor(len(tokens))])
        if self.args.world_size > 1:
            self.sum_over_processes([sums])
        loss, equal, number = sums.tolist()
        metrics: dict[str, Any] = {
            f"{metric_key_prefix}_loss": loss,
            f"{metric_key_prefix}_equal_weight_loss": equal / number,
            f"{metric_key_prefix}_seconds": clock(self.args.device) - began,
        }
        if self.objective.token_weights == "learned":
            metrics["token_weights"], _ = self.weights_by_position()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
