"""What a step of fine-tuning costs (forward and backward): ours, and what it is measured against.

    python -m tests.benchmarks.finetune_step --shape tiny
    python -m tests.benchmarks.finetune_step --shape qwen2-0.5b-3-layers --part 2
    python -m tests.benchmarks.finetune_step --shape qwen2-0.5b --device cuda --batch 64

- `released`: the released algorithm, written plainly from its description: two forward passes over
  padded prompts, both branches as long as the longer one, the whole vocabulary at every position.
- `ordinary plain`: one padded forward pass, logits at the label positions only.
- `our plain` and `our CFT`: what the Trainer runs, in parts of `--part` examples.

Each candidate has a process of its own, for its peak memory; the rounds take turns, and time is
the median over rounds: wall time on a GPU, CPU time otherwise. Memory is what a step on the first
batch adds to the model and its gradients. `share of matrix rate` is the operations per second as a
share of what a large matrix product reaches in the same run, in the same arithmetic; `MFU`, on a
GPU whose data sheet is known here, the same as a share of its nominal dense bf16 rate. Operations
are those of the candidate's own matrix products and attention, padding included. Prompts are of the
instruct template, with ten made-up titles each.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

from scripts.backbones.scratch import train_tokenizer
from scripts.command import progress, run
from scripts.data.settings import Prompt
from scripts.device import Device, torch_device
from scripts.finetune.batches import Encoded, encode, no_history_prompt, tokens_run
from scripts.finetune.objective import token_weights
from scripts.finetune.settings import Training
from scripts.finetune.step import Inputs, add_gradients, step_inputs
from scripts.provenance import device_name
from scripts.study.costs import nominal_rate
from scripts.study.measure import made_up
from tests.benchmarks.measure import machine

Shape = Literal["tiny", "qwen2-0.5b-3-layers", "qwen2-0.5b"]
ALPHA, BETA = 0.1, 0.25
PROMPT = Prompt(
    instruction="Given the movies that the user has watched before, recommend a new movie that the "
    "user will like.",
    history="The user has watched the following movies before:",
)
QWEN2 = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
}
SHAPES: dict[str, PretrainedConfig] = {
    # The scratch backbone of config/quickstart.yaml.
    "tiny": LlamaConfig(
        vocab_size=4000,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
    ),
    "qwen2-0.5b-3-layers": Qwen2Config(vocab_size=18_996, num_hidden_layers=3, **QWEN2),
    "qwen2-0.5b": Qwen2Config(vocab_size=151_936, num_hidden_layers=24, **QWEN2),
}
#: Words of a made-up title: prompts of ten come to about 125 and 270 tokens.
TITLE_WORDS = {"tiny": 4, "qwen2-0.5b-3-layers": 16, "qwen2-0.5b": 16}
Candidate = Literal["released", "ordinary plain", "our plain", "our CFT"]
#: Examples that the tokenizer is trained on, and the batches are cut from.
EXAMPLES_DRAWN = 4096


def finetune_step(
    shape: Shape = "qwen2-0.5b-3-layers",
    batch: int = 8,
    part: int | None = None,
    rounds: int = 7,
    seed: int = 0,
    device: Device = "cpu",
    candidates: list[Candidate] | None = None,
) -> None:
    """Time the candidates, measure their memory and compare their losses and gradients.

    On a GPU the forward pass runs in bf16 (autocast), on a CPU in float32.

    Args:
        shape: the model, with random weights.
        batch: examples per step.
        part: examples per forward and backward pass of ours (`micro_batch_size`); null takes all.
        rounds: timed steps of each candidate, each on another batch, after one that is not timed.
        seed: of the examples and the weights.
        device: where to run.
        candidates: which of them, null for all; each holds a model and its gradients.
    """
    place = torch_device(device)
    batches, no_history, pad = draw_batches(shape, batch, rounds + 1, seed)
    work = (shape, seed, place, no_history, pad, part)
    print_machine(place, shape, batches)
    print_differences(*work, [examples[:4] for examples in batches[:1]])

    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Any] = {}
    for name in candidates or get_args(Candidate):
        pipes[name], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, name, *work), daemon=True).start()
        # Without this end of the pipe, a candidate that dies is noticed.
        theirs.close()
        pipes[name].send(batches[0][:1])
    for pipe in pipes.values():
        pipe.recv()
    rows, rates = [], []
    for number, examples in enumerate(progress(batches, "rounds")):
        for name, pipe in pipes.items():
            pipe.send(examples)
            rows.append({"step": name, "round": number, **pipe.recv()})
        rates.append(matrix_rate(place))
    for pipe in pipes.values():
        pipe.send(None)
    steps = pd.DataFrame(rows).query("round > 0")
    rate = statistics.median(rates)
    table = summary(steps, rate, nominal_rate(device_name(place)) or math.nan, batch)
    print(f"\nmatrix rate: {rate / 1e9:,.0f} GFLOP/s\n")
    print(table.to_markdown(floatfmt=",.4g"))
    print_ratios(steps, table)


def draw_batches(
    shape: Shape, size: int, count: int, seed: int
) -> tuple[list[list[Encoded]], list[int], int]:
    """`count` batches, the prompt without history and the padding token."""
    examples, titles = made_up(EXAMPLES_DRAWN, TITLE_WORDS[shape], seed)
    tokenizer = train_tokenizer(examples, titles, PROMPT, SHAPES[shape].vocab_size)
    encoded, _ = encode(examples.head(size * count), titles, tokenizer, PROMPT, 1024)
    batches = [encoded[i : i + size] for i in range(0, len(encoded), size)]
    return batches, no_history_prompt(tokenizer, PROMPT), tokenizer.pad_token_id


def make_model(shape: Shape, seed: int, device: torch.device) -> Any:
    """The model with random weights, in training mode."""
    torch.manual_seed(seed)
    with device:
        model = AutoModelForCausalLM.from_config(SHAPES[shape], dtype=torch.float32)
    model.config.use_cache = False
    return model.train()


def left_padded(
    prompts: list[list[int]], answers: list[list[int]], length: int, pad: int
) -> tuple[Tensor, Tensor]:
    """Prompts with whole answers, padded on the left to one length, and the mask of the real."""
    ids = torch.full((len(prompts), length), pad)
    mask = torch.zeros_like(ids)
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        tokens = torch.tensor(prompt + answer)
        ids[i, -len(tokens) :] = tokens
        mask[i, -len(tokens) :] = 1
    return ids, mask


def released_inputs(
    batch: list[Encoded], no_history: list[int], pad: int, part: int | None
) -> dict[str, Any]:
    """Both branches as long as the longer one, labels and weights at every position."""
    prompts, answers = [e.prompt for e in batch], [e.answer for e in batch]
    length = max(len(prompt) + len(answer) for _, prompt, answer in batch)
    ids, mask = left_padded(prompts, answers, length, pad)
    ids_0, mask_0 = left_padded([no_history] * len(batch), answers, length, pad)
    labels = torch.full_like(ids, -100)
    weights = torch.zeros(ids.shape)
    for i, answer in enumerate(answers):
        labels[i, -len(answer) :] = torch.tensor(answer)
        weights[i, -len(answer) :] = torch.linspace(1, BETA, len(answer))
    return {
        "factual": {"input_ids": ids, "attention_mask": mask, "position_ids": positions(mask)},
        "counterfactual": {
            "input_ids": ids_0,
            "attention_mask": mask_0,
            "position_ids": positions(mask_0),
        },
        "labels": labels,
        "weights": weights,
    }


def positions(mask: Tensor) -> Tensor:
    """Position ids of padded rows, from 0 at the first real token."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def released_step(model: Any, inputs: dict[str, Any]) -> Tensor:
    """The released algorithm's forward and backward; the loss, normalised as the paper's is."""
    logits = model(**inputs["factual"]).logits
    effect = logits - model(**inputs["counterfactual"]).logits
    labels = inputs["labels"][:, 1:].flatten()
    weights = inputs["weights"][:, 1:].flatten()

    def weighted(scores: Tensor) -> Tensor:
        flat = scores[:, :-1].flatten(0, 1)
        losses = cross_entropy(flat, labels, ignore_index=-100, reduction="none")
        return (losses * weights).sum() / weights.sum()

    loss = weighted(logits) + ALPHA * weighted(effect)
    loss.backward()
    return loss


