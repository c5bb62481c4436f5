"""The whole decoding step: which items stand for titles, prompts, and the contract of the lists."""

import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from scripts.backbones.load import load_finetuned, load_tokenizer
from scripts.command import InputError
from scripts.contracts import CATALOGUE, EXAMPLES, PER_EXAMPLE, RECOMMENDATIONS, TOKEN_EFFECTS
from scripts.decode.audit import audit
from scripts.decode.explain import test_example as found_example
from scripts.decode.histories import replace_histories
from scripts.decode.model import Ranking, by_title, distinct_titles
from scripts.decode.recommend import recommend
from scripts.decode.settings import HISTORIES, Assisted, Constrained, Grounded
from scripts.decode.token_effects import token_effects
from scripts.decode.tune_assistant import tune_assistant
from scripts.decode.validate import validate
from scripts.evaluate.per_example import evaluate
from scripts.examples import EVALUATION_SEED
from scripts.files import read_json, read_table, write_table
from scripts.finetune.settings import Objective, Training
from scripts.finetune.train import finetune
from scripts.prompts import answer_ids, prompt_ids, prompt_text
from scripts.provenance import forget_peak_memory, peak_memory_mb
from tests.small_data import change_json
from tests.small_language import PROMPT, ROWS, TITLES, finetuned, listed, log_probabilities

DECODERS = {
    "constrained": Constrained(kind="constrained", beams=6, batch_size=4),
    "grounded": Grounded(kind="grounded", beams=2, max_new_tokens=6, batch_size=4, depth=6),
}


def run(folder, decoder, history="with", test_examples=None, **options):
    """The lists and the record of a run."""
    model, test = finetuned(folder, **options), folder / "examples.parquet"
    lists = listed(model, test, decoder, folder, history, test_examples=test_examples)
    return lists, read_json(folder / f"{history}.json")


def by_example(lists):
    return lists.groupby("example_id")["item_id"].apply(list).to_dict()


@pytest.mark.parametrize(("history", "prompts"), [("with", 6), ("without", 1)])
@pytest.mark.parametrize("decoder", DECODERS)
def test_lists_and_their_record(folder, decoder, history, prompts):
    lists, record = run(folder, DECODERS[decoder], history)
    assert lists["example_id"].tolist() == np.repeat(range(10, 16), 6).tolist()
    assert lists["rank"].tolist() == [*range(1, 7)] * 6
    for _, group in lists.groupby("example_id"):
        assert group["item_id"].is_unique
        assert group["score"].is_monotonic_decreasing
    assert 2 not in set(lists["item_id"])  # Item 4 stands for the title of 2.
    assert (record["examples"], record["prompts"]) == (6, prompts)
    assert history == "with" or len(set(map(tuple, by_example(lists).values()))) == 1
    assert record["decoder"]["kind"] == decoder
    assert record["truncated_prompts"] == 0
    assert {"seconds", "peak_memory_mb", "device", "versions"} <= set(record)


@pytest.mark.parametrize("decoder", DECODERS)
def test_one_run_serves_all_histories(folder, tmp_path, decoder):
    """Each has the lists and the record of a run of its own, but for its times and memory."""
    test = folder / "examples.parquet"
    recommend(finetuned(folder), test, DECODERS[decoder], [*HISTORIES], tmp_path)
    for history in HISTORIES:
        lists, record = run(folder, DECODERS[decoder], history)
        assert read_table(tmp_path / f"{history}.parquet", RECOMMENDATIONS).equals(lists)
        found = read_json(tmp_path / f"{history}.json")
        assert found.keys() == record.keys()
        same = record.keys() - {"seconds", "peak_memory_mb", "load_average"}
        assert {key: found[key] for key in same} == {key: record[key] for key in same}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it goes on")
def test_peak_memory_begins_anew():
    block = np.ones(40_000_000)
    high = peak_memory_mb(torch.device("cpu"))
    del block
    assert peak_memory_mb(torch.device("cpu")) >= high
    forget_peak_memory(torch.device("cpu"))
    assert peak_memory_mb(torch.device("cpu")) < high - 250


