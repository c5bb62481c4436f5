"""Batches against one plain forward pass per example: no padding, no shared prefix, all logits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close

from scripts.finetune.batches import answer_logits, branch, can_share_prefix, common_prefix
from tests.tiny_models import ARCHITECTURES, tiny_model

VOCABULARY, PAD = 40, 1
#: Twelve shared tokens, longer than the windows of the sliding models.
SHARED = [5, 9, 13, 7, 2, 8, 30, 31, 4, 6, 11, 3]
BATCHES = {
    "histories": (
        [[*SHARED, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29], [*SHARED, 35], [*SHARED, 36, 21, 22]],
        [[14, 15, 0], [16, 0], [17, 18, 19, 20, 21, 0]],
    ),
    "no history": ([SHARED] * 3, [[14, 15, 0], [16, 0], [17, 18, 19, 20, 21, 0]]),
    "nothing shared": ([[5, 6, 7, 8], [9, 10], [11]], [[14, 15, 0], [0], [17, 0]]),
    "one token answers": ([[*SHARED, 20, 21], SHARED], [[0], [0]]),
    "one example": ([[*SHARED, 20, 21]], [[14, 15, 0]]),
}


def plain_logits(model, prompts, answers):
    rows = []
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = model(input_ids=torch.tensor([prompt + answer[:-1]]), use_cache=False).logits[0]
        rows.append(logits[len(prompt) - 1 :])
    return torch.cat(rows)


def assert_same_logits_and_gradients(model, found, expected):
    assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    parameters = dict(model.named_parameters())
    gradients = [
        torch.autograd.grad((logits * direction).sum(), [*parameters.values()])
        for logits in (found, expected)
    ]
    for name, ours, theirs in zip(parameters, *gradients, strict=True):
        scale = theirs.abs().max().item()
        assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answer_logits(architecture, batch):
    model = tiny_model(architecture, VOCABULARY)
    prompts, answers = BATCHES[batch]
    lengths = torch.tensor([len(answer) for answer in answers])
    inputs = branch(prompts, answers, PAD, can_share_prefix(model))
    found = answer_logits(model, inputs, lengths)
    assert_same_logits_and_gradients(model, found, plain_logits(model, prompts, answers))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_answer_logits_without_a_shared_prefix(architecture):
    model = tiny_model(architecture, VOCABULARY)
    prompts, answers = BATCHES["histories"]
    inputs = branch(prompts, answers, PAD, share=False)
    assert inputs["prefix"].shape == (1, 0)
    found = answer_logits(model, inputs, torch.tensor([len(answer) for answer in answers]))
    assert_same_logits_and_gradients(model, found, plain_logits(model, prompts, answers))


def test_only_full_attention_without_dropout_and_checkpointing_shares_the_prefix(caplog):
    caplog.set_level("INFO")
    sharing = {name: can_share_prefix(tiny_model(name, VOCABULARY)) for name in ARCHITECTURES}
    assert sharing == {name: not name.startswith("gemma") for name in ARCHITECTURES}
    assert "layers other than full attention" in caplog.text
    model = tiny_model("llama", VOCABULARY)
    assert not can_share_prefix(model, gradient_checkpointing=True)
    assert not can_share_prefix(tiny_model("llama", VOCABULARY, attention_dropout=0.1))
    for dropout in (0.0, 0.1):
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=dropout))
        assert can_share_prefix(adapted) == (dropout == 0)
        model = adapted.unload()


def test_gradient_checkpointing_changes_nothing():
    """Layers that are checkpointed ignore the cache, so that no prefix may be shared with them."""
    model = tiny_model("llama", VOCABULARY).train()
    prompts, answers = BATCHES["histories"]
    lengths = torch.tensor([len(answer) for answer in answers])
    plain = plain_logits(model, prompts, answers)
    model.activation_checkpointing_enable()
    share = can_share_prefix(model, gradient_checkpointing=True)
    found = answer_logits(model, branch(prompts, answers, PAD, share), lengths)
    assert_same_logits_and_gradients(model, found, plain)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_common_prefix_leaves_a_token_of_every_prompt(prompts):
    expected = 0
    while all(len(p) > expected + 1 for p in prompts) and len({p[expected] for p in prompts}) == 1:
        expected += 1
    assert common_prefix(prompts) == expected