def our_inputs(
    batch: list[Encoded],
    no_history: list[int],
    pad: int,
    part: int | None,
    plain: bool = False,
    share: bool = True,
) -> Inputs:
    """What our Trainer makes of a step's examples, for CFT or for plain fine-tuning."""
    settings = Training(micro_batch_size=part if part and share else len(batch))
    weights = partial(token_weights, beta=1.0 if plain else BETA)
    return step_inputs(batch, weights, None if plain else no_history, pad, share, settings)


def our_step(model: Any, inputs: Inputs) -> Tensor:
    """The forward and backward of our Trainer; the loss."""
    return add_gradients(model, inputs, ALPHA)[0]


#: How a candidate prepares a batch, which is not timed, and its forward and backward.
CANDIDATES: dict[Candidate, tuple[Callable[..., Any], Callable[..., Tensor]]] = {
    "released": (released_inputs, released_step),
    "ordinary plain": (partial(our_inputs, plain=True, share=False), our_step),
    "our plain": (partial(our_inputs, plain=True), our_step),
    "our CFT": (our_inputs, our_step),
}


def tokens(inputs: dict[str, Any]) -> int:
    """Tokens that the model runs over for a batch, padding included."""
    if "branches" in inputs:
        return tokens_run(inputs["branches"])
    return inputs["factual"]["input_ids"].numel() + inputs["counterfactual"]["input_ids"].numel()


