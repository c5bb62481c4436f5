"""What a backbone allows, by what it does: against single passes, and through whole steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.backbones.load import load_backbone
from scripts.command import InputError
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.decode.model import load
from scripts.decode.settings import Constrained, Grounded
from scripts.files import read_json, read_table, write_json
from scripts.finetune.settings import Objective, Training
from scripts.finetune.shortcuts import Shortcuts, find_shortcuts
from scripts.finetune.train import finetune
from scripts.prompts import answer_ids, prompt_ids, prompt_text
from tests.small_language import PROMPT, SHORTCUTS, TITLES, finetuned, listed
from tests.test_decode_constrained import title_scores
from tests.test_decode_grounded import plain_texts
from tests.test_finetune_batches import BATCHES, assert_exact
from tests.tiny_models import tiny_model

LOCAL = {"attention_types": [[["global", "local"], 1]], "window_size": 8}
GROUPED = {"num_key_value_heads": 1}
HYBRID = {"layer_types": ["conv", "full_attention"], "num_key_value_heads": 1}
#: What sees positions in the mask, in the cache's place, in a window, or in a state; whether its
#: trees and its prefixes are as single passes.
FAMILIES = {
    "llama": ("llama", {}, (True, True)),
    "mistral": ("mistral", GROUPED | {"sliding_window": 8}, (True, False)),
    "gemma3": ("gemma3_text", {"sliding_window": 8}, (True, False)),
    "eager": ("llama", {"attn_implementation": "eager"}, (True, False)),
    "mpt": ("mpt", {}, (False, False)),
    "bloom": ("bloom", {}, (False, False)),
    "falcon, ALiBi": ("falcon", {"alibi": True}, (False, False)),
    "gpt_neo, local": ("gpt_neo", LOCAL, (False, False)),
    "llama4, chunks": ("llama4_text", GROUPED | {"attention_chunk_size": 8}, None),
    "mamba": ("mamba", {}, (False, False)),
    "lfm2, convolutions": ("lfm2", HYBRID, (False, False)),
}


def found(model, tokenizer):
    return find_shortcuts(model, tokenizer, PROMPT, TITLES, 128)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_found_is_exact_in_training(family, tokenizer):
    """Loss and gradients; the lists are held against single passes by the whole steps below."""
    architecture, options, expected = FAMILIES[family]
    model = tiny_model(architecture, len(tokenizer), **options)
    shortcuts = found(model, tokenizer)
    if expected is not None:
        assert (shortcuts.tree, shortcuts.prefix) == expected
    assert_exact(model, BATCHES["histories"], shortcuts.prefix)


def test_an_encoder_is_no_language_model(tokenizer):
    model = tiny_model("bert", len(tokenizer))
    model.config.name_or_path = "models/bert"
    with pytest.raises(InputError, match=r"models/bert: .* change with what follows them"):
        found(model, tokenizer)


def test_a_model_that_cannot_be_run(tokenizer):
    model = tiny_model("llama", len(tokenizer))
    model.model.layers[1].mlp.up_proj.weight.data = torch.zeros(3, 3)
    with pytest.raises(InputError, match=r"cannot be run as a causal language model \(RuntimeErr"):
        found(model, tokenizer)


def test_a_free_search_that_writes_something_else_in_a_batch(tokenizer, monkeypatch):
    """As a model does that takes padding for words."""
    model = tiny_model("llama", len(tokenizer))
    generate = model.generate

    def misplaced(*args, **inputs):
        if "attention_mask" in inputs:
            inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
        return generate(*args, **inputs)

    assert found(model, tokenizer).beams
    monkeypatch.setattr(model, "generate", misplaced)
    assert found(model, tokenizer) == Shortcuts(tree=True, prefix=True, beams=False)


def test_nothing_is_left_behind(tokenizer):
    model = tiny_model("llama", len(tokenizer)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found(model, tokenizer)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", ["mpt", "mamba", "lfm2, convolutions"])
def test_whole_steps_of_what_knows_no_tree(family, folder, tokenizer, tmp_path, caplog):
    """Fine-tuned, searched and grounded: the same as single passes over the model that is saved."""
    architecture, options, _ = FAMILIES[family]
    tiny_model(architecture, len(tokenizer), **options).save_pretrained(tmp_path / "backbone")
    tokenizer.save_pretrained(tmp_path / "backbone")
    finetune(
        backbone=tmp_path / "backbone",
        train=folder / "examples.parquet",
        valid=folder / "examples.parquet",
        catalogue=folder / "catalogue.parquet",
        prompt=PROMPT,
        objective=Objective(alpha=0.1),
        training=Training(batch_size=4, epochs=1, max_tokens=256, precision="fp32"),
        seed=0,
        output=tmp_path / "model",
        device="cpu",
    )
    assert "titles are searched in whole passes" in caplog.text
    recorded = read_json(tmp_path / "model" / "run.json")["shortcuts"]
    assert not recorded["tree"]
    assert not recorded["prefix"]
    ours = finetuned(folder, model=tmp_path / "model", backbone=tmp_path / "backbone")
    lists, texts = (
        listed(ours, folder / "examples.parquet", decoder, tmp_path)
        for decoder in (
            Constrained(kind="constrained", beams=20),
            Grounded(kind="grounded", beams=2, max_new_tokens=6, depth=1),
        )
    )
    model = load_backbone(tmp_path / "model", "fp32").eval()
    examples = read_table(folder / "examples.parquet", EXAMPLES).set_index("example_id")
    titles = read_table(folder / "catalogue.parquet", CATALOGUE)["title"]
    tokens = titles.map(lambda title: tuple(answer_ids(tokenizer, title)))
    for example, history in examples["history"].items():
        text = prompt_text(PROMPT, [TITLES[item] for item in history])
        expected = title_scores(model, tokens, prompt_ids(tokenizer, text))
        ranked = lists[lists["example_id"] == example]
        np.testing.assert_allclose(ranked["score"], expected[ranked["item_id"]], atol=1e-4)
        assert (ranked["score"].diff().dropna() <= 0).all()
        assert len(ranked) == titles.nunique()
        # The nearest title is the text itself, where the model has written a title.
        written = plain_texts(model, tokenizer, text, 2, 6)[0]
        if written in TITLES:
            [item] = texts.loc[texts["example_id"] == example, "item_id"]
            assert TITLES[item] == written


def test_a_model_without_a_record_is_tried_when_it_is_loaded(folder, tokenizer, tmp_path):
    tiny_model("bloom", len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert not load(finetuned(folder, model=tmp_path)).shortcuts.tree
    write_json(SHORTCUTS, tmp_path / "run.json")  # It is believed.
    assert load(finetuned(folder, model=tmp_path)).shortcuts == Shortcuts(True, True, True)
