"""What decoding over a catalogue costs: ours, and what it is measured against.

    python -m tests.benchmarks.decoding
    python -m tests.benchmarks.decoding --parts '["passes"]' --data results/STUDY/data/NAME \
        --backbone resources/backbones/NAME --examples 16 --batch 8

A random Qwen2 of width 128 and 4 layers with the given vocabulary, made-up titles of about 14
tokens, prompts of 200 tokens. The peers are written anew from their descriptions:

- `prefix function`: transformers' `generate` with a Python `prefix_allowed_tokens_fn`.
- `published`: D3's way, one example at a time: a logits processor that looks every beam's prefix up
  by a string made of its tokens.
- `dict of prefixes`: what the published processor looks up, allowed tokens by that string.

Rounds take turns; times are medians of CPU seconds over the rounds. A step is one token of every
beam, however many of them a pass runs: the time of the prompts, or of a `generate` of a single
token, is taken off. Memory is by what a fresh process grows (resident) while it builds, and by
Python's own count of what is kept.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from scripts.command import run
from scripts.data.settings import Prompt
from scripts.decode import constrained
from scripts.decode.constrained import SPARE, nodes_to_run, search, to_device
from scripts.decode.model import Finetuned, load, queries_of
from scripts.decode.recommend import rank_constrained
from scripts.decode.settings import Constrained
from scripts.decode.trie import build_trie
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from tests.benchmarks.measure import alone, bar, machine
from tests.tiny_models import tiny_model

Part = Literal["trie", "step", "throughput", "passes"]
Title = tuple[int, ...]
#: Titles and their scores, best first.
Ranking = list[tuple[Title, float]]
PROMPT, EOS, PAD = 200, 0, 1


def make_titles(count: int, words: int, seed: int = 0) -> list[Title]:
    """Distinct titles: one of `count` / 5 beginnings of 1 to 5 tokens, 4 to 16 more, and eos."""
    rng = np.random.default_rng(seed)
    begins = [rng.integers(2, words, rng.integers(1, 6)).tolist() for _ in range(count // 5 + 1)]
    titles = set()
    while len(titles) < count:
        rest = rng.integers(2, words, rng.integers(4, 17)).tolist()
        titles.add((*begins[rng.integers(len(begins))], *rest, EOS))
    return sorted(titles)


def make_model(words: int) -> Any:
    """A random Qwen2 of width 128 with 4 layers, whose logits are far from uniform."""
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = tiny_model("qwen2", words, initializer_range=0.1, **sizes)
    model.generation_config = GenerationConfig()
    return model


def make_prompts(count: int, words: int) -> torch.Tensor:
    """(count, PROMPT) random tokens."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(2, words, (count, PROMPT), generator=generator)


def dict_of_prefixes(
    titles: list[Title], key: Callable[[Title], Hashable]
) -> dict[Hashable, list[int]]:
    """Allowed tokens by what stands for their prefix: sets at first, then lists."""
    allowed: dict[Hashable, set[int]] = {}
    for title in titles:
        for end, token in enumerate(title):
            prefix = key(title[:end])
            if prefix not in allowed:
                allowed[prefix] = set()
            allowed[prefix].add(token)
    return {prefix: list(tokens) for prefix, tokens in allowed.items()}


def as_text(prefix: Sequence[int]) -> str:
    """A prefix as the published code looks it up."""
    return "-".join(map(str, prefix))


