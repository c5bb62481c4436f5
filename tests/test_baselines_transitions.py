from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.baselines.settings import Transitions
from scripts.baselines.transitions import recommend
from tests.small_data import lists_of, write_catalogue, write_examples


def settings(shrinkage: float) -> Transitions:
    return Transitions(kind="transitions", shrinkage=shrinkage)


def test_worked_by_hand(tmp_path: Path) -> None:
    items = write_catalogue(tmp_path / "items", list("abcde"))
    # Transitions: 0->1 twice, 0->2 once, 1->3 once, and 0->3 over two steps, which counts 1/2.
    train = write_examples(
        tmp_path / "train", [("u", [0], 1), ("v", [0], 1), ("w", [0], 2), ("u", [0, 1], 3)]
    )
    test = write_examples(
        tmp_path / "test", [("v", [0, 1], 4), ("x", [1, 0], 4), ("y", [4], 0)], first=10
    )
    recommend(train, test, items, settings(0.5), tmp_path / "lists", depth=5)
    # Shares: 0->1 2/4, 0->2 1/4, 0->3 1/8; 1->3 1/1.5. Popularity: 1 twice, 2 and 3 once.
    assert lists_of(tmp_path / "lists") == {
        10: [3, 1, 2, 0, 4],  # 3: 2/3 + 1/16; 1: 1/4; 2: 1/8
        11: [1, 3, 2, 0, 4],  # 1: 1/2; 3: 1/8 + 1/3; 2: 1/4
        12: [1, 2, 3, 0, 4],  # nothing follows 4: popularity
    }
    scores = pd.read_parquet(tmp_path / "lists")["score"].to_numpy()
    assert scores[:3] == pytest.approx([2 / 3 + 1 / 16, 1 / 4, 1 / 8])
    assert scores[5:8] == pytest.approx([1 / 2, 1 / 8 + 1 / 3, 1 / 4])
    assert (scores[3:5] < 0).all()


@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
def test_agrees_with_a_plain_loop_over_sequences(tmp_path: Path, shrinkage: float) -> None:
    """Pairs counted from the users' sequences, not from the examples cut from them."""
    rng = np.random.default_rng(1)
    size, longest = 12, 4
    sequences = [rng.integers(size, size=rng.integers(2, 9)).tolist() for _ in range(25)]
    training = [
        (f"u{user:02}", items[max(0, i - longest) : i], items[i])
        for user, items in enumerate(sequences)
        for i in range(1, len(items))
    ]
    testing = [(f"u{i}", rng.integers(size, size=3).tolist(), 0) for i in range(20)]
    counts: Counter[tuple[int, int]] = Counter()
    for items in sequences:
        for later in range(1, len(items)):
            for earlier in range(max(0, later - longest), later):
                counts[items[earlier], items[later]] += 1 / (later - earlier)
    totals: Counter[int] = Counter()
    for (source, _), count in counts.items():
        totals[source] += count
    popularity = Counter(target for *_, target in training)
    expected = {}
    for i, (_, history, _) in enumerate(testing):
        score = [
            sum(
                counts[source, item] / (totals[source] + shrinkage) / back
                for back, source in enumerate(reversed(history), start=1)
                if totals[source]
            )
            for item in range(size)
        ]
        # Rounded: equal scores must tie however they were summed.
        expected[i] = sorted(
            range(size),
            key=lambda k, s=score: (-round(s[k], 6), -popularity[k] if s[k] == 0 else 0, k),
        )
    recommend(
        write_examples(tmp_path / "train", training),
        write_examples(tmp_path / "test", testing),
        write_catalogue(tmp_path / "items", [str(i) for i in range(size)]),
        settings(shrinkage),
        tmp_path / "lists",
    )
    assert lists_of(tmp_path / "lists") == expected
