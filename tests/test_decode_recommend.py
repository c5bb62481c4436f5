"""The whole decoding step: which items stand for titles, prompts, and the contract of the lists."""

import json
import shutil
import unicodedata
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import normalizers
from transformers import AutoModelForCausalLM

from scripts.backbones.load import load_finetuned, load_tokenizer
from scripts.command import InputError
from scripts.contracts import EXAMPLES, RECOMMENDATIONS
from scripts.decode.audit import audit
from scripts.decode.explain import test_example as found_example
from scripts.decode.histories import replace_histories
from scripts.decode.model import distinct_titles
from scripts.decode.recommend import recommend
from scripts.decode.settings import Assisted, Constrained, Grounded
from scripts.decode.token_effects import token_effects
from scripts.decode.trie import build_trie
from scripts.decode.tune_assistant import tune_assistant
from scripts.evaluate.per_example import evaluate
from scripts.examples import EVALUATION_SEED
from scripts.files import read_json, read_table, write_table
from scripts.prompts import answer_ids, prompt_ids, prompt_text
from tests.small_language import (
    PROMPT,
    ROWS,
    TITLES,
    finetuned,
    make_small_backbone,
    write_language_data,
)

DECODERS = {
    "constrained": Constrained(kind="constrained", beams=6, batch_size=4),
    "grounded": Grounded(kind="grounded", beams=2, max_new_tokens=6, batch_size=4, depth=6),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommend")
    write_language_data(folder)
    make_small_backbone(folder)
    return folder


def run(folder, decoder, history="with", test_examples=None, **options):
    """The lists and the record of a run."""
    recommend(
        finetuned(folder, **options),
        test=folder / "examples.parquet",
        decoder=decoder,
        history=history,
        output=folder / "lists.parquet",
        record=folder / "lists.json",
        test_examples=test_examples,
    )
    return read_table(folder / "lists.parquet", RECOMMENDATIONS), read_json(folder / "lists.json")


def by_example(lists):
    return lists.groupby("example_id")["item_id"].apply(list).to_dict()


def assert_keeps_its_contract(lists, examples, length):
    assert lists["example_id"].tolist() == np.repeat(examples, length).tolist()
    assert lists["rank"].tolist() == [*range(1, length + 1)] * len(examples)
    for _, group in lists.groupby("example_id"):
        assert group["item_id"].is_unique
        assert group["score"].is_monotonic_decreasing
    assert 2 not in set(lists["item_id"])  # Item 4 stands for the title of 2.


@pytest.mark.parametrize("decoder", DECODERS)
def test_lists_with_history(folder, decoder):
    lists, record = run(folder, DECODERS[decoder])
    assert_keeps_its_contract(lists, range(10, 16), 6)
    assert record["examples"] == record["prompts"] == 6
    assert record["decoder"]["kind"] == decoder
    assert record["truncated_prompts"] == 0
    assert {"seconds", "peak_memory_mb", "device", "versions"} <= set(record)


@pytest.mark.parametrize("decoder", DECODERS)
def test_without_history_one_list_serves_all(folder, decoder):
    lists, record = run(folder, DECODERS[decoder], history="without")
    assert_keeps_its_contract(lists, range(10, 16), 6)
    assert record["prompts"] == 1
    assert len({tuple(items) for items in by_example(lists).values()}) == 1


@pytest.mark.parametrize("history", ["with", "without"])
def test_constrained_lists_are_the_best_scored_titles(folder, history):
    """A beam as wide as the catalogue lists all its titles by their scores."""
    decoder = Constrained(kind="constrained", beams=20, length_penalty=1.0, batch_size=3)
    lists, _ = run(folder, decoder, history)
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    tokenizer = load_tokenizer(folder / "backbone")
    items = [item for item in range(len(TITLES)) if item != 2]
    for row, (_, history_items, _) in enumerate(ROWS):
        titles = [TITLES[item] for item in history_items] if history == "with" else []
        prompt = prompt_ids(tokenizer, prompt_text(PROMPT, titles))
        scores = []
        for item in items:
            answer = answer_ids(tokenizer, TITLES[item])
            with torch.inference_mode():
                logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            log_probability = logits.log_softmax(-1)[range(len(answer)), answer]
            scores.append(log_probability.mean().item())
        order = np.argsort(-np.array(scores), kind="stable")
        group = lists[lists["example_id"] == 10 + row]
        assert group["item_id"].tolist() == [items[i] for i in order]
        np.testing.assert_allclose(group["score"], np.array(scores)[order], atol=1e-4)


def test_lists_do_not_depend_on_the_batch_size(folder):
    expected, _ = run(folder, DECODERS["constrained"])
    for batch_size in (1, 6):
        decoder = DECODERS["constrained"].model_copy(update={"batch_size": batch_size})
        found, _ = run(folder, decoder)
        assert by_example(found) == by_example(expected)


def test_subsample_and_truncation(folder):
    lists, record = run(folder, DECODERS["constrained"], test_examples=3, max_tokens=300)
    assert lists["example_id"].nunique() == record["examples"] == 3
    longest = max(len(answer_ids(load_tokenizer(folder / "backbone"), t)) for t in TITLES)
    tokenizer = load_tokenizer(folder / "backbone")
    # Room for one title only: every longer history is cut to its last one.
    limit = max(
        len(prompt_ids(tokenizer, prompt_text(PROMPT, [TITLES[history[-1]]])))
        for _, history, _ in ROWS
    )
    _, record = run(folder, DECODERS["constrained"], max_tokens=limit + longest)
    assert record["truncated_prompts"] == sum(len(history) > 1 for _, history, _ in ROWS)


def test_adapter_is_merged_into_its_backbone(folder):
    torch.manual_seed(1)
    backbone = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False, lora_alpha=64
    )
    adapted = get_peft_model(backbone, config).eval()
    adapted.save_pretrained(folder / "adapter")
    load_tokenizer(folder / "backbone").save_pretrained(folder / "adapter")
    cpu = torch.device("cpu")
    loaded = load_finetuned(folder / "adapter", folder / "backbone", cpu, "bf16")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)
    lists, _ = run(folder, DECODERS["constrained"], model=folder / "adapter")
    plain, _ = run(folder, DECODERS["constrained"])
    assert by_example(lists) != by_example(plain)


