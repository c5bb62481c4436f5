from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.baselines.settings import Transitions
from scripts.baselines.transitions import recommend
from tests.small_data import lists_of, write_examples, write_items


def settings(decay: float) -> Transitions:
    return Transitions(kind="transitions", decay=decay)


def test_worked_by_hand(tmp_path: Path) -> None:
    items = write_items(tmp_path / "items", list("abcde"))
    # Transitions: 0->1 twice, 0->2 once, 1->3 once; popularity: 1 twice, 2 and 3 once.
    train = write_examples(
        tmp_path / "train", [("u", [0], 1), ("v", [0], 1), ("w", [0], 2), ("u", [0, 1], 3)]
    )
    test = write_examples(
        tmp_path / "test", [("v", [0, 1], 4), ("x", [1, 0], 4), ("y", [4], 0)], first=10
    )
    recommend(train, test, items, settings(0.5), tmp_path / "lists", depth=5)
    assert lists_of(tmp_path / "lists") == {
        10: [3, 1, 2, 0, 4],  # 3: 1; 1: 1/3; 2: 1/6
        11: [1, 3, 2, 0, 4],  # 1: 2/3; 3: 1/2; 2: 1/3
        12: [1, 2, 3, 0, 4],  # nothing follows 4: popularity
    }
    scores = pd.read_parquet(tmp_path / "lists")["score"].to_numpy()
    assert scores[:3] == pytest.approx([1, 1 / 3, 1 / 6])
    assert (scores[3:5] < 0).all()


def test_agrees_with_a_plain_loop(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    size, decay = 12, 0.7

    def draw(n: int) -> list[tuple[str, list[int], int]]:
        return [
            (f"u{i}", rng.integers(size, size=rng.integers(1, 6)).tolist(), int(rng.integers(size)))
            for i in range(n)
        ]

    training, testing = draw(60), draw(20)
    pairs = Counter((history[-1], target) for _, history, target in training)
    sources = Counter(history[-1] for _, history, _ in training)
    popularity = Counter(target for *_, target in training)
    expected = {}
    for i, (_, history, _) in enumerate(testing):
        score = [
            sum(
                decay**back * pairs[source, item] / max(sources[source], 1)
                for back, source in enumerate(reversed(history))
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
        write_items(tmp_path / "items", [str(i) for i in range(size)]),
        settings(decay),
        tmp_path / "lists",
    )
    assert lists_of(tmp_path / "lists") == expected
