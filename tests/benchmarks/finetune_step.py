"""What a step of fine-tuning costs (forward and backward): ours, and what it is measured against.

    python -m tests.benchmarks.finetune_step --shape tiny
    python -m tests.benchmarks.finetune_step --shape qwen2-0.5b-3-layers --part 2

- `released`: the released algorithm, written plainly from its description: two forward passes over
  padded prompts, both branches as long as the longer one, the whole vocabulary at every position.
- `ordinary plain`: one padded forward pass, logits at the label positions only.
- `our plain` and `our CFT`: what the Trainer runs, in parts of `--part` examples.

Each candidate has a process of its own, for its peak memory; the rounds take turns, and time is
the median of CPU seconds over rounds, in float32. Memory is what a step on the first batch adds to
the model and its gradients. `share of matrix rate` is the operations per second as a share of what
a large matrix product reaches in the same run. Operations are those of the candidate's own matrix
products and attention, padding included. Prompts are of the instruct template, with ten made-up
titles each.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

from scripts.backbones.scratch import train_tokenizer
from scripts.command import progress, run
from scripts.data.settings import Prompt
from scripts.finetune.batches import Encoded, encode, no_history_prompt, tokens_run
from scripts.finetune.objective import token_weights
from scripts.finetune.settings import Training
from scripts.finetune.step import Inputs, add_gradients, step_inputs
from scripts.provenance import device_name, forget_peak_memory, peak_memory_mb
from scripts.study.measure import made_up
from tests.benchmarks.measure import alone, machine

Shape = Literal["tiny", "qwen2-0.5b-3-layers", "qwen2-0.5b"]
CPU = torch.device("cpu")
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
    candidates: list[Candidate] | None = None,
) -> None:
    """Time the candidates, measure their memory and compare their losses and gradients.

    Args:
        shape: the model, with random weights.
        batch: examples per step.
        part: examples per forward and backward pass of ours (`micro_batch_size`); null takes all.
        rounds: timed steps of each candidate, each on another batch, after some on a first one.
        seed: of the examples and the weights.
        candidates: which of them, null for all; each holds a model and its gradients.
    """
    batches, no_history, pad = draw_batches(shape, batch, rounds + 1, seed)
    work = (shape, seed, no_history, pad, part)
    print_machine(shape, batches)
    print(alone(differences, *work, batches[0][:4]))
    context = multiprocessing.get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, context) for name in candidates or CANDIDATES}
    constant = {
        name: pool.submit(first_step, name, *work, batches[0]).result()
        for name, pool in pools.items()
    }
    rows, rates = [], []
    for number, examples in enumerate(progress(batches[1:], "rounds")):
        for name, pool in pools.items():
            found = pool.submit(next_step, name, *work, examples).result()
            rows.append({"step": name, "round": number} | constant[name] | found)
        rates.append(matrix_rate())
    steps, rate = pd.DataFrame(rows), statistics.median(rates)
    table = summary(steps, rate, batch)
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


@cache
def make_model(shape: Shape, seed: int, device: torch.device = CPU) -> Any:
    """The model of this process, with random weights, in training mode."""
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


def next_step(
    name: Candidate,
    shape: Shape,
    seed: int,
    no_history: list[int],
    pad: int,
    part: int | None,
    batch: list[Encoded],
) -> dict[str, float]:
    """CPU seconds and tokens of a candidate's step in this process."""
    prepare, step = CANDIDATES[name]
    inputs = prepare(batch, no_history, pad, part)
    model = make_model(shape, seed)
    model.zero_grad()
    began = time.process_time()
    step(model, inputs)
    return {"seconds": time.process_time() - began, "tokens": tokens(inputs)}


