"""What a step of fine-tuning costs (forward and backward): ours, and what it is measured against.

    python -m tests.benchmarks.finetune_step --shape tiny
    python -m tests.benchmarks.finetune_step --shape qwen2-0.5b-3-layers --data results/x/data/y
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
instruct template: those of a prepared data set, or else ten made-up titles each.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
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
from scripts.contracts import EXAMPLES
from scripts.data.settings import Prompt
from scripts.device import Device, torch_device
from scripts.examples import read_titles
from scripts.files import read_table, write_csv
from scripts.finetune.batches import Encoded, encode, no_history_prompt, tokens_run
from scripts.finetune.objective import token_weights
from scripts.finetune.order import StepOrder
from scripts.finetune.settings import Training
from scripts.finetune.step import Inputs, add_gradients, step_inputs
from scripts.provenance import device_name
from scripts.study.costs import nominal_rate
from scripts.study.measure import made_up
from tests.benchmarks.measure import machine

Shape = Literal["tiny", "qwen2-0.5b-3-layers", "qwen2-0.5b"]
ALPHA, BETA = 0.1, 0.25
HISTORY = 10
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
#: Examples that the batches are drawn from.
EXAMPLES_DRAWN = 4096


def finetune_step(
    shape: Shape = "qwen2-0.5b-3-layers",
    batch: int = 8,
    part: int | None = None,
    data: Path | None = None,
    prompt: Prompt = PROMPT,
    grouped: bool = False,
    rounds: int = 7,
    seed: int = 0,
    device: Device = "cpu",
    candidates: list[Candidate] | None = None,
    output: Path | None = None,
) -> None:
    """Time the candidates, measure their memory and compare their losses and gradients.

    On a GPU the forward pass runs in bf16 (autocast), on a CPU in float32.

    Args:
        shape: the model, with random weights.
        batch: examples per step.
        part: examples per forward and backward pass of ours (`micro_batch_size`); null takes all.
        data: folder of a prepared data set; null makes titles up.
        prompt: the data set's sentences.
        grouped: batches of like length, as in training; else drawn at random.
        rounds: timed steps of each candidate, each on another batch, after one that is not timed.
        seed: of the examples and the weights.
        device: where to run.
        candidates: which of them, null for all; each holds a model and its gradients.
        output: CSV of the table.
    """
    place = torch_device(device)
    batches, no_history, pad = draw_batches(shape, batch, data, prompt, grouped, rounds + 1, seed)
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
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in pipes}
    rates = []
    for examples in progress(batches, "rounds"):
        for name, pipe in pipes.items():
            if not (steps[name] and "error" in steps[name][-1]):
                pipe.send(examples)
                steps[name].append(pipe.recv())
        rates.append(matrix_rate(place))
    for pipe in pipes.values():
        pipe.send(None)
    table = summary(
        steps, statistics.median(rates), nominal_rate(device_name(place)) or math.nan, batch
    )
    print(f"\nmatrix rate: {statistics.median(rates) / 1e9:,.0f} GFLOP/s\n")
    print(table.to_markdown(index=False, floatfmt=",.4g"))
    print_ratios(steps, table)
    if output is not None:
        write_csv(table, output)


def draw_batches(
    shape: Shape,
    size: int,
    data: Path | None,
    prompt: Prompt,
    grouped: bool,
    count: int,
    seed: int,
) -> tuple[list[list[Encoded]], list[int], int]:
    """`count` batches, the prompt without history and the padding token."""
    if data is None:
        examples, titles = made_up(EXAMPLES_DRAWN, TITLE_WORDS[shape], seed)
    else:
        examples = read_table(data / "examples" / "train.parquet", EXAMPLES)
        examples = examples.sample(min(EXAMPLES_DRAWN, len(examples)), random_state=seed)
        titles = read_titles(data / "catalogue.parquet")
    tokenizer = train_tokenizer(examples, titles, prompt, SHAPES[shape].vocab_size)
    encoded, _ = encode(examples, titles, tokenizer, prompt, 1024)
    steps = torch.arange(len(encoded)).split(size)
    if grouped:
        lengths = [len(example.prompt) + len(example.answer) for example in encoded]
        steps = StepOrder(lengths, size, seed)
    batches = [[encoded[i] for i in step] for step in islice(steps, count)]
    return batches, no_history_prompt(tokenizer, prompt), tokenizer.pad_token_id


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


def released_loss(model: Any, inputs: dict[str, Any]) -> Tensor:
    """The released algorithm's loss, normalised as the paper's objective is."""
    logits = model(**inputs["factual"]).logits
    effect = logits - model(**inputs["counterfactual"]).logits
    labels = inputs["labels"][:, 1:].flatten()
    weights = inputs["weights"][:, 1:].flatten()

    def weighted(scores: Tensor) -> Tensor:
        flat = scores[:, :-1].flatten(0, 1)
        losses = cross_entropy(flat, labels, ignore_index=-100, reduction="none")
        return (losses * weights).sum() / weights.sum()

    return weighted(logits) + ALPHA * weighted(effect)


def released_step(model: Any, inputs: dict[str, Any]) -> Tensor:
    """The released algorithm's forward and backward; the loss."""
    loss = released_loss(model, inputs)
    loss.backward()
    return loss