def serve(
    pipe: Any,
    name: str,
    shape: Shape,
    seed: int,
    device: torch.device,
    no_history: list[int],
    pad: int,
    part: int | None,
) -> None:
    """Answer each batch with the seconds, tokens, operations and memory of one step on it."""
    model = make_model(shape, seed, device)
    if on_gpu(device):
        # As the Trainer prepares its models: autocast around the forward pass.
        model = Accelerator(mixed_precision="bf16").prepare_model(model, evaluation_mode=True)
    prepare, step = CANDIDATES[name]
    # Neither the model and its gradients nor the libraries' own set-up are the step's memory.
    inputs = send_to_device(prepare(pipe.recv(), no_history, pad, part), device)
    timed_step(model, step, inputs, device)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    pipe.send("ready")
    constant: dict[str, float] = {}
    while batch := pipe.recv():
        inputs = send_to_device(prepare(batch, no_history, pad, part), device)
        try:
            constant = constant or {
                "extra MiB": extra_mb(model, step, inputs, device),
                # Counting is slow.
                "a token": operations(model, step, inputs, device) / tokens(inputs),
            }
            seconds = [timed_step(model, step, inputs, device) for _ in range(1 + on_gpu(device))]
            pipe.send({"seconds": seconds[-1], "tokens": tokens(inputs), **constant})
        except torch.OutOfMemoryError:
            pipe.send({})
        if on_gpu(device):
            torch.cuda.empty_cache()


def extra_mb(model: Any, step: Callable[..., Tensor], inputs: Any, device: torch.device) -> float:
    """Memory that a step adds to the model and its gradients, in MiB.

    On a CPU every tensor is given back as soon as it is freed, so that what the allocator keeps
    for later is not counted; afterwards, it keeps everything, as in the workflow.
    """
    if on_gpu(device):
        own = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        timed_step(model, step, inputs, device)
        return (torch.cuda.max_memory_allocated() - own) / 2**20
    keep_freed(False)
    own = proc_status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # The peak is measured anew.
    timed_step(model, step, inputs, device)
    extra = proc_status("VmHWM") - own
    keep_freed(True)
    return extra


def keep_freed(keep: bool) -> None:
    """Whether glibc keeps freed memory of this process for later, or hands it back at once."""
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    libc.mallopt(mmap_threshold, 1 << 30 if keep else 1 << 16)
    libc.mallopt(trim_threshold, 1 << 30 if keep else 1 << 16)
    libc.malloc_trim(0)


def on_gpu(device: torch.device) -> bool:
    """Whether the device is a GPU."""
    return device.type == "cuda"


def timed_step(model: Any, step: Callable[..., Tensor], inputs: Any, device: torch.device) -> float:
    """Seconds of one forward and backward pass."""
    model.zero_grad(set_to_none=True)
    began = now(device)
    step(model, inputs)
    return now(device) - began


def now(device: torch.device) -> float:
    """Seconds: of a GPU that has finished, or of this process's CPUs, whoever else uses them."""
    if on_gpu(device):
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def operations(model: Any, step: Callable[..., Tensor], inputs: Any, device: torch.device) -> float:
    """Floating-point operations of a step's matrix products and attention."""
    with FlopCounterMode(display=False) as counter:
        timed_step(model, step, inputs, device)
    return counter.get_total_flops()


