"""Grounding against brute force: one text at a time, and all distances in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import GenerationConfig

from scripts.backbones.generation import generate_texts
from scripts.backbones.load import load_finetuned
from scripts.backbones.passes import padded
from scripts.command import InputError
from scripts.contracts import CATALOGUE
from scripts.decode import grounded
from scripts.decode.grounded import embed, ground, merged, nearest
from scripts.decode.settings import Grounded, GroundedMerged
from scripts.files import read_table, write_table
from scripts.prompts import prompt_text
from tests.small_language import PROMPT, ROWS, TITLES, finetuned, listed
from tests.tiny_models import tiny_model

CPU = torch.device("cpu")
HISTORIES = [[TITLES[item] for item in history] for _, history, _ in ROWS]


@pytest.fixture(scope="module")
def model(folder):
    return load_finetuned(folder / "backbone", folder / "backbone", CPU, "fp32")


def plain_texts(model, tokenizer, text, beams, max_new_tokens, **options):
    """Transformers' own beam search for one prompt without padding, all beams."""
    ids = torch.tensor([tokenizer(text).input_ids])
    config = GenerationConfig(
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{"early_stopping": True} | options,
    )
    new = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    texts = tokenizer.batch_decode(new[:, ids.shape[1] :], skip_special_tokens=True)
    return [text.strip().strip('"').strip() for text in texts]


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
    expected = [plain_texts(model, tokenizer, text, beams, 12) for text in texts]
    # The sampling and penalties that an Instruct model ships must have no effect.
    shipped = {"do_sample": True, "top_k": 2, "repetition_penalty": 2.0, "no_repeat_ngram_size": 1}
    model.generation_config = GenerationConfig(**shipped)
    model.save_pretrained(tmp_path)
    loaded = load_finetuned(tmp_path, tmp_path, CPU, "fp32")
    settings = Grounded(kind="grounded", beams=beams, max_new_tokens=12)
    best = generate_texts(loaded, tokenizer, ids, mask, settings, 1)
    assert best == [beams_of[0] for beams_of in expected]
    assert len(set(best)) > 1
    every = generate_texts(loaded, tokenizer, ids, mask, settings, beams)
    assert every == [text for beams_of in expected for text in beams_of]


PLAIN_4 = Grounded(kind="grounded", beams=4, max_new_tokens=12)
#: As the released code does, and each setting of it alone.
RELEASED = {"early_stopping": False, "min_new_tokens": 4, "length_penalty": 0.0}


@pytest.mark.parametrize(
    "options", [RELEASED, *({key: RELEASED[key]} for key in RELEASED)], ids=str
)
def test_the_search_of_the_released_code(tokenizer, options):
    """Transformers' own with the same arguments; each of them changes what is found."""
    model = tiny_model("llama", len(tokenizer))
    model.lm_head.weight.data[tokenizer.eos_token_id] *= 2  # Texts that end.
    texts = [prompt_text(PROMPT, history) for history in [*HISTORIES, []]]
    ids, mask = padded([tuple(tokenizer(text).input_ids) for text in texts], 1, CPU)
    found, default = (
        generate_texts(model, tokenizer, ids, mask, settings, 4)
        for settings in (PLAIN_4.model_copy(update=options), PLAIN_4)
    )
    expected = [plain_texts(model, tokenizer, text, 4, 12, **options) for text in texts]
    assert found == [text for beams_of in expected for text in beams_of]
    assert found != default


def test_a_text_cannot_be_longer_than_the_longest():
    with pytest.raises(ValidationError, match="min_new_tokens 9 must not exceed max_new_tokens 8"):
        Grounded(kind="grounded", min_new_tokens=9, max_new_tokens=8)


def test_embeddings_are_those_of_one_text_at_a_time(model, tokenizer):
    texts = ["", "Amber Harbour", "1984", "", *TITLES, "x" * 40]
    vectors = embed(model, tokenizer, texts, CPU)
    assert vectors.dtype == torch.float32
    expected = [plain_vector(model, tokenizer, text) for text in texts]
    np.testing.assert_allclose(vectors.numpy(), expected, rtol=1e-5, atol=1e-5)


def plain_nearest(queries, titles, depth):
    """The whole matrix in float64, each distance rounded to float32 once, ties by the index."""
    differences = queries.double().numpy()[:, None] - titles.double().numpy()[None]
    table = np.sqrt((differences**2).sum(-1)).astype(np.float32)
    order = np.argsort(table, axis=1, kind="stable")[:, :depth]
    return order, np.take_along_axis(table, order, 1)


def check_nearest(queries, titles, depth):
    indices, distances = nearest(queries, titles, depth)
    order, expected = plain_nearest(queries, titles, depth)
    assert indices.tolist() == order.tolist()
    assert distances.dtype == torch.float32
    np.testing.assert_array_equal(distances.numpy(), expected)


POINT = st.tuples(st.integers(-2, 2), st.integers(-2, 2))


@given(
    queries=st.lists(POINT, min_size=1, max_size=12),
    titles=st.lists(POINT, min_size=1, max_size=40),
    depth=st.integers(1, 50),
)
def test_nearest_with_many_ties(queries, titles, depth):
    """More ties than candidates, and lists longer than the catalogue."""
    check_nearest(torch.tensor(queries).float(), torch.tensor(titles).float(), depth)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(20, 30, 5), (40, 500, 64)])