class Published(LogitsProcessor):
    """Log-probabilities over the whole vocabulary, then only what the prefix allows."""

    def __init__(self, allowed: dict[Hashable, list[int]]) -> None:
        self.allowed = allowed

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask the scores."""
        scores = scores.log_softmax(-1)
        mask = torch.full_like(scores, -torch.inf)
        for row, ids in enumerate(input_ids[:, PROMPT:].tolist()):
            mask[row, self.allowed.get(as_text(ids), [EOS])] = 0
        return scores + mask


def generate(model: Any, prompts: torch.Tensor, beams: int, tokens: int, **options: Any) -> Any:
    """Beam search of transformers, as wide as ours, without length normalisation."""
    return model.generate(
        input_ids=prompts,
        attention_mask=torch.ones_like(prompts),
        generation_config=GenerationConfig(
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            length_penalty=0.0,
            early_stopping=False,
            max_new_tokens=tokens,
            eos_token_id=EOS,
            pad_token_id=PAD,
            output_scores=True,
            return_dict_in_generate=True,
        ),
        **options,
    )


def lists_of(output: Any, prompts: int) -> list[Ranking]:
    """The list of each prompt."""
    lists: list[Ranking] = [[] for _ in range(prompts)]
    width = len(output.sequences) // prompts
    for row, ids in enumerate(output.sequences[:, PROMPT:].tolist()):
        title = tuple(ids[: ids.index(EOS) + 1])
        lists[row // width].append((title, output.sequences_scores[row].item()))
    return lists


def same_lists(found: list[Any], titles: list[Title], theirs: list[Ranking]) -> bool:
    """Whether our search found the same titles as a peer, and the same scores to 1e-4 of them."""
    return all(
        [titles[i] for i in one.titles] == [title for title, _ in other]
        and np.allclose(one.scores, [score for _, score in other], rtol=1e-5, atol=1e-4)
        for one, other in zip(found, theirs, strict=True)
    )


class Bench:
    """A model and a catalogue."""

    def __init__(self, words: int, titles: int) -> None:
        self.words = words
        self.model = make_model(words)
        self.titles = make_titles(titles, words)
        self.longest = max(map(len, self.titles))
        self.trie = to_device(build_trie(self.titles), torch.device("cpu"))

    def ours(self, prompts: torch.Tensor, beams: int, model: Any = None) -> Any:
        """Our search."""
        mask = torch.ones_like(prompts)
        return search(model or self.model, self.trie, prompts, mask, beams, 0.0)


class Timed:
    """A model that sums up the time spent in it."""

    def __init__(self, model: Any) -> None:
        self.model, self.seconds, self.calls = model, 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, **inputs: Any) -> Any:
        """Run the model."""
        took, output = seconds(lambda: self.model(**inputs))
        self.seconds += took
        self.calls += 1
        return output


def seconds(action: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of an action, and its result."""
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


BUILDERS: dict[str, Callable[[list[Title]], Any]] = {
    "ours": build_trie,
    "dict": partial(dict_of_prefixes, key=as_text),
}


def build(name: str, count: int, words: int) -> tuple[float, float, float]:
    """Build in a process that does nothing else: seconds, MB of growth, MB kept."""
    titles = make_titles(count, words)
    gc.collect()
    before = resident_mb()
    start = time.perf_counter()
    kept = BUILDERS[name](titles)
    elapsed = time.perf_counter() - start
    growth = resident_mb() - before
    del kept
    tracemalloc.start()
    kept = BUILDERS[name](titles)
    held = tracemalloc.get_traced_memory()[0] / 1e6
    del kept
    return elapsed, growth, held


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def trie_part(rounds: int, words: int) -> None:
    """Build time and memory of the trie and of the dict of prefixes."""
    for count in (10_000, 50_000):
        built: dict[str, list[tuple[float, float, float]]] = {name: [] for name in BUILDERS}
        for _ in range(rounds):
            for name in BUILDERS:
                built[name].append(alone(build, name, count, words))
        ours, theirs = (np.median(built[name], axis=0) for name in BUILDERS)
        print(
            f"trie of {count:,} titles: {ours[0]:.2f} s, resident {ours[1]:.0f} MB, kept "
            f"{ours[2]:.1f} MB; dict of prefixes: {theirs[0]:.2f} s, resident {theirs[1]:.0f} MB, "
            f"kept {theirs[2]:.0f} MB\n  time {bar(theirs[0] / ours[0], 15)}\n"
            f"  memory, resident {bar(theirs[1] / ours[1], 20)}\n"
            f"  memory, kept {bar(theirs[2] / ours[2], 20)}",
            flush=True,
        )


def step_part(bench: Bench, beams: int, batch: int, rounds: int) -> None:
    """Time of a decoding step against `generate` with a Python prefix function."""
    prompts = make_prompts(batch, bench.words)
    allowed = dict_of_prefixes(bench.titles, key=tuple)

    def peer(tokens: int) -> Any:
        def allowed_tokens(_: int, ids: torch.Tensor) -> list[int]:
            return allowed.get(tuple(ids[PROMPT:].tolist()), [EOS])

        function = {"prefix_allowed_tokens_fn": allowed_tokens}
        return generate(bench.model, prompts, beams, tokens, **function)

    timed = Timed(bench.model)
    times: dict[str, list[float]] = {"ours": [], "model": [], "generate": []}
    for _ in range(rounds):
        timed.seconds, timed.calls = 0.0, 0
        whole, found = seconds(lambda: bench.ours(prompts, beams, timed))
        passes, inside = timed.calls - 1, timed.seconds
        first, _ = seconds(lambda: bench.model(prompts, logits_to_keep=1, use_cache=True))
        theirs, output = seconds(lambda: peer(bench.longest))
        their_first, _ = seconds(lambda: peer(1))
        steps = output.sequences.shape[1] - PROMPT - 1
        times["ours"].append((whole - first) / steps)
        times["model"].append((inside - first) / steps)
        times["generate"].append((theirs - their_first) / steps)
    same = same_lists(found, bench.titles, lists_of(output, batch))
    ours, model, theirs = (1e3 * statistics.median(values) for values in times.values())
    print(
        f"step at {bench.words:,} words, {len(bench.titles):,} titles, beam {beams}, batch "
        f"{batch}: ours {ours:.1f} ms ({model:.1f} of them the model's own; {steps} steps in "
        f"{passes} passes), generate with a prefix function {theirs:.1f} ms; the same lists: "
        f"{same}\n  {bar(theirs / ours, 4)}",
        flush=True,
    )