def proc_status(field: str) -> float:
    """A field of Linux' /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def matrix_rate(device: torch.device) -> float:
    """Operations per second of a large matrix product, in the arithmetic of the forward pass."""
    size, dtype = (8192, torch.bfloat16) if on_gpu(device) else (1536, torch.float32)
    left = torch.randn(size, size, dtype=dtype, device=device)
    seconds = []
    for _ in range(4):
        began = now(device)
        left @ left
        seconds.append(now(device) - began)
    return 2 * size**3 / min(seconds)


def print_machine(device: torch.device, shape: Shape, batches: list[list[Encoded]]) -> None:
    """The machine, the model and the lengths of the prompts."""
    prompts = [len(example.prompt) for batch in batches for example in batch]
    answers = [len(example.answer) for batch in batches for example in batch]
    print(
        f"machine: {device_name(device)}; {machine('torch')}\n"
        f"model: {shape}, batches of {len(batches[0])}\n"
        f"prompts: {statistics.mean(prompts):.0f} tokens (longest {max(prompts)}), "
        f"answers {statistics.mean(answers):.1f} (longest {max(answers)})"
    )


def print_differences(
    shape: Shape,
    seed: int,
    device: torch.device,
    no_history: list[int],
    pad: int,
    part: int | None,
    batches: list[list[Encoded]],
) -> None:
    """Loss and gradient of the released algorithm and of ours, in float32."""
    model = make_model(shape, seed, device)
    losses, gradients = [], []
    for name in ("released", "our CFT"):
        prepare, step = CANDIDATES[name]
        model.zero_grad()
        inputs = send_to_device(prepare(batches[0], no_history, pad, part), device)
        losses.append(step(model, inputs).item())
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    worst = max(
        ((ours - theirs).norm() / theirs.norm()).item()
        for theirs, ours in zip(*gradients, strict=True)
    )
    print(
        f"released against ours: loss {losses[0]:.6f} and {losses[1]:.6f}, largest relative "
        f"difference of a parameter's gradient {worst:.1e}"
    )


def summary(steps: pd.DataFrame, rate: float, nominal: float, batch: int) -> pd.DataFrame:
    """One row per candidate: medians over the rounds, null where the memory did not suffice."""
    found = steps.groupby("step", sort=False).median()
    table = found[["tokens", "seconds"]].copy()
    table["examples/s"] = batch / found["seconds"]
    table["tokens/s"] = found["tokens"] / found["seconds"]
    table["GFLOP"] = found["a token"] * found["tokens"] / 1e9
    table["share of matrix rate"] = 1e9 * table["GFLOP"] / found["seconds"] / rate
    table["MFU"] = table["share of matrix rate"] * rate / nominal
    table["extra MiB"] = found["extra MiB"]
    return table.dropna(axis="columns", how="all")


def print_ratios(steps: pd.DataFrame, table: pd.DataFrame) -> None:
    """The ratios that the project promises: medians of the rounds' ratios."""

    def ratio(upper: str, lower: str, field: str = "seconds") -> float:
        rounds = steps.pivot_table(index="round", columns="step", values=field)
        rounds = rounds.reindex(columns=[*CANDIDATES])
        return (rounds[upper] / rounds[lower]).median()

    extra = table["extra MiB"].reindex([*CANDIDATES])
    more_tokens = ratio("our CFT", "our plain", "tokens")
    print(
        f"\nreleased / our CFT: time {ratio('released', 'our CFT'):.2f} (wanted: at least 2.4 at "
        f"0.5B widths, 3.5 tiny), extra memory {extra['released'] / extra['our CFT']:.1f} (5)\n"
        f"our CFT / our plain: time {ratio('our CFT', 'our plain'):.3f}, tokens {more_tokens:.3f}, "
        f"time over tokens {ratio('our CFT', 'our plain') / more_tokens:.3f} (at most 1.08)\n"
        f"our CFT / ordinary plain: time {ratio('our CFT', 'ordinary plain'):.3f} "
        "(at most 1.05 at 0.5B widths)"
    )


if __name__ == "__main__":
    run(finetune_step)
