"""Grounding against brute force: one text at a time, and all distances in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig

from scripts.backbones.load import load_finetuned, load_tokenizer
from scripts.contracts import RECOMMENDATIONS
from scripts.decode import grounded
from scripts.decode.grounded import embed, generate_texts, nearest
from scripts.decode.recommend import padded, recommend
from scripts.decode.settings import Grounded
from scripts.files import read_table
from scripts.prompts import prompt_text
from tests.small_language import PROMPT, ROWS, TITLES, make_small_backbone, write_language_data
from tests.tiny_models import tiny_model

CPU = torch.device("cpu")
HISTORIES = [[TITLES[item] for item in history] for _, history, _ in ROWS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounded")
    write_language_data(folder)
    make_small_backbone(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder / "backbone")


@pytest.fixture(scope="module")
def model(folder):
    return load_finetuned(folder / "backbone", folder / "backbone", CPU, "fp32")


def plain_text(model, tokenizer, text, beams, max_new_tokens):
    """Transformers' own beam search for one prompt without padding."""
    ids = torch.tensor([tokenizer(text).input_ids])
    config = GenerationConfig(
        num_beams=beams,
        max_new_tokens=max_new_tokens,
        early_stopping=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    new = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True)


def plain_vector(model, tokenizer, text):
    ids = tokenizer(text).input_ids or [tokenizer.eos_token_id]
    with torch.inference_mode():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return states[-1][0, -1].numpy()


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3_text"])
@pytest.mark.parametrize("beams", [1, 4])
def test_generated_texts(tmp_path, tokenizer, architecture, beams):
    model = tiny_model(architecture, len(tokenizer))
    texts = [prompt_text(PROMPT, history) for history in [*HISTORIES, []]]
    ids, mask = padded([tuple(tokenizer(text).input_ids) for text in texts], 1, CPU)
    expected = [plain_text(model, tokenizer, text, beams, 12) for text in texts]
    # The sampling and penalties that an Instruct model ships must have no effect.
    shipped = {"do_sample": True, "top_k": 2, "repetition_penalty": 2.0, "no_repeat_ngram_size": 1}
    model.generation_config = GenerationConfig(**shipped)
    model.save_pretrained(tmp_path)
    loaded = load_finetuned(tmp_path, tmp_path, CPU, "fp32")
    found = generate_texts(loaded, tokenizer, ids, mask, beams, 1, 12)
    assert found == [text.strip().strip('"').strip() for text in expected]
    assert len(set(found)) > 1


def test_embeddings_are_those_of_one_text_at_a_time(model, tokenizer):
    texts = ["", "Amber Harbour", "1984", "", *TITLES, "x" * 40]
    vectors = embed(model, tokenizer, texts, CPU)
    assert vectors.dtype == torch.float32
    expected = [plain_vector(model, tokenizer, text) for text in texts]
    np.testing.assert_allclose(vectors.numpy(), expected, rtol=1e-5, atol=1e-5)


@given(
    queries=st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=12),
    titles=st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=12),
    depth=st.integers(1, 12),
)
def test_nearest_with_many_ties(queries, titles, depth):
    depth = min(depth, len(titles))
    indices, distances = nearest(
        torch.tensor(queries, dtype=torch.float32), torch.tensor(titles, dtype=torch.float32), depth
    )
    squares = ((np.array(queries)[:, None] - np.array(titles)[None]) ** 2).sum(-1)
    order = np.argsort(squares, axis=1, kind="stable")[:, :depth]
    assert indices.tolist() == order.tolist()
    expected = np.sqrt(np.take_along_axis(squares, order, 1))
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-6)


def test_nearest_in_chunks(monkeypatch):
    monkeypatch.setattr(grounded, "CHUNK", 7)
    queries, titles = torch.randn(20, 5), torch.randn(30, 5)
    indices, distances = nearest(queries, titles, 30)
    table = np.linalg.norm(queries.numpy()[:, None] - titles.numpy()[None], axis=-1)
    assert indices.tolist() == np.argsort(table, axis=1, kind="stable").tolist()
    np.testing.assert_allclose(distances.numpy(), np.sort(table, axis=1), rtol=1e-4)


def test_lists_of_a_run(folder, model, tokenizer):
    recommend(
        model=folder / "backbone",
        backbone=folder / "backbone",
        test=folder / "examples.parquet",
        items=folder / "items.parquet",
        prompt=PROMPT,
        decoder=Grounded(kind="grounded", beams=3, max_new_tokens=8, batch_size=4, depth=5),
        history="with",
        output=folder / "lists.parquet",
        record=folder / "lists.json",
        device="cpu",
    )
    found = read_table(folder / "lists.parquet", RECOMMENDATIONS)
    items = [item for item, title in enumerate(TITLES) if item != 2]  # 4 stands for the title of 2.
    vectors = np.array([plain_vector(model, tokenizer, TITLES[item]) for item in items])
    for row, history in enumerate(HISTORIES):
        text = plain_text(model, tokenizer, prompt_text(PROMPT, history), 3, 8)
        query = plain_vector(model, tokenizer, text.strip().strip('"').strip())
        distance = np.linalg.norm(vectors - query, axis=1)
        order = np.argsort(distance, kind="stable")[:5]
        group = found[found["example_id"] == 10 + row]
        assert group["rank"].tolist() == [1, 2, 3, 4, 5]
        assert group["item_id"].tolist() == [items[i] for i in order]
        np.testing.assert_allclose(group["score"], -distance[order], rtol=1e-4)