def test_the_item_with_most_training_targets_stands_for_a_title(folder):
    tokenizer = load_tokenizer(folder / "backbone")
    items = pd.DataFrame(
        {
            "item_id": range(6),
            "title": ["Same", "Other", "Same", "Same", "Tie", "Tie"],
            "train_count": [1, 9, 4, 4, 0, 0],
        }
    )
    found = distinct_titles(items, tokenizer)
    assert found.item.tolist() == [1, 2, 4]
    assert found.text == ["Other", "Same", "Tie"]
    assert found.tokens == [tuple(answer_ids(tokenizer, title)) for title in found.text]
    assert found.of_item.tolist() == [1, 0, 1, 1, 2, 2]


def test_titles_that_a_tokenizer_cannot_tell_apart_are_one(folder):
    tokenizer = load_tokenizer(folder / "backbone")
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()  # As Qwen's.
    title = "Caf\u00e9"
    items = pd.DataFrame(
        {
            "item_id": [0, 1],
            "title": [title, unicodedata.normalize("NFD", title)],
            "train_count": [1, 2],
        }
    )
    assert distinct_titles(items, tokenizer).item.tolist() == [1]


def test_the_record_says_how_much_is_proven(folder):
    _, record = run(folder, Constrained(kind="constrained", beams=20, batch_size=3))
    assert record["proven_top"] == len(TITLES) - 1  # Two items share a title.
    assert record["proven"] == 1.0
    _, record = run(folder, Constrained(kind="constrained", beams=2, batch_size=3))
    assert record["proven_top"] == 2
    assert 0 <= record["proven"] < 1


def test_widening_reaches_the_exact_lists(folder):
    exact, _ = run(folder, Constrained(kind="constrained", beams=20))
    narrow = Constrained(kind="constrained", beams=2, batch_size=3)
    plain, _ = run(folder, narrow)
    widened, record = run(folder, narrow.model_copy(update={"widen_to": 20}))
    assert record["proven"] == 1.0
    best = {example: items[:2] for example, items in by_example(exact).items()}
    assert by_example(widened) == best
    assert by_example(plain) != best


def test_widening_must_widen():
    with pytest.raises(ValueError, match="widen_to 5 must exceed beams 10"):
        Constrained(kind="constrained", widen_to=5)


