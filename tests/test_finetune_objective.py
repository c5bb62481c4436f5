"""The objective against losses and gradients that were computed independently in float64.

`data/objective.json` holds five cases: logits of both branches per item, token and word, with the
expected weights, losses and gradients. None of it comes from this project's code.
"""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from scripts.command import InputError
from scripts.finetune.objective import (
    POSITIONS,
    RATE,
    detached,
    effect_losses,
    learned_weights,
    position_sums,
    running_losses,
    token_weights,
    total_loss,
    weighted_losses,
)

CASES = json.loads((Path(__file__).parent / "data" / "objective.json").read_text())["cases"]


def flat(rows, dtype):
    return torch.tensor([token for item in rows for token in item], dtype=dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_losses_and_gradients(case, dtype, tolerance):
    expected = case["expected"]
    factual = flat(case["factual_logits"], dtype).requires_grad_()
    counterfactual = flat(case["counterfactual_logits"], dtype).requires_grad_()
    lengths = torch.tensor([len(item) for item in case["targets"]])
    weights = token_weights(lengths, case["beta"])
    close = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
    assert_close(weights, flat(expected["weights"], dtype), **close)
    if dtype == torch.float64:
        weights = flat(expected["weights"], dtype)
    sums = weighted_losses(factual, flat(case["targets"], torch.int64), weights, counterfactual)
    loss = total_loss(sums, case["alpha"], weights.sum())
    found = (sums.normal / weights.sum(), sums.causal / weights.sum(), loss)
    for name, value in zip(("normal", "causal", "total"), found, strict=True):
        assert_close(value.item(), expected[f"{name}_loss"], rtol=tolerance, atol=tolerance)
    loss.backward()
    assert_close(factual.grad, flat(expected["grad_factual"], dtype), **close)
    assert_close(counterfactual.grad, flat(expected["grad_counterfactual"], dtype), **close)


def test_detached_the_causal_loss_is_the_same_and_moves_the_branch_with_history_alone():
    case = CASES[0]
    logits, without = (
        flat(case[f"{name}_logits"], torch.float64).requires_grad_()
        for name in ("factual", "counterfactual")
    )
    targets = flat(case["targets"], torch.int64)
    whole = effect_losses(logits, without, targets)
    (both,) = torch.autograd.grad(whole.sum(), logits)
    losses = detached(effect_losses)(logits, without, targets)
    assert_close(losses, whole)
    losses.sum().backward()
    assert_close(logits.grad, both)
    assert without.grad is None


def test_weights_by_hand():
    weights = token_weights(torch.tensor([1, 2, 5, 1]), 0.2)
    assert_close(weights, torch.tensor([1.0, 1.0, 0.2, 1.0, 0.8, 0.6, 0.4, 0.2, 1.0]))
    assert_close(token_weights(torch.tensor([3]), 1.0), torch.ones(3))
    assert_close(token_weights(torch.tensor([3]), 0.0), torch.tensor([1.0, 0.5, 0.0]))


def test_without_counterfactual_logits_the_causal_loss_is_zero():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    sums = weighted_losses(logits, torch.tensor([0, 1]), torch.tensor([1.0, 0.5]), None)
    assert_close(sums.normal, 1.5 * torch.tensor(2.0).log())
    assert sums.causal == 0
    assert_close(total_loss(sums, 0.7, 1.5), torch.tensor(2.0).log())


def test_a_causal_loss_of_ones_own_is_weighted_token_by_token():
    logits, without, targets = torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.ones(2, 2), [0, 1]
    batch = (logits, torch.tensor(targets), torch.tensor([1.0, 0.5]), without)
    sums = weighted_losses(*batch, lambda z, z0, y: (z - z0).gather(1, y[:, None])[:, 0])
    assert sums.causal.item() == 1.0 * (3 - 1) + 0.5 * (2 - 1)
    with pytest.raises(InputError, match="one loss for each token, and no sum or mean"):
        weighted_losses(*batch, lambda z, z0, y: (z - z0).mean())


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    beta=st.floats(0, 1),
    alpha=st.floats(0, 2),
    cut=st.integers(0, 8),
    seed=st.integers(0, 100),
)
def test_micro_batches_add_up_to_the_batch(lengths, beta, alpha, cut, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    z, z0 = torch.randn(2, tokens, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(7, (tokens,), generator=generator)
    weight_sum = token_weights(torch.tensor(lengths), beta).sum()
    border = sum(lengths[:cut])
    shares = []
    for items, part in ((lengths[:cut], slice(0, border)), (lengths[cut:], slice(border, None))):
        if items:
            weights = token_weights(torch.tensor(items), beta)
            sums = weighted_losses(z[part], targets[part], weights, z0[part])
            shares.append(total_loss(sums, alpha, weight_sum))
    whole = weighted_losses(z, targets, token_weights(torch.tensor(lengths), beta), z0)
    assert_close(sum(shares), total_loss(whole, alpha, weight_sum), rtol=1e-12, atol=1e-12)


UNSEEN = torch.full((POSITIONS,), torch.nan, dtype=torch.float64)


def test_running_losses_by_hand():
    sums = position_sums(torch.tensor([4.0, 1.0, 2.0]), torch.tensor([2, 1]))
    assert sums[:, :3].tolist() == [[6.0, 1.0, 0.0], [2.0, 1.0, 0.0]]
    first = running_losses(UNSEEN, sums)
    assert first[:2].tolist() == [3.0, 1.0]  # Position 0 has the losses 4 and 2.
    assert first[2:].isnan().all()
    second = running_losses(first, position_sums(torch.tensor([5.0]), torch.tensor([1])))
    assert second[:2].tolist() == pytest.approx([(1 - RATE) * 3 + RATE * 5, 1.0])
    tokens = torch.arange(POSITIONS + 2.0)
    long = running_losses(UNSEEN, position_sums(tokens, torch.tensor([len(tokens)])))
    assert long[-1] == POSITIONS  # The mean of the last three.


def test_learned_weights_by_hand():
    lengths = torch.tensor([2, 3, 1])
    assert_close(learned_weights(UNSEEN, lengths), torch.ones(6))
    running = UNSEEN.clone()
    running[:2] = torch.tensor([3.0, 2.0])
    # exp(3) : exp(2) = e : 1, with mean 1; position 2 has not been seen.
    high, low = 2 * torch.e / (torch.e + 1), 2 / (torch.e + 1)
    expected = torch.tensor([high, low, high, low, 1.0, high])
    assert_close(learned_weights(running, lengths), expected)


@given(
    st.lists(st.floats(0, 20), min_size=2, max_size=8),
    st.lists(st.floats(0.01, 1), min_size=8, max_size=8),
)
def test_learned_weights_solve_the_bounded_worst_case(losses, other):
    """No other weights of the same sum reach a higher value of what they are said to maximise."""
    running = UNSEEN.clone()
    running[: len(losses)] = torch.tensor(losses)
    found = learned_weights(running, torch.tensor([len(losses)])).double()
    assert (found > 0).all()
    rival = torch.tensor(other[: len(losses)], dtype=torch.float64)

    def value(weights):
        shares = weights / weights.sum()
        gain = (shares * torch.tensor(losses, dtype=torch.float64)).sum()
        return gain - (shares * (shares * len(losses)).log()).sum()

    assert value(found) >= value(rival) - 1e-5
