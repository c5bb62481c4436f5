"""What training and decoding cost on a GPU: one table, in at most 12 minutes.

    python -m tests.benchmarks.gpu --output gpu
    python -m tests.benchmarks.gpu --output try --shape tiny --device cpu

- Forward and backward of an optimiser step of 64 examples, in parts of several sizes: the
  candidates of `tests.benchmarks.finetune_step`, `released` in parts too, as the logits of a whole
  step fit no GPU. Weights are fp32 and passes run in bf16 (autocast), as the Trainer has them.
- Loading a model, and seconds of an example by each search, as `scripts.decode.recommend` runs
  them. The weights are random and bf16.

Every row has a process of its own, which is ended when its time is over; what has failed is a row,
too. `rows.jsonl` in the output folder gets each row as it is found, `table.md` all of them in the
end. `MFU` is the share of the nominal dense bf16 rate, by the candidate's own operations, padding
included. On a CPU passes run in fp32, and there is no MFU: this tries the script, no more.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device

from scripts.backbones.scratch import train_tokenizer
from scripts.command import run
from scripts.decode.model import Finetuned, load
from scripts.decode.recommend import rank
from scripts.decode.settings import Constrained, Decoder, Grounded
from scripts.device import Device, torch_device
from scripts.examples import read_examples
from scripts.files import write_json
from scripts.finetune.shortcuts import Shortcuts
from scripts.provenance import device_name, forget_peak_memory, peak_memory_mb
from scripts.study.costs import ANSWER_TOKENS, nominal_rate
from scripts.study.measure import made_up, write_made_up
from tests.benchmarks import finetune_step as steps
from tests.benchmarks.finetune_step import Candidate, Shape
from tests.benchmarks.measure import alone, machine

#: Seconds of all rows and of one, examples of a step and of a search, steps that are timed.
ALL, ONE, EXAMPLES, TIMED = 690, 100, 64, 5
#: Candidates with the sizes of their parts, what matters most first.
STEPS: list[tuple[Candidate, int]] = [
    *(("our CFT", 64), ("our plain", 64), ("released", 8)),
    *(("our CFT", 16), ("our plain", 16), ("released", 16), ("ordinary plain", 64)),
]
#: A model of random weights would write on and on.
SEARCHES: list[Decoder] = [
    search
    for size in (8, 32)
    for search in (
        Constrained(kind="constrained", batch_size=size),
        Grounded(kind="grounded", batch_size=size, max_new_tokens=2 * ANSWER_TOKENS),
    )
]


def seconds(action: Callable[[], Any], device: torch.device) -> float:
    """Wall time of an action, until the GPU has finished it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    action()
    wait()
    return time.perf_counter() - began


def released_step(model: Any, parts: list[Any]) -> torch.Tensor:
    """The released algorithm in parts; the loss, as that of a step in one."""
    weights = torch.stack([part["weights"].sum() for part in parts])
    losses = torch.stack([steps.released_step(model, part).detach() for part in parts])
    return (losses * weights).sum() / weights.sum()


def step(
    name: Candidate, size: int, shape: Shape, device: torch.device, drawn: Any
) -> dict[str, Any]:
    """What a candidate's step costs in parts of so many examples; the first batch warms up.

    `drawn` is what `finetune_step.draw_batches` gives.
    """
    batches, no_history, pad = drawn
    prepare, run_step = steps.CANDIDATES[name]
    if name == "released":
        batches = [[batch[i : i + size] for i in range(0, len(batch), size)] for batch in batches]
        inputs = [[prepare(part, no_history, pad, None) for part in batch] for batch in batches]
        run_step, count = released_step, lambda parts: sum(map(steps.tokens, parts))
    else:
        inputs = [prepare(batch, no_history, pad, size) for batch in batches]
        count = steps.tokens
    cpu = device.type == "cpu"
    accelerator = Accelerator(mixed_precision="no" if cpu else "bf16", cpu=cpu)
    model = steps.make_model(shape, 0, device)
    model = accelerator.prepare_model(model, evaluation_mode=True)
    first, *others = send_to_device(inputs, device)
    run_step(model, first)
    extra = steps.extra_mb(model, run_step, first, device)
    peak = peak_memory_mb(device)
    operations = steps.operations(model, run_step, first) / count(first)
    times = []
    for one in others:
        model.zero_grad()
        times.append(seconds(partial(run_step, model, one), device))
    took, tokens = statistics.median(times), statistics.mean(map(count, others))
    nominal = nominal_rate(device_name(device))
    return {
        "seconds": took,
        "slowest": max(times),
        "tokens/s": tokens / took,
        "MFU": nominal and operations * tokens / took / nominal,
        "extra MiB": extra,
        "peak MiB": peak,
        "loss": run_step(model, first).item(),
    }


