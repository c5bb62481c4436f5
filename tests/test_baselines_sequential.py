from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import nn

from scripts.baselines import networks, sequential
from scripts.baselines.sequential_model import load_model, make_model, save_model, scorer
from scripts.baselines.settings import GRU4Rec, SASRec, Sequential
from scripts.command import InputError
from tests.small_data import lists_of, write_catalogue, write_examples

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


KINDS = ("gru4rec", "caser", "sasrec")


def settings(kind: str = "sasrec", **changes) -> Sequential:
    small = {"kind": kind, "hidden_size": 16, "batch_size": 64, "epochs": 3}
    return TypeAdapter(Sequential).validate_python(small | changes)


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
    rebuilt = sequential.training_sequences(examples_of(sequences, longest).sample(frac=1.0))
    assert np.split(rebuilt.items, rebuilt.starts[1:])[-1].tolist() == list(sequences.values())[-1]
    assert rebuilt.items.tolist() == [i for items in sequences.values() for i in items]
    inputs, targets = sequential.windows(rebuilt, longest, np.random.default_rng(seed))
    found = []
    for source, target in zip(inputs, targets, strict=True):
        n = (target != sequential.NONE).sum()
        assert n >= 1
        assert (target[n:] == sequential.NONE).all()
        assert source[1:n].tolist() == target[: n - 1].tolist()
        found += zip(source[:n].tolist(), target[:n].tolist(), strict=True)
    assert found == [pair for s in sequences.values() for pair in itertools.pairwise(s)]


def test_batches_hold_every_window_once() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, size=40)
    targets = np.where(np.arange(5) < lengths[:, None], np.arange(40)[:, None], sequential.NONE)
    seen, positions = [], []
    for inputs, wanted in sequential.batches(targets, targets, 20, rng):
        assert inputs.shape[1] == (wanted != sequential.NONE).sum(axis=1).max()
        seen += wanted[:, 0].tolist()
        positions.append((wanted != sequential.NONE).sum())
    assert sorted(seen) == list(range(40))
    assert sum(positions) == lengths.sum()
    assert all(15 < n < 25 for n in positions[:-1])


def test_block_is_torchs_encoder_layer() -> None:
    torch.manual_seed(0)
    block = networks.Block(SASRec(kind="sasrec", hidden_size=12, heads=3)).eval()
    peer = nn.TransformerEncoderLayer(12, 3, 12, norm_first=True, batch_first=True).eval()
    ours = block.state_dict()
    names = {
        **{"self_attn.in_proj_": "project.", "self_attn.out_proj.": "merge."},
        **{"norm1.": "attention_norm.", "norm2.": "norm.", "linear1.": "feed_forward.0."},
        "linear2.": "feed_forward.3.",
    }
    peer.load_state_dict(
        {a + part: ours[b + part] for a, b in names.items() for part in ("weight", "bias")}
    )
    x = torch.randn(2, 5, 12)
    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(block(x, future), peer(x, src_mask=future))


def test_whole_examples() -> None:
    frame = pd.DataFrame({"history": [[5], [1, 2, 3], [1, 2, 3, 4]], "target": [7, 8, 0]})
    inputs, targets = sequential.whole_examples(frame, 3)
    none = sequential.NONE
    assert inputs.tolist() == [[5, 0, 0], [1, 2, 3], [2, 3, 4]]
    assert targets.tolist() == [[7, none, none], [none, none, 8], [none, none, 0]]
    sizes = [(len(i), i.shape[1]) for i, _ in sequential.batches(inputs, targets, 2, RNG)]
    assert sum(rows for rows, _ in sizes) == 3
    assert [rows for rows, _ in sizes] == [2, 1]


def test_gru4rec_by_the_equations() -> None:
    """One step after the other, with the reset gate after the product, as in torch."""
    torch.manual_seed(0)
    model = networks.GRU4RecNetwork(9, 4, GRU4Rec(kind="gru4rec", hidden_size=6)).eval()
    weights = {name: value.detach() for name, value in model.layers.named_parameters()}
    state = torch.zeros(6)
    for item in (3, 1, 8):
        x = model.items.weight[item].detach()
        reset_x, update_x, new_x = (weights["weight_ih_l0"] @ x + weights["bias_ih_l0"]).chunk(3)
        reset_h, update_h, new_h = (weights["weight_hh_l0"] @ state + weights["bias_hh_l0"]).chunk(
            3
        )
        update = (update_x + update_h).sigmoid()
        new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
        state = update * state + (1 - update) * new
    with torch.no_grad():
        wanted = torch.tensor([[False, False, True, False]])
        found = model(torch.tensor([[3, 1, 8, 0]]), wanted)
        torch.testing.assert_close(found[0], model.merge(state))


