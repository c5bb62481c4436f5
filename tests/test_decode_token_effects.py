"""The effect of the history on each token, against one plain forward pass per example."""

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from scripts.backbones.load import load_tokenizer
from scripts.contracts import TOKEN_EFFECTS
from scripts.decode import token_effects as module
from scripts.decode.token_effects import token_effects
from scripts.files import read_table
from scripts.prompts import answer_ids
from tests.small_language import ROWS, TITLES, finetuned, log_probabilities


@pytest.mark.parametrize("batch", [2, 32])
def test_log_probabilities_of_every_token(folder, batch, monkeypatch):
    monkeypatch.setattr(module, "BATCH", batch)
    token_effects(finetuned(folder), folder / "examples.parquet", folder / "effects.parquet")
    found = read_table(folder / "effects.parquet", TOKEN_EFFECTS)
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    tokenizer = load_tokenizer(folder / "backbone")
    assert found["example_id"].unique().tolist() == list(range(10, 10 + len(ROWS)))
    for row, (user, history, target) in enumerate(ROWS):
        group = found[found["example_id"] == 10 + row]
        count = len(answer_ids(tokenizer, TITLES[target]))
        assert "".join(group["token"]) == f'"{TITLES[target]}"eos'.replace(" ", "␣")
        assert group["user"].unique().tolist() == [user]
        assert group["position"].tolist() == list(range(1, count + 1))
        assert group["tokens"].unique().tolist() == [count]
        shown = [TITLES[item] for item in history]
        branches = {"with_history": (shown, None), "without_history": ([], None)}
        for column, (titles, less) in (branches | {"causal": (shown, [])}).items():
            expected = log_probabilities(model, tokenizer, titles, TITLES[target], less)
            np.testing.assert_allclose(group[column], expected, rtol=1e-5, atol=1e-5)
