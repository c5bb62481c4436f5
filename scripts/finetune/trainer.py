"""The training loop: transformers' Trainer with our batches, our objective and our order."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import TensorBoardCallback, is_tensorboard_available
from transformers.trainer_callback import ExportableState

from scripts.command import InputError
from scripts.finetune.batches import (
    Branches,
    Encoded,
    Shared,
    branches,
    part_logits,
    tokens_run,
    trunk_outputs,
)
from scripts.finetune.objective import (
    POSITIONS,
    Loss,
    learned_weights,
    position_sums,
    running_losses,
    token_weights,
    total_loss,
    weighted_losses,
)
from scripts.finetune.settings import Normalisation, Objective, Training

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
        # The Trainer is handed whole optimiser steps, see `CounterfactualTrainer`.
        per_device_train_batch_size=training.batch_size // training.processes,
        gradient_accumulation_steps=1,
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


class EpochLog(TrainerCallback):
    """Ends a window of the training curve with each epoch, where a resumed run begins one."""

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Log the steps since the last log."""
        control.should_log = True


class MetricsLog(TrainerCallback):
    """Writes the training's metrics as it runs: what a resumed run has behind it, then each log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin the file anew, without the steps behind the checkpoint that a run resumes from."""
        self.write(state, "w", state.log_history)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Add the last log."""
        self.write(state, "a", state.log_history[-1:])

    def write(self, state: TrainerState, mode: str, log: list[dict[str, float]]) -> None:
        """Write entries of the log, in the main process."""
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open(mode, encoding="utf-8") as stream:
                stream.write(metrics_lines(log))


def tensorboard(folder: Path, resumed_step: int) -> TensorBoardCallback:
    """Writes the Trainer's log for TensorBoard, and takes back what lies behind a resumed step.

    Raises:
        InputError: the package is not installed.
    """
    if not is_tensorboard_available():
        raise InputError(
            "training.tensorboard needs a package that is not installed: pip install tensorboard"
        )
    from torch.utils.tensorboard import SummaryWriter

    return TensorBoardCallback(SummaryWriter(str(folder), purge_step=resumed_step + 1))


class StepTimer(TrainerCallback):
    """Wall time of every optimiser step, in seconds; `seconds` leaves out the first, a warm-up."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []
        self.recent: list[float] = []
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
        self.recent.append(self.now() - self.began)
        if self.warm:
            self.seconds.append(self.recent[-1])
        self.warm = True

    def take_recent(self) -> list[float]:
        """The times of the steps since they were last taken."""
        taken, self.recent = self.recent, []
        return taken


class PositionLosses(TrainerCallback, ExportableState):
    """The running losses by position that learned weights follow; they rest in the checkpoints."""

    def __init__(self) -> None:
        self.running = [math.nan] * POSITIONS

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"args": {}, "attributes": {"running": self.running}}