@pytest.mark.parametrize("history", ["with", "without"])
def test_constrained_lists_are_the_best_scored_titles(folder, history, tokenizer):
    """A beam as wide as the catalogue lists all its titles by their scores."""
    decoder = Constrained(kind="constrained", beams=20, length_penalty=1.0, batch_size=3)
    lists, _ = run(folder, decoder, history)
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    items = [item for item in range(len(TITLES)) if item != 2]
    for row, (_, history_items, _) in enumerate(ROWS):
        titles = [TITLES[item] for item in history_items] if history == "with" else []
        scores = [log_probabilities(model, tokenizer, titles, TITLES[i]).mean() for i in items]
        order = np.argsort(-np.array(scores), kind="stable")
        group = lists[lists["example_id"] == 10 + row]
        assert group["item_id"].tolist() == [items[i] for i in order]
        np.testing.assert_allclose(group["score"], np.array(scores)[order], atol=1e-4)


def test_subsample_and_truncation(folder, tokenizer):
    lists, record = run(folder, DECODERS["constrained"], test_examples=3, max_tokens=300)
    assert lists["example_id"].nunique() == record["examples"] == 3
    # Room for one title only: every longer history is cut to its last one.
    limit = max(len(prompt_ids(tokenizer, prompt_text(PROMPT, [title]))) for title in TITLES)
    _, record = run(folder, DECODERS["constrained"], max_tokens=limit)
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


def test_the_item_with_most_training_targets_stands_for_a_title(tokenizer):
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


def lower_case(copy, titles):
    """Give a folder more titles, and a tokenizer that knows no capital letters."""
    tokenizer = load_tokenizer(copy / "backbone")
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save_pretrained(copy / "backbone")
    items = read_table(copy / "catalogue.parquet", CATALOGUE)
    more = items.iloc[: len(titles)].assign(
        item_id=range(len(items), len(items) + len(titles)), title=titles, train_count=9
    )
    added = pd.concat([items, more], ignore_index=True).astype(items.dtypes)
    write_table(added, copy / "catalogue.parquet", CATALOGUE)


@pytest.mark.parametrize("decoder", DECODERS)
def test_titles_that_a_tokenizer_cannot_tell_apart_stand_side_by_side(decoder, caplog, copy):
    """Each is a title of its own, as the baselines and the metrics have it."""
    lower_case(copy, ["BROKEN ISLAND", "amber harbour", "Other"])
    whole = DECODERS[decoder].model_copy(update={"beams": 20, "depth": 20})
    lists, record = run(copy, whole)
    assert record["titles_sharing_tokens"] == 4
    assert "4 titles have the same tokens as another" in caplog.text
    assert record.get("proven", 1.0) == 1.0
    for _, group in lists.groupby("example_id"):
        assert sorted(group["item_id"]) == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
        group = group.set_index("item_id")
        for first, second in ((4, 9), (3, 10)):
            assert group.loc[second, "rank"] == group.loc[first, "rank"] + 1
            assert group.loc[second, "score"] == group.loc[first, "score"]
    short, _ = run(copy, whole.model_copy(update={"beams": 3, "depth": 3}))
    assert short.groupby("example_id").size().tolist() == [3] * len(ROWS)


def test_metrics_audit_and_lists_agree_on_titles_that_share_their_tokens(copy):
    """The target of one example is a title that shares its tokens with a more popular one."""
    lower_case(copy, ["BROKEN ISLAND", "amber harbour"])
    examples = read_table(copy / "examples.parquet", EXAMPLES)
    examples["target"] = np.array([3, 10, 2, 9, 7, 8], np.int32)
    write_table(examples, copy / "examples.parquet", EXAMPLES)
    run(copy, DECODERS["constrained"].model_copy(update={"beams": 20}))
    files = copy / "examples.parquet", copy / "catalogue.parquet"
    evaluate([copy / "with.parquet"], *files, [copy / "metrics"])
    audit(finetuned(copy), copy / "examples.parquet", [2, 20], len(ROWS), copy / "audit.csv")
    measured = read_table(copy / "metrics", PER_EXAMPLE)["rank"].tolist()
    found = pd.read_csv(copy / "audit.csv")
    for rows in (found[found["beams"].isna()], found[found["beams"] == 20]):
        assert rows["rank"].tolist() == measured
        assert rows["proven"].all()