def our_inputs(
    batch: list[Encoded],
    no_history: list[int] | None,
    pad: int,
    part: int | None,
    beta: float = BETA,
    share: bool = True,
) -> Inputs:
    """What our Trainer makes of a step's examples; `no_history` None is plain fine-tuning."""
    whole = Training(micro_batch_size=part or len(batch))
    return step_inputs(batch, partial(token_weights, beta=beta), no_history, pad, share, whole)


def our_step(model: Any, inputs: Inputs) -> Tensor:
    """The forward and backward of our Trainer; the loss."""
    return add_gradients(model, inputs, ALPHA)[0]


def candidate(name: Candidate) -> tuple[Callable[..., Any], Callable[..., Tensor]]:
    """How a candidate prepares a batch, which is not timed, and its forward and backward."""

    def plain_inputs(
        batch: list[Encoded], no_history: list[int], pad: int, part: int | None
    ) -> Any:
        return our_inputs(batch, None, pad, part, beta=1.0)

    def ordinary_inputs(
        batch: list[Encoded], no_history: list[int], pad: int, part: int | None
    ) -> Any:
        return our_inputs(batch, None, pad, None, beta=1.0, share=False)

    return {
        "released": (released_inputs, released_step),
        "ordinary plain": (ordinary_inputs, our_step),
        "our plain": (plain_inputs, our_step),
        "our CFT": (our_inputs, our_step),
    }[name]


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
    prepare, step = candidate(name)
    # Neither the model and its gradients nor the libraries' own set-up are the step's memory.
    inputs = send_to_device(prepare(pipe.recv(), no_history, pad, part), device)
    timed_step(model, step, inputs, device)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    pipe.send("ready")
    measured = None
    while batch := pipe.recv():
        inputs = send_to_device(prepare(batch, no_history, pad, part), device)
        try:
            if measured is None:
                measured = memory(model, step, inputs, device) | {
                    # Counting is slow.
                    "operations": operations(model, step, inputs, device) / tokens(inputs)
                }
            seconds = [timed_step(model, step, inputs, device) for _ in range(1 + on_gpu(device))]
            pipe.send(
                {
                    "seconds": seconds[-1],
                    "tokens": tokens(inputs),
                    "examples": len(batch),
                    "extra_mb": measured["extra_mb"],
                    "operations": measured["operations"] * tokens(inputs),
                }
            )
        except torch.OutOfMemoryError:
            pipe.send({"error": "out of memory"})
        if on_gpu(device):
            torch.cuda.empty_cache()


def memory(
    model: Any, step: Callable[..., Tensor], inputs: Any, device: torch.device
) -> dict[str, float]:
    """Memory that a step adds to the model and its gradients, in MiB.

    On a CPU every tensor is given back as soon as it is freed, so that what the allocator keeps
    for later is not counted; afterwards, it keeps everything, as in the workflow.
    """
    keep_freed(device, False)
    own = resident_mb(device)
    reset_peak(device)
    timed_step(model, step, inputs, device)
    extra = peak_mb(device) - own
    keep_freed(device, True)
    return {"extra_mb": extra}


def keep_freed(device: torch.device, keep: bool) -> None:
    """Whether glibc keeps freed memory of this process for later, or hands it back at once."""
    if not on_gpu(device):
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


def reset_peak(device: torch.device) -> None:
    """Begin to measure the peak anew."""
    if on_gpu(device):
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def resident_mb(device: torch.device) -> float:
    """Memory in use now, in MiB."""
    if on_gpu(device):
        return torch.cuda.memory_allocated() / 2**20
    return proc_status("VmRSS")


def peak_mb(device: torch.device) -> float:
    """Peak memory since the last reset, in MiB."""
    if on_gpu(device):
        return torch.cuda.max_memory_allocated() / 2**20
    return proc_status("VmHWM")


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
        prepare, step = candidate(name)
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


def summary(
    steps: dict[str, list[dict[str, float]]], rate: float, nominal: float, batch: int
) -> pd.DataFrame:
    """One row per candidate: medians over the rounds but the first."""
    rows = []
    for name, measured in steps.items():
        if "error" in measured[-1]:
            rows.append({"step": name, "seconds": float("nan")})
            continue
        found = pd.DataFrame(measured[1:]).median()
        rows.append(
            {
                "step": name,
                "tokens": found["tokens"],
                "seconds": found["seconds"],
                "examples/s": batch / found["seconds"],
                "tokens/s": found["tokens"] / found["seconds"],
                "GFLOP": found["operations"] / 1e9,
                "share of matrix rate": found["operations"] / found["seconds"] / rate,
                "MFU": found["operations"] / found["seconds"] / nominal,
                "extra MiB": pd.DataFrame(measured)["extra_mb"].max(),
            }
        )
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def print_ratios(steps: dict[str, list[dict[str, float]]], table: pd.DataFrame) -> None:
    """The ratios that the project promises: medians of the rounds' ratios."""

    def ratio(upper: str, lower: str, field: str = "seconds") -> float:
        pairs = list(zip(steps.get(upper, []), steps.get(lower, []), strict=False))[1:]
        if not pairs or any("error" in step for pair in pairs for step in pair):
            return float("nan")
        return statistics.median(a[field] / b[field] for a, b in pairs)

    extra = table.set_index("step")["extra MiB"].reindex(get_args(Candidate))
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