def test_caser_by_plain_loops() -> None:
    torch.manual_seed(0)
    longest, width = 4, 5
    chosen = settings(
        "caser", hidden_size=width, heights=[1, 3], horizontal_filters=3, vertical_filters=2
    )
    model = networks.CaserNetwork(9, longest, chosen).eval()
    table = model.items.weight.detach()
    window = torch.stack([torch.zeros(width), table[2], table[7], table[1]])
    found = []
    for height, filters in zip([1, 3], model.horizontal, strict=True):
        for kernel, bias in zip(filters.weight.detach(), filters.bias.detach(), strict=True):
            places = range(longest - height + 1)
            sums = [(window[i : i + height] * kernel.T).sum() + bias for i in places]
            found.append(max(max(sums), torch.tensor(0.0)))
    for column in range(width):
        found += [(w @ window[:, column]) for w in model.vertical.weight.detach()]
    with torch.no_grad():
        expected = model.merge(torch.stack(found)).relu()
        wanted = torch.tensor([[False, False, True, False]])
        torch.testing.assert_close(model(torch.tensor([[2, 7, 1, 0]]), wanted)[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_ignore_padding_and_see_the_last_items(kind: str) -> None:
    torch.manual_seed(0)
    model = make_model(9, 4, settings(kind))
    histories = pd.Series([[5, 6], [1, 2, 3, 4, 5, 6, 7]])
    both = scorer(model, histories, CPU)(slice(None))
    assert both.shape == (2, 9)
    for row, history in enumerate([[5, 6], [4, 5, 6, 7]]):
        last = torch.arange(len(history))[None] == len(history) - 1
        with torch.no_grad():
            expected = model(torch.tensor([history]), last)[0] @ model.items.weight.T
        torch.testing.assert_close(both[row], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_position_sees_nothing_behind_it(kind: str) -> None:
    torch.manual_seed(0)
    model = make_model(9, 4, settings(kind)).eval()
    everywhere = torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        whole = model(torch.tensor([[5, 6, 7, 8]]), everywhere)
        other = model(torch.tensor([[5, 6, 1, 2]]), everywhere)
    torch.testing.assert_close(whole[:2], other[:2])
    assert not torch.allclose(whole[2:], other[2:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_comes_back(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    model, histories = make_model(9, 4, settings(kind)), pd.Series([[5, 6], [1, 2, 3, 4, 8]])
    saved = set()
    for _ in range(8):
        save_model(model, settings(kind), tmp_path / "model")
        saved.add((tmp_path / "model").read_bytes())
    assert len(saved) == 1
    loaded = load_model(tmp_path / "model", CPU)
    assert type(loaded) is type(model)
    scores = [scorer(one, histories, CPU)(slice(None)) for one in (model, loaded)]
    torch.testing.assert_close(*scores, rtol=0, atol=0)
    content = bytearray((tmp_path / "model").read_bytes())
    content[-3] ^= 1
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(InputError, match=r"model: holds no .* damaged: its checksum differs"):
        load_model(tmp_path / "model", CPU)


def test_validation_ndcg_by_hand() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    ndcg = sequential.validation_ndcg(lambda rows: scores[rows], np.array([2, 0, 2]), 3, CPU)
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
        write_catalogue(folder / "items", [str(i) for i in range(12)]),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
        ),
    ],
)
def test_learns_a_cycle_and_repeats_exactly(tmp_path: Path, device: str, kind: str) -> None:
    data = files(tmp_path)
    lists = {}
    for name, seed in (("a", 0), ("again", 0), ("other", 1)):
        sequential.recommend(
            *data,
            settings=settings(kind, learning_rate=0.01, epochs=10),
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

    monkeypatch.setattr(sequential, "validation_ndcg", scripted)
    frame = examples_of({"a": [0, 1, 2, 3], "b": [3, 2, 1, 0]}, 3)
    model = sequential.train_model(frame, frame, 4, 3, settings(epochs=9, patience=2), 0, CPU)
    assert len(weights) == 4
    kept = scorer(model, frame["history"], CPU)(slice(1))
    torch.testing.assert_close(kept, weights[1], rtol=0, atol=0)
