"""What the Trainer writes down and carries along as it runs: metrics, times, learned weights."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from scripts.files import checksums, write_json
from scripts.finetune.objective import POSITIONS

#: Of a checkpoint: the SHA-256 of its other files.
CHECKSUMS = "checksums.json"


class EpochLog(TrainerCallback):
    """Ends a window of the training curve with each epoch, where a resumed run begins one."""

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Log the steps since the last log."""
        control.should_log = True


class MetricsLog(TrainerCallback):
    """Writes the training's metrics as it runs: what a resumed run has behind it, then each log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: TrainerState, *others: Any, **kwargs: Any) -> None:
        """Begin the file anew, without the steps behind the checkpoint that a run resumes from."""
        self.write(state, "w", state.log_history)

    def on_log(self, args: Any, state: TrainerState, *others: Any, **kwargs: Any) -> None:
        """Add the last log."""
        self.write(state, "a", state.log_history[-1:])

    def write(self, state: TrainerState, mode: str, log: list[dict[str, Any]]) -> None:
        """Write entries of the log, in the main process."""
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open(mode, encoding="utf-8") as stream:
                stream.write(metrics_lines(log))


class CheckpointSums(TrainerCallback):
    """Writes the checksums of a checkpoint into it once it is whole."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write them when all processes have saved what is theirs."""
        if args.world_size > 1:
            dist.barrier()
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_json(checksums(checkpoint), checkpoint / CHECKSUMS)


def clock(device: torch.device) -> float:
    """Wall time in seconds, once the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class StepTimer(TrainerCallback, ExportableState):
    """Wall times and tokens of the whole run; they rest in the checkpoints.

    Attributes:
        seconds: of every optimiser step but each process's first, a warm-up.
        tokens: that every step ran, of all processes together.
        epochs: seconds of every epoch, the preparation of its batches included, the validation not.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.tokens: list[int] = []
        self.epochs: list[float] = []
        self.window: list[float] = []
        self.began_epoch = self.began_step = 0.0
        self.warm = False

    def on_epoch_begin(self, args: TrainingArguments, *others: Any, **kwargs: Any) -> None:
        """Start the epoch's clock."""
        self.began_epoch = clock(args.device)

    def on_step_begin(self, args: TrainingArguments, *others: Any, **kwargs: Any) -> None:
        """Start the step's clock."""
        self.began_step = clock(args.device)

    def on_step_end(self, args: TrainingArguments, *others: Any, **kwargs: Any) -> None:
        """Stop the step's clock."""
        self.window.append(clock(args.device) - self.began_step)
        if self.warm:
            self.seconds.append(self.window[-1])
        self.warm = True

    def on_epoch_end(self, args: TrainingArguments, *others: Any, **kwargs: Any) -> None:
        """Stop the epoch's clock."""
        self.epochs.append(clock(args.device) - self.began_epoch)

    def take_window(self) -> tuple[list[float], int]:
        """Seconds of each step, and tokens of all steps, since these were last taken."""
        taken, self.window = self.window, []
        return taken, sum(self.tokens[-len(taken) :])

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        kept = {"seconds": self.seconds, "tokens": self.tokens, "epochs": self.epochs}
        return {"args": {}, "attributes": kept}


class PositionLosses(TrainerCallback, ExportableState):
    """The running losses by position that learned weights follow; they rest in the checkpoints."""

    def __init__(self) -> None:
        self.running = [math.nan] * POSITIONS

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"args": {}, "attributes": {"running": self.running}}


def metrics(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The Trainer's log: windows of training steps, and the validations.

    The gradient's norm, before clipping, is that of the window's last step; `clipped_steps` counts
    those of its steps whose gradient was longer than the Trainer's `max_grad_norm`. With the
    validations stand the loss with equal token weights, which compares over objectives, and learned
    token weights, by position.
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
                ("equal_weight_loss", "eval_equal_weight_loss"),
                ("learning_rate", "learning_rate"),
                ("gradient_norm", "grad_norm"),
                ("clipped_steps", "clipped_steps"),
                ("seconds_per_step", "seconds_per_step"),
                ("tokens_per_second", "tokens_per_second"),
                ("seconds", "eval_seconds"),
                ("token_weights", "token_weights"),
            )
            if key in entry
        }
        for entry in log
        if "loss" in entry or "eval_loss" in entry
    ]


def metrics_lines(log: list[dict[str, Any]]) -> str:
    """The metrics as JSON lines."""
    return "".join(json.dumps(entry) + "\n" for entry in metrics(log))


def learning_curves(log: list[dict[str, Any]]) -> pd.DataFrame:
    """The metrics as rows (step, epoch, split, loss, equal_weight_loss, learning_rate)."""
    columns = ["step", "epoch", "split", "loss", "equal_weight_loss", "learning_rate"]
    return pd.DataFrame(metrics(log), columns=columns)
