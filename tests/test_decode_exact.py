"""The whole catalogue's scores against one title at a time, and the audit against both."""

import numpy as np
import pandas as pd
import pytest
import torch

from scripts.backbones.passes import padded
from scripts.contracts import EXAMPLES
from scripts.decode import exact
from scripts.decode.audit import audit
from scripts.decode.constrained import search, to_device
from scripts.decode.exact import score_catalogue
from scripts.decode.model import load
from scripts.decode.trie import build_trie
from scripts.files import read_table
from tests.small_language import TITLES, finetuned, log_probabilities
from tests.test_decode_constrained import PAD, PROMPTS, VOCABULARY, make_titles, title_scores
from tests.tiny_models import tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("nodes", [1, 7, 1000])
@pytest.mark.parametrize("architecture", ["llama", "gpt_neox", "gemma3_text"])
def test_scores_of_all_titles(architecture, nodes, monkeypatch):
    monkeypatch.setattr(exact, "NODES", nodes)
    titles = make_titles(40, seed=2)
    titles = [titles[i] for i in np.random.default_rng(0).permutation(len(titles))]
    model = tiny_model(architecture, VOCABULARY)
    ids, mask = padded(PROMPTS, PAD, CPU)
    found = score_catalogue(model, build_trie(titles), ids, mask)
    for prompt, row in zip(PROMPTS, found, strict=True):
        np.testing.assert_allclose(row, title_scores(model, titles, prompt), atol=1e-4)


@pytest.mark.parametrize("titles", [[(0,)], [(5, 0)], [(0,), (3, 0)]])
def test_smallest_catalogues(titles):
    model = tiny_model("llama", VOCABULARY)
    ids, mask = padded(PROMPTS[:1], PAD, CPU)
    [found] = score_catalogue(model, build_trie(titles), ids, mask)
    np.testing.assert_allclose(found, title_scores(model, titles, PROMPTS[0]), atol=1e-5)


def test_equal_scores_stand_in_the_order_of_the_titles():
    """Of a model that finds all tokens equal, titles of one length are one tie, in search and in
    the exact ranking; the order of their tokens is another one."""
    model = tiny_model("llama", VOCABULARY)
    model.get_output_embeddings().weight.data.zero_()
    titles = [(9, 4, 0), (3, 0), (5, 4, 0), (7, 0), (2, 6, 0), (2, 0)]
    expected = [1, 3, 5, 0, 2, 4]
    trie = build_trie(titles)
    ids, mask = padded(PROMPTS[:1], PAD, CPU)
    [scores] = score_catalogue(model, trie, ids, mask)
    assert scores.unique().numel() == 2
    assert scores.argsort(descending=True, stable=True).tolist() == expected
    [found] = search(model, to_device(trie, CPU), ids, mask, 6, 0.0)
    assert found.titles.tolist() == expected


def test_audit(folder, tmp_path):
    audit(
        finetuned(folder),
        test=folder / "examples.parquet",
        beams=[1, 20],
        examples=4,
        output=tmp_path / "audit.csv",
    )
    found = pd.read_csv(tmp_path / "audit.csv")
    assert len(found) == 3 * 4
    of_exact, narrow, wide = (
        found[found["beams"].isna()],
        found[found["beams"] == 1],
        found[found["beams"] == 20],
    )
    assert (of_exact["overlap"] == 1).all()
    assert of_exact["rank"].between(1, len(TITLES) - 1).all()
    assert found["among_titles"].notna().equals(found["beams"].isna())
    # The target's log-probability less that of all titles, one at a time.
    of = load(finetuned(folder))
    examples = read_table(folder / "examples.parquet", EXAMPLES).set_index("example_id")
    for row in of_exact.itertuples():
        example = examples.loc[row.example_id]
        history = [TITLES[item] for item in example["history"]]
        scores = {
            title: log_probabilities(of.model, of.tokenizer, history, title).sum()
            for title in set(TITLES)
        }
        share = scores[TITLES[example["target"]]] - np.logaddexp.reduce([*scores.values()])
        assert row.among_titles == pytest.approx(share, abs=1e-4)
    # As wide as the catalogue, the search is exact and knows it.
    assert wide["rank"].tolist() == of_exact["rank"].tolist()
    assert (wide["overlap"] == 1).all()
    assert wide["proven"].all()
    assert (narrow["overlap"] == 1 / 8).all()
    assert not narrow["proven"].any()
