"""The model card, read back as model hubs read it."""

import pytest
from huggingface_hub import ModelCard

from scripts.finetune.card import model_card, objective_text
from scripts.finetune.settings import LoRA, Objective, Training

RECORD = {
    "backbone": {"id": "Qwen/Qwen2-0.5B", "commit": "c", "name": "mine", "sha256": {"a": "f00"}},
    **{"train_examples": 112_755, "valid_examples": 14_095, "steps": 5286, "seed": 2},
    **{"best_epoch": 2, "epochs_run": 3, "valid_loss": 1.23456, "valid_equal_weight_loss": 1.98769},
}


def test_the_hub_library_finds_base_task_and_library():
    text = model_card(RECORD, Objective(), Training(lora=LoRA()), "toys", "Say: #1 {x}\n")
    card = ModelCard(text)
    assert card.data.base_model == "Qwen/Qwen2-0.5B"
    assert card.data.library_name == "peft"
    assert card.data.pipeline_tag == "text-generation"
    assert "needs its backbone" not in card.text
    for fact in ("Qwen/Qwen2-0.5B at revision c |", 'Qwen2-0.5B", revision="c")', "AdamW on fp32"):
        assert fact in card.text
    for fact in ("toys, 112,755 training", "1.9877 with equal token weights, 1.2346", "2 of 3"):
        assert fact in card.text
    for fact in ("LoRA adapters of rank 8", "#1 {x}"):
        assert fact in card.text


def test_a_prompt_and_a_name_stay_where_they_stand():
    record = RECORD | {"backbone": {"name": "a|b", "sha256": {}}}
    text = model_card(record, Objective(), Training(), "toys", "say:\n````\nx")
    assert "| backbone | a\\|b |" in text
    assert "`````text\nsay:\n````\nx\n`````\n" in text


LOCAL = {"name": "mine", "sha256": {"a.safetensors": "f00", "b.safetensors": "ba5"}}


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ({}, "a model from a folder of the machine"),
        ({"settings": {"layers": 2}}, "made for this data set by `scripts.backbones.scratch`"),
        (
            {"wheel": "llm-1.0.whl", "file": "m/x.gguf"},
            "made from `m/x.gguf` in the Python package `llm-1.0.whl`",
        ),
    ],
    ids=["folder", "scratch", "wheel"],
)
def test_an_adapter_says_what_backbone_it_needs_if_no_hub_has_it(origin, words):
    """A whole model needs none."""
    record = RECORD | {"backbone": LOCAL | origin}
    card, whole = (
        ModelCard(model_card(record, Objective(), Training(lora=lora), "toys", "x"))
        for lora in (LoRA(), None)
    )
    assert (card.data.base_model, whole.data.base_model) == (None, None)
    assert whole.data.library_name == "transformers"
    assert "| backbone | mine |" in whole.text
    assert "needs its backbone" not in whole.text
    assert f"needs its backbone `mine`, which is on no model hub**: {words}" in card.text
    assert "- `a.safetensors`: `f00`\n- `b.safetensors`: `ba5`\n" in card.text
    assert 'PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("./mine"), ".")' in (
        card.text
    )


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (Objective(), "equal token weights, no causal loss (α = 0)"),
        (
            Objective(alpha=0.1, beta=0.25),
            "token weights falling from 1 to β = 0.25, causal loss with α = 0.1 against a prompt "
            "without input",
        ),
        (
            Objective(
                alpha=0.1, token_weights="learned", counterfactual="placeholder", detached=True
            ),
            "token weights learned by position, causal loss with α = 0.1 against a placeholder, "
            "which is held fixed",
        ),
    ],
)
def test_objectives_in_words(objective, text):
    assert objective_text(objective) == text
