"""The text-free assistant: its shares, its mixture with the model, and the choice of g."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from scripts.backbones.passes import padded
from scripts.baselines.sequential_model import load_model, make_model, save_model, scorer
from scripts.baselines.settings import Caser, GRU4Rec, SASRec
from scripts.command import InputError
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.decode.assist import title_probabilities
from scripts.decode.constrained import guide_by, search, to_device
from scripts.decode.histories import replace_histories
from scripts.decode.model import distinct_titles
from scripts.decode.settings import HISTORIES, Assisted, Constrained
from scripts.decode.trie import build_trie
from scripts.decode.tune_assistant import best_weight, tune_assistant
from scripts.examples import EVALUATION_SEED
from scripts.files import read_json, read_table, write_table
from tests.small_language import ROWS, TITLES, finetuned, listed
from tests.test_decode_constrained import PAD, PROMPTS, VOCABULARY, make_titles, title_scores
from tests.test_decode_recommend import lower_case
from tests.tiny_models import tiny_model

CPU = torch.device("cpu")
ASSISTANTS = [
    SASRec(kind="sasrec", hidden_size=8, layers=1),
    GRU4Rec(kind="gru4rec", hidden_size=8),
    Caser(kind="caser", hidden_size=8),
]


@pytest.fixture(scope="module")
def folder(folder):
    torch.manual_seed(0)
    for settings in reversed(ASSISTANTS):
        model = make_model(len(TITLES), 4, settings)
        torch.nn.init.normal_(model.items.weight)
        save_model(model, settings, folder / f"{settings.kind}.safetensors")
    return folder


def mixed_score(log_probabilities, titles, probability, title, weight):
    """By the definition: at every step over all titles that begin as this one does."""
    score = 0.0
    for end in range(len(title)):
        before = sum(p for t, p in zip(titles, probability, strict=True) if t[:end] == title[:end])
        after = sum(
            p for t, p in zip(titles, probability, strict=True) if t[: end + 1] == title[: end + 1]
        )
        score += weight * log_probabilities[end] + (1 - weight) * np.log(after / before)
    return score


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_scores_are_the_definition_s(weight):
    titles = make_titles(25, seed=1)
    model = tiny_model("llama", VOCABULARY)
    probability = np.random.default_rng(0).dirichlet(np.full(len(titles), 0.3), size=len(PROMPTS))
    probability[:, 3] = 0.0
    trie = build_trie(titles)
    guide = guide_by(torch.from_numpy(probability), torch.from_numpy(trie.order).long(), weight)
    ids, mask = padded(PROMPTS, PAD, CPU)
    lists = search(model, to_device(trie, CPU), ids, mask, 2 * len(titles), 0.0, guide)
    probability = np.maximum(probability, 1e-10)
    for row, (prompt, one) in enumerate(zip(PROMPTS, lists, strict=True)):
        expected = np.array(
            [
                mixed_score(
                    np.diff([title_scores(model, [t[:e]], prompt)[0] for e in range(len(t) + 1)]),
                    titles,
                    probability[row],
                    t,
                    weight,
                )
                for t in titles
            ]
        )
        assert one.titles.tolist() == np.argsort(-expected, kind="stable").tolist()
        np.testing.assert_allclose(one.scores, expected[one.titles], atol=2e-4)
        assert one.proven == len(titles)


@pytest.mark.parametrize("kind", ["sasrec", "gru4rec", "caser"])
def test_probabilities_of_titles(folder, kind):
    """The softmax of the model's scores, summed over the items of a title."""
    assistant = folder / f"{kind}.safetensors"
    model = load_model(assistant, CPU)
    of_item = np.array([0, 1, 2, 3, 2, 4, 5, 6, 7])
    counts = np.array([3, 0, 1, 2, 5, 0, 0, 7, 1])
    found = title_probabilities(assistant, counts, of_item, CPU)([(0, 5, 1, 2, 3, 8), ()])
    scores = scorer(model, pd.Series([np.array([0, 5, 1, 2, 3, 8])]), CPU)(slice(None))[0]
    items = scores.double().softmax(0).numpy()
    for row, share in enumerate([items, counts / counts.sum()]):
        expected = [share[of_item == title].sum() for title in range(8)]
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=1e-6)


def run(folder, decoder, history="with", **options):
    files = {"assistant": folder / "sasrec.safetensors"}
    test = folder / "examples.parquet"
    lists = listed(finetuned(folder), test, decoder, folder, history, **files | options)
    return lists, read_json(folder / f"{history}.json")


def assisted(**changes):
    return Assisted(**{"kind": "assisted", "assistant": "sasrec", "beams": 10, **changes})


def test_weight_1_is_the_search_alone(folder):
    found, record = run(folder, assisted(g=[1.0]))
    expected, _ = run(folder, Constrained(kind="constrained", beams=10))
    assert record["g"] == 1.0
    pd.testing.assert_frame_equal(found, expected)
    other, _ = run(folder, assisted(g=[0.1]))
    assert other["item_id"].tolist() != expected["item_id"].tolist()


