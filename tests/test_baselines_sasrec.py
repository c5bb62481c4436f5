from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from scripts.baselines import sasrec, sasrec_model
from scripts.baselines.settings import SASRec
from scripts.command import InputError
from tests.small_data import lists_of, write_examples, write_items

CPU = torch.device("cpu")


def settings(**changes) -> SASRec:
    small = {"hidden_size": 16, "layers": 1, "batch_size": 64, "epochs": 3}
    return SASRec(**{"kind": "sasrec", **small, **changes})


def examples_of(sequences: dict[str, list[int]], longest: int) -> pd.DataFrame:
    rows = [
        (user, items[max(0, i - longest) : i], items[i])
        for user, items in sequences.items()
        for i in range(1, len(items))
    ]
    frame = pd.DataFrame(rows, columns=["user", "history", "target"])
    return frame.assign(example_id=np.arange(len(frame)))


SEQUENCES = st.lists(
    st.lists(st.integers(0, 99), min_size=2, max_size=20), min_size=1, max_size=5
).map(lambda lists: {f"u{i}": items for i, items in enumerate(lists)})


@given(SEQUENCES, st.integers(1, 6), st.integers(0, 1000))
def test_sequences_and_windows(sequences: dict[str, list[int]], longest: int, seed: int) -> None:
    """The sequences come back, and each transition is in one window, after its own past."""
    rebuilt = sasrec.training_sequences(examples_of(sequences, longest).sample(frac=1.0))
    assert np.split(rebuilt.items, rebuilt.starts[1:])[-1].tolist() == list(sequences.values())[-1]
    assert rebuilt.items.tolist() == [i for items in sequences.values() for i in items]
    inputs, targets = sasrec.windows(rebuilt, longest, np.random.default_rng(seed))
    found = []
    for source, target in zip(inputs, targets, strict=True):
        n = (target != sasrec.NONE).sum()
        assert n >= 1
        assert (target[n:] == sasrec.NONE).all()
        assert source[1:n].tolist() == target[: n - 1].tolist()
        found += zip(source[:n].tolist(), target[:n].tolist(), strict=True)
    assert found == [pair for s in sequences.values() for pair in itertools.pairwise(s)]


def test_batches_hold_every_window_once() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, size=40)
    targets = np.where(np.arange(5) < lengths[:, None], np.arange(40)[:, None], sasrec.NONE)
    seen, positions = [], []
    for inputs, wanted in sasrec.batches(targets, targets, 20, rng):
        assert inputs.shape[1] == (wanted != sasrec.NONE).sum(axis=1).max()
        seen += wanted[:, 0].tolist()
        positions.append((wanted != sasrec.NONE).sum())
    assert sorted(seen) == list(range(40))
    assert sum(positions) == lengths.sum()
    assert all(15 < n < 25 for n in positions[:-1])


def test_block_is_torchs_encoder_layer() -> None:
    torch.manual_seed(0)
    block = sasrec_model.Block(settings(hidden_size=12, heads=3)).eval()
    peer = nn.TransformerEncoderLayer(12, 3, 12, norm_first=True, batch_first=True).eval()
    ours = block.state_dict()
    names = {
        "self_attn.in_proj_": "project.",
        "self_attn.out_proj.": "merge.",
        "norm1.": "attention_norm.",
        "norm2.": "norm.",
        "linear1.": "feed_forward.0.",
        "linear2.": "feed_forward.3.",
    }
    peer.load_state_dict(
        {a + part: ours[b + part] for a, b in names.items() for part in ("weight", "bias")}
    )
    x = torch.randn(2, 5, 12)
    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(block(x, future), peer(x, src_mask=future))


def test_scores_ignore_padding_and_see_the_last_items() -> None:
    torch.manual_seed(0)
    model = sasrec.Model(9, 4, settings())
    histories = pd.Series([[5, 6], [1, 2, 3, 4, 5, 6, 7]])
    both = sasrec.scorer(model, histories, 4, CPU)(slice(None))
    for row, history in enumerate([[5, 6], [4, 5, 6, 7]]):
        with torch.no_grad():
            expected = model(torch.tensor([history]))[0, -1] @ model.items.weight.T
        torch.testing.assert_close(both[row], expected)


def test_validation_ndcg_by_hand() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    ndcg = sasrec.validation_ndcg(lambda rows: scores[rows], np.array([2, 0, 2]), 3, CPU)
    assert ndcg == pytest.approx((1 / np.log2(3) + 1 + 1 / np.log2(3)) / 3)


def files(folder: Path) -> tuple[Path, Path, Path, Path]:
    """Every user walks 0, 1, … 11, 0, … from a random start."""
    rng = np.random.default_rng(0)
    walks = [[(int(start) + k) % 12 for k in range(8)] for start in rng.integers(12, size=80)]
    train = [
        (f"u{u:02}", w[max(0, i - 4) : i], w[i]) for u, w in enumerate(walks) for i in range(1, 6)
    ]
    valid = [(f"u{u:02}", w[2:6], w[6]) for u, w in enumerate(walks)]
    test = [(f"u{u:02}", w[3:7], w[7]) for u, w in enumerate(walks)]
    return (
        write_examples(folder / "train", train),
        write_examples(folder / "valid", valid, 1000),
        write_examples(folder / "test", test, 2000),
        write_items(folder / "items", [str(i) for i in range(12)]),
    )


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
        ),
    ],
)
def test_learns_a_cycle_and_repeats_exactly(tmp_path: Path, device: str) -> None:
    data = files(tmp_path)
    lists = {}
    for name, seed in (("a", 0), ("again", 0), ("other", 1)):
        sasrec.recommend(
            *data,
            settings=settings(learning_rate=0.01, epochs=10),
            output=tmp_path / name,
            seed=seed,
            depth=3,
            device=device,
        )
        lists[name] = pd.read_parquet(tmp_path / name)
    pd.testing.assert_frame_equal(lists["a"], lists["again"])
    assert not lists["a"]["score"].equals(lists["other"]["score"])
    targets = pd.read_parquet(data[2]).set_index("example_id")["target"]
    first = {example: items[0] for example, items in lists_of(tmp_path / "a").items()}
    assert first == targets.to_dict()


def test_best_epoch_is_kept_and_training_stops(monkeypatch) -> None:
    ndcg = iter([0.2, 0.5, 0.4, 0.3, 0.9])
    weights = []

    def scripted(score, *_) -> float:
        weights.append(score(slice(1)))
        return next(ndcg)

    monkeypatch.setattr(sasrec, "validation_ndcg", scripted)
    frame = examples_of({"a": [0, 1, 2, 3], "b": [3, 2, 1, 0]}, 3)
    model = sasrec.train_model(frame, frame, 4, 3, settings(epochs=9, patience=2), 0, CPU)
    assert len(weights) == 4
    kept = sasrec.scorer(model, frame["history"], 3, CPU)(slice(1))
    torch.testing.assert_close(kept, weights[1], rtol=0, atol=0)


def test_bad_input(tmp_path: Path, monkeypatch) -> None:
    data = files(tmp_path)
    with pytest.raises(ValueError, match="heads 3 must divide hidden_size 16"):
        settings(heads=3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU"):
        sasrec.recommend(*data, settings=settings(), output=tmp_path / "x", device="cuda")
    assert not (tmp_path / "x").exists()