def test_validation_is_the_mean_ndcg_of_the_lists(folder, tmp_path):
    decoder = DECODERS["constrained"]
    files = folder / "examples.parquet", folder / "catalogue.parquet"
    run(folder, decoder, test_examples=4)
    evaluate([folder / "with.parquet"], *files, [tmp_path / "m.parquet"])
    expected = read_table(tmp_path / "m.parquet", PER_EXAMPLE)["ndcg@5"]
    model = finetuned(folder)
    change_json(folder / "backbone/run.json", settings={"objective": "this"})
    validate(model, folder / "examples.parquet", 4, decoder, tmp_path / "v.json")
    record = read_json(tmp_path / "v.json")
    assert expected.gt(0).any()
    assert record["validation_ndcg"] == pytest.approx(expected.mean())
    assert (record["objective"], record["examples"]) == ("this", 4)


def test_the_record_says_how_much_is_proven_and_widening_reaches_the_exact_lists(folder):
    exact, record = run(folder, Constrained(kind="constrained", beams=20, batch_size=3))
    assert record["proven_top"] == len(TITLES) - 1  # Two items share a title.
    assert record["proven"] == 1.0
    narrow = Constrained(kind="constrained", beams=2, batch_size=3)
    plain, record = run(folder, narrow)
    assert record["proven_top"] == 2
    assert 0 <= record["proven"] < 1
    widened, record = run(folder, narrow.model_copy(update={"widen_to": 20}))
    assert record["proven"] == 1.0
    best = {example: items[:2] for example, items in by_example(exact).items()}
    assert by_example(widened) == best
    assert by_example(plain) != best


def test_widening_must_widen():
    with pytest.raises(ValueError, match="widen_to 5 must exceed beams 10"):
        Constrained(kind="constrained", widen_to=5)


def test_an_empty_history_is_the_prompt_without_one(folder, copy):
    examples = read_table(folder / "examples.parquet", EXAMPLES)
    examples["history"] = [[]] * len(examples)
    write_table(examples, copy / "examples.parquet", EXAMPLES)
    found, _ = run(copy, DECODERS["constrained"])
    expected, _ = run(folder, DECODERS["constrained"], history="without")
    pd.testing.assert_frame_equal(found, expected)


def test_histories_are_cut_to_what_the_model_sees(copy, tokenizer):
    config = copy / "backbone" / "config.json"
    longest = max(len(answer_ids(tokenizer, title)) for title in TITLES)
    whole = max(
        len(prompt_ids(tokenizer, prompt_text(PROMPT, [TITLES[i] for i in history])))
        for _, history, _ in ROWS
    )
    change_json(config, max_position_embeddings=whole + longest - 1)
    _, record = run(copy, DECODERS["constrained"], max_tokens=10_000)
    assert record["truncated_prompts"] >= 1