def throughput_part(bench: Bench, beams: int, examples: int) -> None:
    """Whole runs, prompts included, against the published way, one example at a time."""
    prompts = make_prompts(examples, bench.words)
    allowed = dict_of_prefixes(bench.titles, key=as_text)

    def published(part: torch.Tensor, tokens: int) -> Any:
        processor = LogitsProcessorList([Published(allowed)])
        return generate(bench.model, part, beams, tokens, logits_processor=processor)

    bench.ours(prompts[:1], beams)
    published(prompts[:1], 2)

    def theirs() -> Any:
        outputs = [published(part, bench.longest) for part in prompts.split(1)]
        return [one for output in outputs for one in lists_of(output, 1)]

    our_time, found = seconds(lambda: bench.ours(prompts, beams))
    their_time, lists = seconds(theirs)
    print(
        f"throughput at {bench.words:,} words, {len(bench.titles):,} titles, beam {beams}, "
        f"{examples} examples: ours in one batch {our_time / examples:.3f} s an example, "
        f"published {their_time / examples:.3f} s; the same lists: "
        f"{same_lists(found, bench.titles, lists)}\n  {bar(their_time / our_time, 10)}",
        flush=True,
    )


def passes_part(data: Path, backbone: Path, beams: int, batch: int, examples: int) -> None:
    """Passes behind the prompts of a prepared data set, and the time that they take here."""
    settings = {"catalogue": data / "catalogue.parquet", "model": backbone, "backbone": backbone}
    prompt = Prompt(instruction="Recommend an item.", history="The user has bought:")
    loaded = load(Finetuned(prompt=prompt, device="cpu", **settings))
    test = read_examples(data / "examples" / "test.parquet", len(loaded.catalogue))
    queries, _ = queries_of(subsample(test, examples, EVALUATION_SEED), loaded)
    queries.sort(key=lambda query: len(query.prompt))
    decoder = Constrained(kind="constrained", beams=beams, batch_size=batch)
    trie = build_trie(loaded.titles.tokens)
    # With no beams to keep nothing is sure.
    ways = {"a token a pass": {"nodes_to_run": lambda *given: nodes_to_run(*given[:3], 0, 0)}}
    ways |= {f"as on {other}": {"SPARE": {"cpu": spare}} for other, spare in SPARE.items()}
    lists = {}
    for way, changes in ways.items():
        timed = Timed(loaded.model)
        search_all = partial(rank_constrained, loaded._replace(model=timed), trie, queries, decoder)
        with mock.patch.multiple(constrained, **changes):
            took, found = seconds(search_all)
        passes = timed.calls - -(-examples // batch)
        print(f"{data.name}, {way}: {passes} passes, {took:.1f} s", flush=True)
        lists[way] = [one.titles.tolist() for one in found]
    print(f"  the same lists: {all(found == lists['a token a pass'] for found in lists.values())}")


def measure(
    parts: list[Part] | None = None,
    words: int = 151_936,
    titles: int = 10_000,
    beams: int = 10,
    batch: int = 4,
    examples: int = 8,
    rounds: int = 3,
    threads: int = 1,
    data: Path = Path(),
    backbone: Path = Path(),
) -> None:
    """Measure and print, each ratio beside its bar.

    Args:
        parts: what to measure; null takes all but the passes.
        words: size of the vocabulary.
        titles: size of the catalogue.
        beams: width of the searches.
        batch: examples searched together in a step.
        examples: examples of the whole runs, which we search in one batch.
        rounds: measurements of each, of which the median counts.
        threads: CPU threads.
        data: a prepared data set, for the passes.
        backbone: pretrained, for the passes.
    """
    torch.set_num_threads(threads)
    chosen = parts or ["trie", "step", "throughput"]
    print(f"machine: {machine('torch')}", flush=True)
    with torch.inference_mode():
        if "trie" in chosen:
            trie_part(rounds, words)
        if {"step", "throughput"} & set(chosen):
            bench = Bench(words, titles)
            if "step" in chosen:
                step_part(bench, beams, batch, rounds)
            if "throughput" in chosen:
                throughput_part(bench, beams, examples)
        if "passes" in chosen:
            passes_part(data, backbone, beams, batch, examples)


if __name__ == "__main__":
    run(measure)
