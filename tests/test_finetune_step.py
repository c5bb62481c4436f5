"""The order of the training examples, and the gradient of an optimiser step in its parts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from accelerate.utils import convert_outputs_to_fp32
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from scripts.command import InputError
from scripts.finetune.batches import Encoded
from scripts.finetune.objective import token_weights
from scripts.finetune.order import StepOrder
from scripts.finetune.settings import Training
from scripts.finetune.step import add_gradients, recompute_activations, step_inputs
from tests.test_finetune_batches import (
    ALPHA,
    BETA,
    NO_HISTORY,
    PAD,
    SHARED,
    VOCABULARY,
    gradients,
    objective,
    with_adapter,
)
from tests.tiny_models import tiny_model, whole_logits


@given(st.lists(st.integers(1, 9), min_size=1, max_size=80), st.integers(1, 7), st.booleans())
def test_every_epoch_shows_each_example_once(lengths, step, grouped):
    order = StepOrder(lengths, step, seed=0, grouped=grouped)
    for epoch in range(2):
        order.set_epoch(epoch)
        steps = list(order)
        assert sorted(i for shown in steps for i in shown) == list(range(len(lengths)))
        assert [len(shown) for shown in steps[:-1]] == [step] * (len(order) - 1)
        assert 1 <= len(steps[-1]) <= step


@pytest.mark.parametrize("grouped", [True, False])
def test_the_order_is_given_by_the_seed_and_the_epoch(grouped):
    lengths = np.random.default_rng(0).integers(50, 300, size=200).tolist()
    orders = {}
    for seed in range(3):
        order = StepOrder(lengths, 8, seed, grouped)
        for epoch in (2, 0, 1):
            order.set_epoch(epoch)
            orders[seed, epoch] = tuple(map(tuple, order))
            assert tuple(map(tuple, order)) == orders[seed, epoch]
    assert len(set(orders.values())) == 9


def test_steps_are_of_like_length_but_in_random_order():
    lengths = np.random.default_rng(0).integers(50, 300, size=4096)
    steps, drawn = (
        lengths[np.array(list(StepOrder(lengths.tolist(), 32, seed=0, grouped=grouped)))]
        for grouped in (True, False)
    )
    padded = steps.max(1).sum() * 32 / lengths.sum()
    assert drawn.max(1).sum() * 32 / lengths.sum() > 1.6
    shuffled = np.random.default_rng(1).permutation(lengths).reshape(-1, 32).max(1).sum() * 32
    assert padded < 1.1
    assert shuffled / lengths.sum() > 1.6
    # Neighbouring steps have nothing to do with each other.
    means = steps.mean(1)
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3
    assert lengths.mean() == pytest.approx(means.mean())


def examples(count):
    """Examples of many lengths, whose prompts begin alike."""
    rng = np.random.default_rng(7)
    return [
        Encoded(
            100 + i,
            [*SHARED, *rng.integers(2, VOCABULARY, rng.integers(1, 12)).tolist()],
            [*rng.integers(2, VOCABULARY, rng.integers(0, 6)).tolist(), 0],
        )
        for i in range(count)
    ]


def plain_loss(model, shown):
    """The objective by its definition, each example and branch in one whole forward pass."""
    pairs = [
        [whole_logits(model, prompt, example.answer) for prompt in (example.prompt, NO_HISTORY)]
        for example in shown
    ]
    return objective(*map(torch.cat, zip(*pairs, strict=True)), [e.answer for e in shown])


def step_gradients(model, shown, share, size, **settings):
    """Loss and gradients as the Trainer finds them, summed over the processes."""
    model.zero_grad()
    loss = 0.0
    training = Training(micro_batch_size=size, **settings)
    for process in range(training.processes):
        weigh = partial(token_weights, beta=BETA)
        inputs = step_inputs(shown, weigh, NO_HISTORY, PAD, share, training, process)
        loss += add_gradients(model, inputs, ALPHA)[0].item()
    return loss, {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    for name, gradient in expected[1].items():
        assert gradient.norm() > 0, name
        assert (found[1][name] - gradient).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.slow  # The 36 cases together.
@pytest.mark.parametrize("share", [True, False], ids=["shared", "whole"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox"])
@pytest.mark.parametrize("count", [8, 7, 1])
def test_parts_and_processes_change_nothing_but_rounding(architecture, lora, share, count):
    model = tiny_model(architecture, VOCABULARY)
    model = with_adapter(model) if lora else model
    shown = examples(count)
    loss = plain_loss(model, shown)
    expected = loss.item(), gradients(model, loss)
    for size in (1, 2, 8):
        for processes in (1, 2, 4):
            settings = {"size": size, "processes": processes, "share": share}
            assert_same(step_gradients(model, shown, **settings), expected)


def peak(profiled):
    """Most bytes at a time that were allocated meanwhile."""
    events = sorted(profiled.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    return max(np.cumsum([event.nbytes() for event in events if event.name() == "[memory]"]))


@pytest.mark.parametrize(
    ("architecture", "kind", "share"),
    [
        ("llama", "full", True),
        ("gpt_neox", "full", False),
        ("llama", "bf16", True),
        ("gpt_neox", "lora", True),
        ("llama", "dropout", False),
    ],
)
def test_recomputed_activations_change_only_the_memory(architecture, kind, share):
    """Gradients are the same to the bit; without adapters no product runs twice."""
    found = []
    for recompute in (False, True):
        sizes = {"intermediate_size": 256, "num_hidden_layers": 6}
        model = tiny_model(architecture, VOCABULARY, **sizes).train()
        if kind in ("lora", "dropout"):
            model = with_adapter(model, dropout=0.5 * (kind == "dropout"))
        if kind == "bf16":
            model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
        if recompute:
            recompute_activations(model)
        with FlopCounterMode(display=False) as products:
            step_gradients(model, examples(8), share=share, size=8)
        torch.manual_seed(3)
        with profile(profile_memory=True) as memory:
            step = step_gradients(model, examples(8), share=share, size=8)
        found.append((*step, products.get_total_flops(), peak(memory)))
    (loss, expected, products, kept), (again, gradients, others, less) = found
    assert again == loss
    assert (others == products) == (kind in ("full", "bf16"))
    assert all(torch.equal(gradients[name], expected[name]) for name in expected)
    assert less < 0.75 * kept, less / kept


def test_recomputing_needs_layers_that_are_known():
    with pytest.raises(InputError, match=r"gradient_checkpointing: leave it out, and lower"):
        recompute_activations(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("order", ["length-grouped", "random"])
@pytest.mark.parametrize("share", [True, False], ids=["shared", "whole"])
def test_micro_batch_normalisation_is_the_mean_of_the_parts_losses(share, order):
    """As the released code has it: each part by its own weights, then their mean. With steps drawn
    at random the parts are as drawn, too."""
    model = tiny_model("llama", VOCABULARY)
    drawn = examples(7)
    shown = sorted(drawn, key=lambda e: len(e.prompt) + len(e.answer))
    assert shown != drawn
    if order == "random":
        shown = drawn
    for size in (2, 3):
        parts = [shown[start : start + size] for start in range(0, 7, size)]
        loss = sum(plain_loss(model, part) for part in parts) / len(parts)
        assert loss.item() != pytest.approx(plain_loss(model, shown).item(), rel=1e-3)
        expected = loss.item(), gradients(model, loss)
        settings = {"size": size, "normalisation": "micro-batch", "share": share, "order": order}
        assert_same(step_gradients(model, drawn, **settings), expected)
    # Two processes share out the examples first: every second one.
    parts = [shown[::2][:2], shown[::2][2:], shown[1::2][:2], shown[1::2][2:]]
    loss = sum(plain_loss(model, part) for part in parts) / 4
    settings |= {"size": 2, "processes": 2}
    assert_same(step_gradients(model, drawn, **settings), (loss.item(), gradients(model, loss)))


def test_examples_without_a_supervised_token_are_named():
    weigh = partial(token_weights, beta=BETA)
    shown = [*examples(2), Encoded(31, SHARED, []), Encoded(32, SHARED, [])]
    for wrong, ids in ((shown, r"\[31, 32\]"), ([], r"\[\]")):
        with pytest.raises(InputError, match=rf"without a supervised token.*{ids}"):
            step_inputs(wrong, weigh, NO_HISTORY, PAD, True, Training())


def test_bf16_forward_passes_give_the_gradient_to_their_rounding():
    """Autocast around the forward pass alone, as accelerate puts it. Sharing and parts add no more
    error to the float32 gradient than whole prompts in one part have."""
    model = tiny_model("llama", VOCABULARY)
    shown = examples(8)
    loss = plain_loss(model, shown)
    expected = gradients(model, loss)
    model.forward = convert_outputs_to_fp32(torch.autocast("cpu", torch.bfloat16)(model.forward))
    _, whole = step_gradients(model, shown, size=8, share=False)
    for size in (1, 8):
        found = step_gradients(model, shown, size=size, share=True)
        assert found[0] == pytest.approx(loss.item(), rel=1e-2)
        for name, gradient in expected.items():
            assert found[1][name].dtype == torch.float32
            rounding = (whole[name] - gradient).norm()
            assert 0 < rounding < 0.1 * gradient.norm()
            assert (found[1][name] - gradient).norm() <= 1.5 * rounding, name