@pytest.mark.slow
def test_one_long_title_takes_no_room_from_any_prompt(folder, tmp_path, copy, tokenizer):
    """Training, every decoder and the token effects keep the same titles of the same histories."""
    items = read_table(folder / "catalogue.parquet", CATALOGUE)
    items.loc[6, "title"] = "Long " * 30
    write_table(items, copy / "catalogue.parquet", CATALOGUE)
    shown = [[items["title"][item] for item in history] for _, history, _ in ROWS]
    lengths = [len(prompt_ids(tokenizer, prompt_text(PROMPT, titles))) for titles in shown]
    alone = len(prompt_ids(tokenizer, prompt_text(PROMPT, [items["title"][6]])))
    room = max(lengths) + len(answer_ids(tokenizer, "Long " * 30))
    change_json(copy / "backbone" / "config.json", max_position_embeddings=room)
    for limit in (max(lengths), alone):
        training = Training(batch_size=8, micro_batch_size=8, epochs=1, max_tokens=limit)
        finetune(
            *(copy / "backbone", copy / "examples.parquet", copy / "examples.parquet"),
            *(copy / "catalogue.parquet", PROMPT, Objective(), training, 0),
            output=tmp_path / f"model {limit}",
            device="cpu",
        )
        record = read_json(tmp_path / f"model {limit}" / "run.json")
        assert record["truncated_prompts"] == sum(length > limit for length in lengths)
        for decoder in DECODERS.values():
            far = {"max_new_tokens": 10_000} if decoder.kind == "grounded" else {}
            with_room = decoder.model_copy(update=far | {"batch_size": 6})
            _, decoded = run(copy, with_room, max_tokens=limit)
            assert decoded["truncated_prompts"] == record["truncated_prompts"]
    # The long history has lost its oldest titles, no more than it must.
    token_effects(finetuned(copy, max_tokens=alone), copy / "examples.parquet", copy / "effects")
    kept = next(
        titles
        for start in range(len(shown[3]))
        if len(prompt_ids(tokenizer, prompt_text(PROMPT, titles := shown[3][start:]))) <= alone
    )
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    expected = log_probabilities(model, tokenizer, kept, items["title"][ROWS[3][2]])
    effects = read_table(copy / "effects", TOKEN_EFFECTS)
    found = effects.loc[effects["example_id"] == 13, "with_history"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_tokenizer_without_eos(copy):
    change_json(copy / "backbone" / "tokenizer_config.json", eos_token=None)
    with pytest.raises(InputError, match="no eos token"):
        run(copy, DECODERS["constrained"])


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
    shutil.copy(folder / "with.parquet", lists)
    steps = [
        lambda: recommend(model, test, small, ["with"], output),
        lambda: audit(model, test, [2], 6, output),
        lambda: tune_assistant(model, test, tmp_path / "none", assisted, output),
        lambda: token_effects(model, test, output),
        lambda: evaluate([lists], test, catalogue, [output]),
        lambda: found_example(test, len(TITLES), 10),
    ]
    for step in steps:
        with pytest.raises(InputError, match=rf"example_id 10, {column}: item 999 is not among"):
            step()


def test_other_histories_are_decoded_as_one_s_own(folder, copy):
    """The record counts the histories that stayed what they were: those of a single item."""
    examples = read_table(folder / "examples.parquet", EXAMPLES)
    for condition in ("wrong", "shuffled"):
        found, record = run(folder, DECODERS["constrained"], history=condition)
        changed = replace_histories(examples, condition, EVALUATION_SEED)
        write_table(changed, copy / "examples.parquet", EXAMPLES)
        expected, _ = run(copy, DECODERS["constrained"])
        pd.testing.assert_frame_equal(found, expected)
        singles = sum(len(history) == 1 for _, history, _ in ROWS)
        assert record["unchanged_histories"] == (singles if condition == "shuffled" else 0)


def test_titles_without_tokens_share_a_leaf():
    """A tokenizer that knows the quote and the letter a alone, and passes over all else."""
    bare = Tokenizer(models.BPE({"<eos>": 0, '"': 1, "a": 2}, []))
    bare.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    silent = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<eos>")
    items = pd.DataFrame(
        {"item_id": [0, 1, 2], "title": ["xx", "a", "y"], "train_count": [1, 5, 2]}
    )
    found = distinct_titles(items, silent)
    assert found.item.tolist() == [0, 1, 2]
    assert found.tokens == [(1, 1, 0), (1, 2, 1, 0)]
    assert found.sequence.tolist() == [0, 1, 0]
    ranking = Ranking(np.array([1, 0]), np.array([-1.0, -2.0]), proven=1)
    (shown,) = by_title([ranking], found)
    assert shown.titles.tolist() == [1, 0, 2]
    assert shown.scores.tolist() == [-1.0, -2.0, -2.0]
    assert shown.proven == 1
    (shown,) = by_title([ranking._replace(proven=2)], found)
    assert shown.proven == 3
    assert shown.cut(2).proven == 2
