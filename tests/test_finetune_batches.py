"""Batches against one plain forward pass per example and branch: no padding, nothing shared."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close

from scripts.finetune.batches import (
    answer_logits,
    branches,
    common_prefix,
    may_share_prefix,
    no_history_prompt,
    tokens_run,
)
from scripts.prompts import prompt_text
from tests.small_language import PROMPT
from tests.test_prompts import BYTES
from tests.tiny_models import ARCHITECTURES, tiny_model, whole_logits

VOCABULARY, PAD = 40, 1
ALPHA, BETA = 0.3, 0.25
SHARING = [name for name in ARCHITECTURES if name not in ("gemma2", "gemma3_text")]
#: Twelve shared tokens, longer than the windows of the sliding models.
SHARED = [5, 9, 13, 7, 2, 8, 30, 31, 4, 6, 11, 3]
#: Begins as the shared tokens do, and goes on in its own way.
NO_HISTORY = [5, 9, 13, 20, 21, 2]
ANSWERS = [[14, 15, 0], [16, 0], [17, 18, 19, 20, 21, 0]]
#: Prompts, answers and the prompt without history.
BATCHES = {
    "histories": (
        [[*SHARED, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29], [*SHARED, 35], [*SHARED, 36, 21, 22]],
        ANSWERS,
        NO_HISTORY,
    ),
    "equal prompts": ([SHARED] * 3, ANSWERS, NO_HISTORY),
    "nothing shared": ([[5, 6, 7, 8], [9, 10], [11]], [[14, 15, 0], [0], [17, 0]], NO_HISTORY),
    "nothing shared with the prompt without history": (
        [[*SHARED, 20, 21], SHARED],
        [[14, 0], [15, 16, 0]],
        [30, 2],
    ),
    "prompt without history within the prefix": (
        [[*SHARED, 20, 21], [*SHARED, 35]],
        [[14, 0], [15, 16, 0]],
        SHARED[:7],
    ),
    "one token answers": ([[*SHARED, 20, 21], SHARED], [[0], [0]], NO_HISTORY),
    "one example": ([[*SHARED, 20, 21]], [[14, 15, 0]], NO_HISTORY),
}


def objective(logits, without_history, answers):
    """The objective by its definition, in float64; see docs/paper.md §2."""
    weights = torch.cat([torch.linspace(1, BETA, len(a), dtype=torch.float64) for a in answers])
    targets = torch.tensor([[token] for answer in answers for token in answer])
    total = 0.0
    for scale, scores in ((1.0, logits), (ALPHA, logits - without_history)):
        chosen = scores.double().log_softmax(-1).gather(1, targets)[:, 0]
        total = total - scale * (weights * chosen).sum() / weights.sum()
    return total


def gradients(model, loss):
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return dict(zip(parameters, torch.autograd.grad(loss, [*parameters.values()]), strict=True))


def assert_exact(model, batch, share):
    """Logits, loss and every parameter's gradient, relative to 1e-5, in float32."""
    prompts, answers, no_history = batch
    inputs = branches(prompts, answers, no_history, PAD, share, size=2)
    assert ("trunk" in inputs) == share
    assert len(inputs["parts"]) == (len(prompts) + 1) // 2
    found = answer_logits(model, inputs)
    expected = [
        torch.cat([whole_logits(model, p, a) for p, a in zip(shown, answers, strict=True)])
        for shown in (prompts, [no_history] * len(prompts))
    ]
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    losses = [objective(*logits, answers) for logits in (found, expected)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    ours, theirs = (gradients(model, loss) for loss in losses)
    for name, gradient in theirs.items():
        assert gradient.norm() > 0, name
        assert (ours[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


def with_adapter(model, dropout=0.0):
    """LoRA on all linear layers, with weights as if it had been trained for a while."""
    adapted = get_peft_model(
        model,
        LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=4, lora_dropout=dropout),
    )
    torch.manual_seed(2)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return adapted


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_two_separate_passes(architecture, lora, batch):
    model = tiny_model(architecture, VOCABULARY)
    model = with_adapter(model) if lora else model
    assert_exact(model, BATCHES[batch], share=architecture in SHARING)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("share", [True, False], ids=["shared", "whole"])
def test_plain_batches_leave_the_branch_without_history_out(batch, share):
    model = tiny_model("llama", VOCABULARY)
    prompts, answers, _ = BATCHES[batch]
    found, nothing = answer_logits(model, branches(prompts, answers, None, PAD, share))
    assert nothing is None
    expected = torch.cat([whole_logits(model, p, a) for p, a in zip(prompts, answers, strict=True)])
    assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_tokens_run():
    prompts, answers, no_history = BATCHES["histories"]
    # Rows: the longest of 10 + 2, 1 + 1 and 3 + 5 tokens behind the prefix.
    plain = 12 + 3 * 12
    counterfactual = 3 + (2 + 1 + 5)  # Three tokens begin both prompts.
    assert tokens_run(branches(prompts, answers, None, PAD, share=True)) == plain
    both = branches(prompts, answers, no_history, PAD, share=True)
    assert tokens_run(both) == plain + counterfactual
    # Whole: 22 + 2 tokens in the longest row, 6 + 5 without history.
    whole = branches(prompts, answers, no_history, PAD, share=False)
    assert tokens_run(whole) == 3 * 24 + 3 * 11


HINDRANCES = {
    "attention dropout": lambda: tiny_model("llama", VOCABULARY, attention_dropout=0.1),
    "functional dropout": lambda: tiny_model("falcon", VOCABULARY, hidden_dropout=0.1),
    "adapter dropout": lambda: with_adapter(tiny_model("llama", VOCABULARY), dropout=0.1),
}


@pytest.mark.parametrize("hindrance", HINDRANCES)
def test_dropout_hinders_and_is_logged(hindrance, caplog):
    caplog.set_level("INFO")
    model = HINDRANCES[hindrance]()
    assert not may_share_prefix(model)
    assert "Every prompt is run whole in training, because of dropout" in caplog.text
    assert_exact(model.eval(), BATCHES["histories"], share=False)


@pytest.mark.parametrize(("dropout", "share"), [(0.1, False), (0.0, True)])
def test_dropout_of_no_module_hinders(dropout, share):
    sizes = {"ffn_dim": 32, "word_embed_proj_dim": 16}
    model = tiny_model("opt", VOCABULARY, dropout=dropout, **sizes)
    assert may_share_prefix(model) == share


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_common_prefix_leaves_a_token_of_every_prompt(prompts):
    expected = 0
    while all(len(p) > expected + 1 for p in prompts) and len({p[expected] for p in prompts}) == 1:
        expected += 1
    assert common_prefix(prompts) == expected


def test_the_placeholder_stands_where_the_titles_stand():
    text = BYTES.decode(no_history_prompt(BYTES, PROMPT, "placeholder"))
    assert f"### Input:\n{PROMPT.history} (unknown)\n\n### Response:\n" in text
    assert text == prompt_text(PROMPT, ["x"]).replace('"x"', "(unknown)")
    text = BYTES.decode(no_history_prompt(BYTES, PROMPT))
    assert "### Input" not in text