def first_step(name: Candidate, shape: Shape, seed: int, *given: Any) -> dict[str, float]:
    """Extra memory of a candidate's step, and its operations a token; see `next_step`."""
    # Neither the model and its gradients nor the libraries' own set-up are the step's memory.
    *prompts, batch = given
    next_step(name, shape, seed, *prompts, batch[:1])
    prepare, step = CANDIDATES[name]
    model, inputs = make_model(shape, seed), prepare(batch, *prompts)
    return {
        "extra MiB": extra_mb(model, step, inputs, CPU),
        "a token": operations(model, step, inputs) / tokens(inputs),
    }


def extra_mb(model: Any, step: Callable[..., Tensor], inputs: Any, device: torch.device) -> float:
    """Memory that a step adds to the model and its gradients, in MiB.

    On a CPU every tensor is given back as soon as it is freed, so that what the allocator keeps
    for later is not counted; afterwards, it keeps everything, as in the workflow.
    """
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    keep_freed(False)
    forget_peak_memory(device)
    own = peak_memory_mb(device)
    model.zero_grad()
    step(model, inputs)
    extra = peak_memory_mb(device) - own
    keep_freed(True)
    return extra


def keep_freed(keep: bool) -> None:
    """Whether glibc keeps freed memory of this process for later, or hands it back at once."""
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    libc.mallopt(mmap_threshold, 1 << 30 if keep else 1 << 16)
    libc.mallopt(trim_threshold, 1 << 30 if keep else 1 << 16)


def operations(model: Any, step: Callable[..., Tensor], inputs: Any) -> float:
    """Floating-point operations of a step's matrix products and attention."""
    with FlopCounterMode(display=False) as counter:
        step(model, inputs)
    return counter.get_total_flops()


def matrix_rate() -> float:
    """Operations per second of a large matrix product."""
    left, seconds = torch.randn(1536, 1536), []
    for _ in range(4):
        began = time.process_time()
        left @ left
        seconds.append(time.process_time() - began)
    return 2 * len(left) ** 3 / min(seconds)


def print_machine(shape: Shape, batches: list[list[Encoded]]) -> None:
    """The machine, the model and the lengths of the prompts."""
    prompts = [len(example.prompt) for batch in batches for example in batch]
    answers = [len(example.answer) for batch in batches for example in batch]
    print(
        f"machine: {device_name(CPU)}; {machine('torch')}\n"
        f"model: {shape}, batches of {len(batches[0])}\n"
        f"prompts: {statistics.mean(prompts):.0f} tokens (longest {max(prompts)}), "
        f"answers {statistics.mean(answers):.1f} (longest {max(answers)})"
    )


def differences(
    shape: Shape,
    seed: int,
    no_history: list[int],
    pad: int,
    part: int | None,
    batch: list[Encoded],
) -> str:
    """Loss and gradient of the released algorithm and of ours."""
    model = make_model(shape, seed)
    losses, gradients = [], []
    for name in ("released", "our CFT"):
        prepare, step = CANDIDATES[name]
        model.zero_grad()
        losses.append(step(model, prepare(batch, no_history, pad, part)).item())
        gradients.append([parameter.grad for parameter in model.parameters()])
    worst = max(
        ((ours - theirs).norm() / theirs.norm()).item()
        for theirs, ours in zip(*gradients, strict=True)
    )
    return (
        f"released against ours: loss {losses[0]:.6f} and {losses[1]:.6f}, largest relative "
        f"difference of a parameter's gradient {worst:.1e}"
    )


def summary(steps: pd.DataFrame, rate: float, batch: int) -> pd.DataFrame:
    """One row per candidate: medians over the rounds."""
    found = steps.groupby("step", sort=False).median()
    table = found[["tokens", "seconds"]].copy()
    table["examples/s"] = batch / found["seconds"]
    table["tokens/s"] = found["tokens"] / found["seconds"]
    table["GFLOP"] = found["a token"] * found["tokens"] / 1e9
    table["share of matrix rate"] = 1e9 * table["GFLOP"] / found["seconds"] / rate
    table["extra MiB"] = found["extra MiB"]
    return table


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
