"""What the metrics of every example cost: ours, and a loop over the examples.

    python -m tests.benchmarks.metrics

Made-up lists of 50 items for every example, over a catalogue in which some titles are shared.
`loop` is written plainly: the same checks of the lists, then example by example in pandas its list,
its target's rank and every metric; `bare loop` is the same without pandas inside, on dicts and
lists. All three read the same Parquet files and write one. Rounds take turns; values are medians
over the rounds.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.command import run
from scripts.contracts import CATALOGUE, CUTOFFS, EXAMPLES, PER_EXAMPLE, RECOMMENDATIONS
from scripts.evaluate.per_example import evaluate
from scripts.files import read_table, write_table
from tests.benchmarks.measure import bar, machine

DEPTH = 50


def make_files(folder: Path, examples: int, items: int) -> None:
    """Write catalogue.parquet, examples.parquet and lists.parquet."""
    rng = np.random.default_rng(0)
    numbers = np.arange(items)
    catalogue = pd.DataFrame({"item_id": numbers, "item": numbers.astype(str)})
    catalogue["title"] = "Title " + pd.Series(numbers % int(0.98 * items)).astype(str)
    write_table(
        catalogue.assign(train_count=0, popularity_group=0), folder / "catalogue.parquet", CATALOGUE
    )
    lists = np.stack([rng.choice(items, DEPTH, replace=False) for _ in range(examples)])
    # Two targets of three are listed, early places more often.
    place = np.minimum(rng.geometric(0.1, examples) - 1, DEPTH - 1)
    listed = lists[np.arange(examples), place]
    target = np.where(rng.random(examples) < 2 / 3, listed, rng.integers(items, size=examples))
    frame = pd.DataFrame({"example_id": np.arange(examples), "target": target, "timestamp": 0})
    frame["user"] = (np.arange(examples) // 5).astype(str)
    frame["history"] = [[0]] * examples
    write_table(frame, folder / "examples.parquet", EXAMPLES)
    table = pd.DataFrame(
        {
            "example_id": np.repeat(np.arange(examples), DEPTH),
            "rank": np.tile(np.arange(1, DEPTH + 1), examples),
            "item_id": lists.ravel(),
            "score": np.tile(-np.arange(DEPTH, dtype=np.float32), examples),
        }
    )
    write_table(table, folder / "lists.parquet", RECOMMENDATIONS)


def row_of(user: str, rank: int | None) -> dict[str, object]:
    """The metrics of one example."""
    row: dict[str, object] = {"user": user, "rank": rank}
    for k in CUTOFFS:
        hit = rank is not None and rank <= k
        row[f"hr@{k}"] = 1.0 if hit else 0.0
        row[f"ndcg@{k}"] = math.log(2) / math.log(rank + 1) if rank is not None and hit else 0.0
    return row


def finish(rows: list[dict[str, object]], output: Path) -> None:
    """Write the rows of a loop."""
    frame = pd.DataFrame(rows)
    write_table(frame.assign(rank=frame["rank"].astype("Int32")), output, PER_EXAMPLE)


def loop(recommendations: Path, examples: Path, items: Path, output: Path) -> None:
    """Example by example in pandas."""
    title = read_table(items, CATALOGUE).set_index("item_id")["title"]
    known = read_table(examples, EXAMPLES).set_index("example_id")
    lists = read_table(recommendations, RECOMMENDATIONS)
    rows = []
    for example, group in lists.groupby("example_id"):
        group = group.sort_values("rank")
        assert group["rank"].tolist() == list(range(1, len(group) + 1))
        assert group["item_id"].isin(title.index).all()
        assert group["item_id"].is_unique
        one = known.loc[example]
        titles = group["item_id"].map(title)
        ranks = group.loc[titles == title[one["target"]], "rank"]
        rank = None if ranks.empty else int(ranks.min())
        rows.append({"example_id": example} | row_of(one["user"], rank))
    finish(rows, output)


def bare_loop(recommendations: Path, examples: Path, items: Path, output: Path) -> None:
    """Example by example on dicts and lists."""
    catalogue = read_table(items, CATALOGUE)
    title = dict(zip(catalogue["item_id"].tolist(), catalogue["title"].tolist(), strict=True))
    known = {row.example_id: row for row in read_table(examples, EXAMPLES).itertuples()}
    lists: dict[int, list[tuple[int, int]]] = {}
    frame = read_table(recommendations, RECOMMENDATIONS)
    for example, rank, item in zip(
        *(frame[name].tolist() for name in ("example_id", "rank", "item_id")), strict=True
    ):
        lists.setdefault(example, []).append((rank, item))
    rows = []
    for example, listed in sorted(lists.items()):
        listed.sort()
        assert [rank for rank, _ in listed] == list(range(1, len(listed) + 1))
        assert all(item in title for _, item in listed)
        assert len({item for _, item in listed}) == len(listed)
        wanted = title[known[example].target]
        rank = next((rank for rank, item in listed if title[item] == wanted), None)
        rows.append({"example_id": example} | row_of(known[example].user, rank))
    finish(rows, output)


WAYS = {"loop": loop, "bare loop": bare_loop, "ours": evaluate}


def benchmark(examples: int = 10_000, items: int = 50_000, rounds: int = 5) -> None:
    """Print seconds and ratios.

    Args:
        examples: test examples, each with a list of 50 items.
        items: size of the catalogue.
        rounds: runs of each way.
    """
    print(machine("pandas"))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, examples, items)
        for _ in range(rounds):
            for way, step in WAYS.items():
                start = time.perf_counter()
                step(
                    folder / "lists.parquet",
                    folder / "examples.parquet",
                    folder / "catalogue.parquet",
                    folder / f"{way}.parquet",
                )
                seconds[way].append(time.perf_counter() - start)
        results = {way: read_table(folder / f"{way}.parquet", PER_EXAMPLE) for way in WAYS}
    print(f"{examples:,} examples x {DEPTH} items, catalogue of {items:,}:")
    for way, times in seconds.items():
        same = "the same rows" if results[way].equals(results["ours"]) else "OTHER ROWS"
        print(f"  {way}: {np.median(times):.2f} s ({min(times):.2f} to {max(times):.2f}), {same}")
    loop, bare = (np.median(seconds[way]) / np.median(seconds["ours"]) for way in list(WAYS)[:2])
    print(f"  faster than the loop {bar(loop, 20)}, than the bare loop {bare:.1f} x")


if __name__ == "__main__":
    run(benchmark)