def test_nearest_in_chunks(monkeypatch, seed, shape):
    monkeypatch.setattr(grounded, "CHUNK", 7)
    monkeypatch.setattr(grounded, "PART", 3)
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(shape[0], shape[2], generator=generator)
    check_nearest(queries, torch.randn(shape[1], shape[2], generator=generator), 10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("step", [0, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("offset", [0, 100])
def test_nearest_among_near_equal_titles(seed, step, offset):
    """Titles that a product of float32 matrices cannot tell apart, far from the origin or near."""
    generator = torch.Generator().manual_seed(seed)
    base = offset + torch.randn(1, 64, generator=generator)
    titles = base + step * torch.randn(400, 64, generator=generator)
    queries = base + step * torch.randn(8, 64, generator=generator)
    check_nearest(queries, titles, 10)
    check_nearest(titles[-5:], titles, 10)


def test_nearest_at_powers_of_two_of_the_length():
    """A crowd at one distance to the query but for the last digit."""
    units = torch.eye(300)
    titles = 1000 * units * (1 + torch.arange(300).remainder(3)[:, None] * 2.0**-23)
    check_nearest(torch.zeros(1, 300), titles, 20)
    check_nearest(0.1 * units[:4], titles, 20)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("where", ["query", "title"])
def test_vectors_that_are_not_finite(value, where):
    queries, titles = torch.ones(3, 4), torch.ones(5, 4)
    (queries if where == "query" else titles)[1, 2] = value
    with pytest.raises(InputError, match="not finite"):
        nearest(queries, titles, 2)


class Counting:
    """A model that counts the rows that its body runs."""

    def __init__(self, model):
        self.model, self.config, self.rows = model, model.config, 0

    def base_model(self, input_ids, **options):
        self.rows += len(input_ids)
        return self.model.base_model(input_ids=input_ids, **options)


def test_each_distinct_text_is_grounded_once(model, tokenizer, monkeypatch):
    monkeypatch.setattr(grounded, "TEXTS", 2)
    counting = Counting(model)
    texts = ["1984", "", "Amber", "1984", "", "Crimson Tower", "Amber"]
    lists = ground(counting, tokenizer, texts, TITLES, 4, CPU)
    assert counting.rows == len(TITLES) + 4
    vectors = np.array([plain_vector(model, tokenizer, title) for title in TITLES])
    for text, ranking in zip(texts, lists, strict=True):
        distance = np.linalg.norm(vectors - plain_vector(model, tokenizer, text), axis=1)
        order = np.argsort(distance, kind="stable")[:4]
        assert ranking.titles.tolist() == order.tolist()
        np.testing.assert_allclose(ranking.scores, -distance[order], rtol=1e-4, atol=1e-5)


@given(st.lists(st.permutations(range(6)), min_size=1, max_size=5), st.integers(1, 6))
def test_merged_as_a_loop(orders, depth):
    expected = []
    for rank in range(depth):
        for order in orders:
            if order[rank] not in expected:
                expected.append(order[rank])
    ranking = merged([np.array(order[:depth]) for order in orders])
    assert ranking.titles.tolist() == expected[:depth]
    assert ranking.scores.tolist() == [-rank for rank in range(1, depth + 1)]


def run_step(folder, decoder, output, items="catalogue.parquet"):
    model = finetuned(folder, catalogue=folder / items)
    return listed(model, folder / "examples.parquet", decoder, folder / output)


PLAIN = Grounded(kind="grounded", beams=3, max_new_tokens=8, batch_size=4, depth=5)
MERGED = GroundedMerged(kind="grounded-merged", beams=3, max_new_tokens=8, batch_size=4, depth=5)


@pytest.mark.parametrize("decoder", [PLAIN, MERGED], ids=lambda decoder: decoder.kind)
def test_lists_of_a_run(folder, model, tokenizer, decoder):
    found = run_step(folder, decoder, "lists")
    items = [item for item, title in enumerate(TITLES) if item != 2]  # 4 stands for the title of 2.
    vectors = np.array([plain_vector(model, tokenizer, TITLES[item]) for item in items])
    for row, history in enumerate(HISTORIES):
        texts = plain_texts(model, tokenizer, prompt_text(PROMPT, history), 3, 8)
        expected, scores = [], []
        for rank in range(5):
            for text in texts if decoder is MERGED else texts[:1]:
                query = plain_vector(model, tokenizer, text)
                distance = np.linalg.norm(vectors - query, axis=1)
                best = np.argsort(distance, kind="stable")[rank]
                if items[best] not in expected:
                    expected.append(items[best])
                    scores.append(-len(expected) if decoder is MERGED else -distance[best])
        group = found[found["example_id"] == 10 + row]
        assert group["rank"].tolist() == [1, 2, 3, 4, 5]
        assert group["item_id"].tolist() == expected[:5]
        np.testing.assert_allclose(group["score"], scores[:5], rtol=1e-4)


@pytest.mark.parametrize("decoder", [PLAIN, MERGED], ids=lambda decoder: decoder.kind)
def test_a_run_on_one_title(folder, decoder):
    items = read_table(folder / "catalogue.parquet", CATALOGUE)
    write_table(items.assign(title="Amber Harbour"), folder / "one.parquet", CATALOGUE)
    found = run_step(folder, decoder, "one_list.parquet", items="one.parquet")
    assert found["rank"].unique().tolist() == [1]
    assert found["item_id"].unique().tolist() == [7]  # It has the most training targets.
