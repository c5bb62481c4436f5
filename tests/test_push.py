"""A model is uploaded to a small hub on this machine, and read back as others read it."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard, constants

from scripts.command import InputError
from scripts.files import read_json, write_json
from scripts.finetune.card import model_card
from scripts.finetune.settings import Objective, Training
from scripts.push import push
from tests.hub_server import commit_of, serve
from tests.test_finetune_card import RECORD
from tests.tiny_study import llm, metrics

NAME = "someone/study-toy-tiny-cft-seed-0"


@pytest.fixture
def hub(tmp_path, monkeypatch, waits):
    with serve(tmp_path / "hub") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server


@pytest.fixture
def uploading(tmp_path):
    model = tmp_path / "models" / llm("cft").model
    model.mkdir(parents=True)
    card = model_card(RECORD, Objective(), Training(), "toy", "x")
    (model / "README.md").write_text(card, encoding="utf-8")
    for name in ("model.safetensors", ".run.json.lock"):
        (model / name).write_bytes(name.encode())
    write_json(RECORD, model / "run.json")
    found = [metrics(tmp_path, llm("cft", decoder=name), [1, 4, None]) for name in ("a", "b")]
    return lambda name=NAME: push(model, found, 10, name, tmp_path / "hub.json")


def test_a_model_stands_on_the_hub_with_what_it_scored(hub, uploading, tmp_path):
    uploading()
    there = tmp_path / "hub" / NAME
    assert {path.name for path in there.iterdir() if path.name != ".visibility"} == {
        *("model.safetensors", "run.json", "README.md"),
    }
    assert (there / "model.safetensors").read_bytes() == b"model.safetensors"
    assert (there / ".visibility").read_text() == "private"
    assert read_json(tmp_path / "hub.json")["commit"] == commit_of(there)
    data = ModelCard.load(there / "README.md").data
    assert (data.base_model, data.license) == ("Qwen/Qwen2-0.5B", "other")
    found = {(one.dataset_split, one.metric_name): one.metric_value for one in data.eval_results}
    assert found["validation", "loss with equal token weights"] == 1.98769
    assert found["test", "HR@10, decoder a, 3 examples"] == pytest.approx(2 / 3, abs=1e-12)
    assert found["test", "NDCG@10, decoder b, 3 examples"] == pytest.approx((1 + 0.430677) / 3)
    assert len(found) == 5
    uploading()  # Again: nothing is lost, and nothing doubled.
    assert len(ModelCard.load(there / "README.md").data.eval_results) == 5


LOGIN = "log in with `hf auth login` and a token that may write there"


@pytest.mark.parametrize(
    ("token", "status", "name", "remedy"),
    [
        ("", 0, NAME, LOGIN),
        ("hf_secret", 403, NAME, LOGIN),
        ("hf_secret", 503, NAME, "try again"),
        ("hf_secret", 0, "someone/a--b", "choose other names in the study"),
    ],
)
def test_a_refusal_is_one_message(
    hub, uploading, tmp_path, monkeypatch, token, status, name, remedy
):
    monkeypatch.setenv("HF_TOKEN", token)
    hub.broken = status
    with pytest.raises(InputError, match=f"{name} could not be uploaded to .*; {remedy}, or set"):
        uploading(name)
    assert not (tmp_path / "hub").exists()