def test_an_empty_history_is_the_prompt_without_one(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    examples = read_table(folder / "examples.parquet", EXAMPLES)
    examples["history"] = [[]] * len(examples)
    write_table(examples, tmp_path / "copy" / "examples.parquet", EXAMPLES)
    found, _ = run(tmp_path / "copy", DECODERS["constrained"])
    expected, _ = run(folder, DECODERS["constrained"], history="without")
    pd.testing.assert_frame_equal(found, expected)


def test_histories_are_cut_to_what_the_model_sees(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    config = tmp_path / "copy" / "backbone" / "config.json"
    tokenizer = load_tokenizer(folder / "backbone")
    longest = max(len(answer_ids(tokenizer, title)) for title in TITLES)
    whole = max(
        len(prompt_ids(tokenizer, prompt_text(PROMPT, [TITLES[i] for i in history])))
        for _, history, _ in ROWS
    )
    settings = json.loads(config.read_text())
    settings["max_position_embeddings"] = whole + longest - 1
    config.write_text(json.dumps(settings))
    _, record = run(tmp_path / "copy", DECODERS["constrained"], max_tokens=10_000)
    assert record["truncated_prompts"] >= 1


def test_a_model_that_sees_too_little(folder):
    with pytest.raises(InputError, match="does not fit"):
        run(folder, DECODERS["constrained"], max_tokens=20)


def test_a_tokenizer_without_eos(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    config = tmp_path / "copy" / "backbone" / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    settings["eos_token"] = None
    config.write_text(json.dumps(settings))
    with pytest.raises(InputError, match="no eos token"):
        run(tmp_path / "copy", DECODERS["constrained"])


@pytest.mark.parametrize("column", ["target", "history"])
def test_an_item_outside_the_catalogue_is_named_by_every_step(folder, tmp_path, column):
    """Items and examples of different preparations would else give wrong results in silence."""
    data = tmp_path / "results" / "data" / "set"
    shutil.copytree(folder, data)
    test, catalogue = data / "examples" / "test.parquet", data / "catalogue.parquet"
    examples = read_table(folder / "examples.parquet", EXAMPLES)
    examples[column] = examples[column].map(lambda _: 999 if column == "target" else [3, 999])
    write_table(examples, test, EXAMPLES)
    model, output, lists = finetuned(data), tmp_path / "out", tmp_path / "lists.parquet"
    small, assisted = DECODERS["constrained"], Assisted(kind="assisted", assistant="s")
    run(folder, small)
    shutil.copy(folder / "lists.parquet", lists)
    steps = [
        lambda: recommend(model, test, small, "with", output, tmp_path / "record"),
        lambda: audit(model, test, [2], 6, output),
        lambda: tune_assistant(model, test, tmp_path / "none", assisted, output),
        lambda: token_effects(model, test, output),
        lambda: evaluate(lists, test, catalogue, output),
        lambda: found_example(test, len(TITLES), 10),
    ]
    for step in steps:
        with pytest.raises(InputError, match=rf"example_id 10, {column}: item 999 is not among"):
            step()


def test_other_histories_are_decoded_as_one_s_own(folder, tmp_path):
    """The record counts the histories that stayed what they were: those of a single item."""
    shutil.copytree(folder, tmp_path / "copy")
    examples = read_table(folder / "examples.parquet", EXAMPLES)
    for condition in ("wrong", "shuffled"):
        found, record = run(folder, DECODERS["constrained"], history=condition)
        changed = replace_histories(examples, condition, EVALUATION_SEED)
        write_table(changed, tmp_path / "copy" / "examples.parquet", EXAMPLES)
        expected, _ = run(tmp_path / "copy", DECODERS["constrained"])
        pd.testing.assert_frame_equal(found, expected)
        singles = sum(len(history) == 1 for _, history, _ in ROWS)
        assert record["unchanged_histories"] == (singles if condition == "shuffled" else 0)


def test_sampling_that_an_instruct_model_asks_for_changes_nothing(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    sampling = {"do_sample": True, "temperature": 5.0, "top_k": 2, "repetition_penalty": 9.0}
    config = tmp_path / "copy" / "backbone" / "generation_config.json"
    config.write_text(json.dumps(sampling))
    for name, decoder in DECODERS.items():
        found, _ = run(tmp_path / "copy", decoder)
        expected, _ = run(folder, decoder)
        pd.testing.assert_frame_equal(found, expected, obj=name)


def test_titles_without_tokens_share_a_leaf():
    """Of two titles that tokenise to nothing the more popular one stands for both."""

    class Silent:
        """Has a token for the letter a alone."""

        eos_token_id = 0

        def __call__(self, text, add_special_tokens):
            return SimpleNamespace(input_ids=[7] * text.count("a"))

    items = pd.DataFrame(
        {"item_id": [0, 1, 2], "title": ["xx", "a", "y"], "train_count": [1, 5, 2]}
    )
    found = distinct_titles(items, Silent())
    assert found.item.tolist() == [1, 2]
    trie = build_trie(found.tokens)
    assert trie.token.tolist() == [-1, 0, 7, 0]
    assert trie.order.tolist() == [1, 0]