class LengthGroupedOrder(Sampler[list[int]]):
    """Optimiser steps of examples of like length in a random order, given by seed and epoch.

    Chunks of a random permutation are sorted by length and cut into steps, whose order is random
    again; an incomplete step comes last.

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
        """Choose the epoch, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of steps."""
        return math.ceil(len(self.lengths) / self.step)

    def __iter__(self) -> Iterator[list[int]]:
        """Indices of the examples of each step of this epoch."""
        # The factor keeps a seed's second epoch apart from the next seed's first.
        generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        whole = len(order) - len(order) % self.step
        steps = [
            step
            for chunk in order[:whole].split(self.step * STEPS_SORTED)
            if whole
            for step in chunk[self.lengths[chunk].argsort(stable=True)].split(self.step)
        ]
        for i in torch.randperm(len(steps), generator=generator).tolist():
            yield steps[i].tolist()
        if whole < len(order):
            yield order[whole:].tolist()


class Inputs(TypedDict):
    """The examples of an optimiser step that this process runs: a list's items are of one part.

    `targets` are (N,) int64 answer tokens; `weights` (N,) float32, divided by what the losses are
    normalised by; `lengths` (B,) int64 are the answers' tokens; `example_ids` say whose they are.
    """

    branches: Branches
    lengths: list[Tensor]
    targets: list[Tensor]
    weights: list[Tensor]
    example_ids: list[list[int]]


def step_inputs(
    examples: list[Encoded],
    weigh: Callable[[Tensor], Tensor],
    no_history: list[int] | None,
    pad: int,
    share: bool,
    size: int | None = None,
    normalisation: Normalisation = "step",
    process: int = 0,
    processes: int = 1,
) -> Inputs:
    """What a process runs of an optimiser step.

    The parts are of like length. Every process is told all examples of the step, and so knows what
    the losses are to be normalised by; a step with fewer examples than processes leaves some of
    them without any.

    Args:
        examples: all examples of the step.
        weigh: from the (B,) int64 numbers of supervised tokens of B examples to the (N,) weights
            of their tokens, N = their sum.
        no_history: the prompt without history; None leaves that branch out.
        pad: token that fills the rows.
        share: run what the prompts have in common once.
        size: most examples of a part; None makes one part of a process's share.
        normalisation: what the losses are divided by, see `Training`.
        process: the number of this one, from 0.
        processes: how many share the step.

    Raises:
        InputError: there are no examples, or one of them has no supervised token.
    """
    empty = [example.example_id for example in examples if not example.answer]
    if empty or not examples:
        raise InputError(f"Examples without a supervised token, or none at all: {empty}")
    ordered = sorted(examples, key=lambda e: (len(e.prompt) + len(e.answer), e.example_id))
    shares = [ordered[first::processes] for first in range(processes)]
    size = size or len(ordered)
    own = shares[process]
    parts = [own[start : start + size] for start in range(0, len(own), size)]
    weights = [weigh(lengths(part)) for part in parts]
    if normalisation == "step":
        total = weigh(lengths(ordered)).sum()
        weights = [part / total for part in weights]
    else:
        count = sum(math.ceil(len(each) / size) for each in shares)
        weights = [part / (part.sum() * count) for part in weights]
    prompts, answers = [e.prompt for e in own], [e.answer for e in own]
    return Inputs(
        branches=branches(prompts, answers, no_history, pad, share, size),
        lengths=[lengths(part) for part in parts],
        targets=[torch.tensor([token for e in part for token in e.answer]) for part in parts],
        weights=weights,
        example_ids=[[e.example_id for e in part] for part in parts],
    )


def lengths(examples: list[Encoded]) -> Tensor:
    """(B,) int64 numbers of supervised tokens."""
    return torch.tensor([len(example.answer) for example in examples], dtype=torch.int64)


def part_losses(model: Any, inputs: Inputs, shared: Shared, index: int) -> Loss:
    """The losses of a part, the `index`-th of its step, with weights that are normalised already.

    Raises:
        InputError: they are no finite numbers.
    """
    logits, without_history = part_logits(model, inputs["branches"]["parts"][index], shared, index)
    targets, weights = inputs["targets"][index], inputs["weights"][index]
    losses = weighted_losses(logits, targets, weights, without_history)
    if not torch.isfinite(losses.normal + losses.causal):
        raise InputError(
            f"The loss is {(losses.normal + losses.causal).item()} on examples "
            f"{sorted(inputs['example_ids'][index])}: lower training.learning_rate, or look at "
            "these examples"
        )
    return losses


def add_gradients(model: Any, inputs: Inputs, alpha: float) -> tuple[Tensor, list[Tensor]]:
    """Add the gradient of a step's loss (docs/paper.md §2) to the parameters'.

    The trunk runs once for all parts. Each part, forward and backward, sees what it needs of it as
    leaves of its own graph; when all parts have left their gradients there, these go back through
    the trunk. Memory is that of one part and of the trunk, whose logits without history are there
    for the whole step: 64 answers of 12 tokens with 152,000 words take 470 MB, and so do their
    gradients.

    Returns:
        The loss of this process's share, a scalar without a gradient, and the normal losses of the
        tokens of each part.
    """
    shared = trunk_outputs(model, inputs["branches"])
    leaves = Shared(*([as_leaf(tensor) for tensor in tensors] for tensors in shared))
    total, tokens = torch.zeros((), device=model.device), []
    for index in range(len(inputs["targets"])):
        seen = Shared(
            # What the parts' gradients add up in is float32, whatever the forward pass runs in.
            [
                leaf.to(state.dtype)
                for leaf, state in zip(leaves.states, shared.states, strict=True)
            ],
            leaves.logits,
        )
        losses = part_losses(model, inputs, seen, index)
        loss = total_loss(losses, alpha, 1.0)
        loss.backward()
        total += loss.detach()
        tokens.append(losses.tokens)
    trained = [
        (output, leaf.grad.to(output.dtype))
        for outputs, inner in zip(shared, leaves, strict=True)
        for output, leaf in zip(outputs, inner, strict=True)
        if leaf.grad is not None
    ]
    if trained:
        torch.autograd.backward(*zip(*trained, strict=True))
    return total, tokens


def as_leaf(tensor: Tensor) -> Tensor:
    """A float32 tensor of the same values, which gathers gradients if this one would."""
    return tensor.detach().float().requires_grad_(tensor.requires_grad)


class StepLoader(DataLoader):
    """Whole optimiser steps, in the order of the epoch that the Trainer tells."""

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer at the beginning of each epoch, resumed or not."""
        self.batch_sampler.set_epoch(epoch)


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
        self.training = training
        self.no_history = no_history
        self.pad = pad
        self.share = share
        self.timer = StepTimer(self.args.device)
        self.add_callback(self.timer)
        if objective.schedule == "learned":
            self.add_callback(PositionLosses())
        self.tokens: list[int] = []
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
        normalisation: Normalisation,
    ) -> Inputs:
        """This process's share of some examples."""
        return step_inputs(
            examples,
            weigh,
            no_history,
            self.pad,
            self.share,
            self.training.micro_batch_size,
            normalisation,
            self.args.process_index,
            self.args.world_size,
        )

    def weigh(self, lengths: Tensor) -> Tensor:
        """(N,) weights of the tokens of answers of these (B,) lengths, as they are in this step."""
        if self.objective.schedule == "linear":
            return token_weights(lengths, self.objective.beta)
        running = torch.tensor(self.position_losses.running, dtype=torch.float64)
        return learned_weights(running, lengths, self.objective.temperature)

    def weigh_validation(self, lengths: Tensor) -> Tensor:
        """(N,) weights in the validation; equal where they are learned in training, as its losses
        must compare over the epochs."""
        beta = self.objective.beta if self.objective.schedule == "linear" else 1.0
        return token_weights(lengths, beta)

    @property
    def position_losses(self) -> PositionLosses:
        """What the learned weights follow; a resumed Trainer puts another one in its place."""
        return next(c for c in self.callback_handler.callbacks if isinstance(c, PositionLosses))

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
        order = LengthGroupedOrder(
            [len(example.prompt) + len(example.answer) for example in self.train_dataset],
            self.training.batch_size,
            self.args.data_seed,
        )
        no_history = self.no_history if self.objective.alpha > 0 else None
        return StepLoader(
            self.train_dataset,
            batch_sampler=order,
            collate_fn=partial(
                self.inputs,
                weigh=self.weigh,
                no_history=no_history,
                normalisation=self.training.normalisation,
            ),
        )

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of an optimiser step; its loss, summed over the processes."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss, token_losses = add_gradients(model, inputs, self.objective.alpha)
        tokens = torch.tensor(float(tokens_run(inputs["branches"])), device=loss.device)
        if self.args.world_size > 1:
            self.sum_over_processes([loss, tokens])
            self.sum_over_processes(gradients(model))
        if self.objective.schedule == "learned":
            self.learn_weights(token_losses, inputs["lengths"])
        self.example_ids = sorted(i for part in inputs["example_ids"] for i in part)
        self.tokens.append(int(tokens))
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

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to the losses of the steps since the last log what these steps took."""
        if "loss" in logs:
            seconds = self.timer.take_recent()
            tokens = sum(self.tokens[-len(seconds) :])
            logs["seconds_per_step"] = sum(seconds) / len(seconds)
            logs["tokens_per_second"] = tokens / sum(seconds)
            logs["clipped_steps"] = self.clipped
            self.clipped = 0
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The weighted normal loss of the validation examples; the causal term is left out."""
        began = self.timer.now()
        model = self.model.eval()
        inputs = self._prepare_inputs(
            self.inputs(self.eval_dataset, self.weigh_validation, None, "step")
        )
        shared = trunk_outputs(model, inputs["branches"])
        parts = [part_losses(model, inputs, shared, i) for i in range(len(inputs["targets"]))]
        model.train()
        loss = torch.tensor(
            sum(part.normal.item() for part in parts), dtype=torch.float64, device=self.args.device
        )
        if self.args.world_size > 1:
            self.sum_over_processes([loss])
        metrics = {
            f"{metric_key_prefix}_loss": loss.item(),
            f"{metric_key_prefix}_seconds": self.timer.now() - began,
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


def gradients(model: Any) -> list[Tensor]:
    """The gradients of all trained parameters; zeros where this process has had no example."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in trained]


def metrics(log: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The Trainer's log: windows of training steps, and the validations.

    The gradient's norm, before clipping, is that of the window's last step; `clipped_steps` counts
    those of its steps whose gradient was longer than the Trainer's `max_grad_norm`.
    """
    return [
        {
            "step": int(entry["step"]),
            "epoch": entry["epoch"],
            "split": "train" if "loss" in entry else "valid",
            "loss": entry.get("loss", entry.get("eval_loss")),
        }
        | {
            name: entry[key]
            for name, key in (
                ("learning_rate", "learning_rate"),
                ("gradient_norm", "grad_norm"),
                ("clipped_steps", "clipped_steps"),
                ("seconds_per_step", "seconds_per_step"),
                ("tokens_per_second", "tokens_per_second"),
                ("seconds", "eval_seconds"),
            )
            if key in entry
        }
        for entry in log
        if "loss" in entry or "eval_loss" in entry
    ]


def metrics_lines(log: list[dict[str, float]]) -> str:
    """The metrics as JSON lines."""
    return "".join(json.dumps(entry) + "\n" for entry in metrics(log))


def learning_curves(log: list[dict[str, float]]) -> pd.DataFrame:
    """The metrics as rows (step, epoch, split, loss, learning_rate)."""
    return pd.DataFrame(metrics(log), columns=["step", "epoch", "split", "loss", "learning_rate"])