def ndcg_of(lists):
    """Mean NDCG@10 of lists of the examples in `ROWS`, by the titles."""
    gains = []
    for (_, _, target), (_, group) in zip(ROWS, lists.groupby("example_id"), strict=True):
        rank = [TITLES[item] for item in group["item_id"]].index(TITLES[target]) + 1
        gains.append(1 / np.log2(rank + 1))
    return np.mean(gains)


def test_g_is_chosen_once_for_all_histories(folder, tmp_path):
    decoder = assisted(g=[0.1, 0.5, 1.0])
    tune_assistant(
        finetuned(folder),
        valid=folder / "examples.parquet",
        assistant=folder / "sasrec.safetensors",
        decoder=decoder,
        output=tmp_path / "g.json",
    )
    tuned = read_json(tmp_path / "g.json")
    expected = {f"{g}": ndcg_of(run(folder, assisted(g=[g]))[0]) for g in decoder.g}
    assert tuned["validation_ndcg"] == pytest.approx(expected)
    assert expected[f"{tuned['g']}"] == max(expected.values()) > min(expected.values())
    assert tuned["tune_examples"] == len(ROWS)
    for history in ("with", "shuffled"):
        found, record = run(folder, decoder, history, tuning=tmp_path / "g.json")
        same, _ = run(folder, assisted(g=[tuned["g"]]), history)
        pd.testing.assert_frame_equal(found, same)
        assert {name: record[name] for name in ("g", "validation_ndcg", "tune_examples")} == {
            name: tuned[name] for name in ("g", "validation_ndcg", "tune_examples")
        }
    assert best_weight({0.1: 0.2, 0.5: 0.3, 0.9: 0.3}) == 0.9


def test_the_assistant_sees_the_history_that_the_model_sees(folder, tokenizer):
    """At a tiny g the assistant alone makes the order: SASRec's on the shown history."""
    examples = read_table(folder / "examples.parquet", EXAMPLES)
    catalogue = read_table(folder / "catalogue.parquet", CATALOGUE)
    titles = distinct_titles(catalogue, tokenizer)
    counts = catalogue["train_count"].to_numpy()
    probabilities = title_probabilities(folder / "sasrec.safetensors", counts, titles.of_item, CPU)
    for history in HISTORIES:
        found, record = run(folder, assisted(g=[1e-6]), history)
        shown = replace_histories(examples, history, EVALUATION_SEED)["history"].map(tuple)
        expected = probabilities([*shown]).argsort(1, descending=True)
        assert found["item_id"].tolist() == titles.item[expected].ravel().tolist()
        assert record["prompts"] == len({*shown})


def test_a_sequence_has_the_probability_of_all_its_titles(folder, copy):
    """With a tokenizer that knows no capital letters, and a title in another writing."""
    lower_case(copy, [])
    catalogue = read_table(folder / "catalogue.parquet", CATALOGUE)
    catalogue.loc[5, "title"] = TITLES[7].upper() + " AMBER HARBOUR"
    catalogue.loc[6, "title"] = TITLES[7] + " Amber Harbour"
    write_table(catalogue, copy / "catalogue.parquet", CATALOGUE)
    found, _ = run(copy, assisted(g=[1e-6]))
    same = catalogue["title"].str.lower()
    codes = pd.factorize(same)[0]
    counts = catalogue["train_count"].to_numpy()
    probabilities = title_probabilities(folder / "sasrec.safetensors", counts, codes, CPU)
    examples = read_table(folder / "examples.parquet", EXAMPLES)
    expected = probabilities([row.tolist() for row in examples["history"]]).numpy()
    for (_, group), row in zip(found.groupby("example_id"), expected, strict=True):
        listed = codes[group["item_id"]]
        assert list(dict.fromkeys(listed)) == np.argsort(-row).tolist()
        assert len(listed) == len(row) + 1


def test_bad_input(folder, tmp_path):
    with pytest.raises(InputError, match="assistant: an assisted decoder needs this file"):
        run(folder, assisted(g=[0.5]), assistant=None)
    with pytest.raises(InputError, match="tuning: an assisted decoder needs this file"):
        run(folder, assisted())
    (tmp_path / "g.json").write_text(json.dumps({"g": 0.3}))
    with pytest.raises(InputError, match=r"g is 0\.3, which is none of .* tune the decoder again"):
        run(folder, assisted(), tuning=tmp_path / "g.json")
    with pytest.raises(InputError, match="holds no sequential recommender"):
        run(folder, assisted(g=[0.5]), assistant=tmp_path / "missing")
    (tmp_path / "text").write_text(json.dumps("no model"))
    with pytest.raises(InputError, match="holds no sequential recommender"):
        run(folder, assisted(g=[0.5]), assistant=tmp_path / "text")