def write_model(shape: Shape, folder: Path) -> dict[str, Any]:
    """A model of random weights in bf16, its tokenizer, and made-up data."""
    folder.mkdir()
    words, size = steps.TITLE_WORDS[shape], steps.SHAPES[shape].vocab_size
    examples, titles = made_up(steps.EXAMPLES_DRAWN, words, 0)
    model = steps.make_model(shape, 0).bfloat16()
    model.save_pretrained(folder)
    train_tokenizer(examples, titles, steps.PROMPT, size).save_pretrained(folder)
    # As the fine-tuning has found them.
    write_json({"shortcuts": Shortcuts(True, True, True)._asdict()}, folder / "run.json")
    write_made_up(folder, {"test": EXAMPLES}, words)
    return {"parameters": model.num_parameters()}


def decode(decoder: Decoder, folder: Path, device: torch.device) -> dict[str, Any]:
    """What loading a model and searching with it cost; the first batch warms up."""
    finetuned = Finetuned(
        model=folder,
        backbone=folder,
        catalogue=folder / "catalogue.parquet",
        prompt=steps.PROMPT,
        precision="bf16",
        device=device.type,
    )
    began = time.perf_counter()
    recommender = load(finetuned)
    loading = time.perf_counter() - began
    examples = read_examples(folder / "test.parquet", len(recommender.catalogue))
    rank(recommender, examples[: decoder.batch_size], decoder, None, None)
    forget_peak_memory(device)
    took = seconds(lambda: rank(recommender, examples, decoder, None, None), device)
    return {
        "loading": loading,
        "seconds an example": took / len(examples),
        "peak MiB": peak_memory_mb(device),
    }


def benchmark(output: Path, shape: Shape = "qwen2-0.5b", device: Device = "cuda") -> None:
    """Measure row by row, and write the table.

    Args:
        output: folder, which is made.
        shape: the model.
        device: where to run.
    """
    ends, place = time.monotonic() + ALL, torch_device(device)
    output.mkdir(parents=True)
    print(f"{device_name(place)}; {machine('torch', 'transformers')}", flush=True)
    drawn = steps.draw_batches(shape, EXAMPLES, TIMED + 1, 0)
    rows: list[tuple[str, Callable[[], Any]]] = [
        (f"{name}, parts of {size}", partial(step, name, size, shape, place, drawn))
        for name, size in STEPS
    ]
    folder = output / "model"
    rows[3:3] = [("a model to decode with", partial(write_model, shape, folder))] + [
        (f"{one.kind}, batches of {one.batch_size}", partial(decode, one, folder, place))
        for one in SEARCHES
    ]
    found = []
    for name, action in rows:
        try:
            row = alone(action, seconds=max(0, min(ONE, ends - time.monotonic())))
        except Exception as error:
            row = {"failed": f"{type(error).__name__}: {error}"[:300]}
        found.append({"what": name} | row)
        print(json.dumps(found[-1]), flush=True)
        with (output / "rows.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(f"{json.dumps(found[-1])}\n")
    table = pd.DataFrame(found).dropna(axis="columns", how="all")
    text = table.to_markdown(index=False, floatfmt=",.4g")
    (output / "table.md").write_text(f"{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    run(benchmark)
