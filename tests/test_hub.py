"""Backbones of a hub, fetched from a small one on this machine: whole, or refused with a remedy."""

import shutil

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model

from scripts.backbones import fetch as fetching
from scripts.backbones.fetch import fetch
from scripts.backbones.load import load_backbone, load_finetuned, load_tokenizer
from scripts.command import InputError
from scripts.files import read_json, write_json
from tests.hub_server import commit_of, serve
from tests.small_data import change_json

NAME = "someone/something"
WEIGHTS = f"{NAME}/model.safetensors"


@pytest.fixture
def hub(folder, tmp_path, monkeypatch, waits):
    own = shutil.ignore_patterns("run.json")
    shutil.copytree(folder / "backbone", tmp_path / "hub" / NAME, ignore=own)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve(tmp_path / "hub") as server:
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def sent(hub, name: str = "") -> list[int]:
    """Bytes of every answer that held content of a file."""
    fetched = [
        (path, size) for how, path, _, size in hub.sent if how == "GET" and "/api/" not in path
    ]
    return [size for path, size in fetched if path.endswith(name)]


def sharded(repository):
    model = load_backbone(repository, "fp32")
    (repository / "model.safetensors").unlink()
    model.save_pretrained(repository, max_shard_size="30KB")


def doubled(repository):
    """Weights once more, and once more as a pickle, and pages."""
    (repository / "original").mkdir()
    for name in ("consolidated.safetensors", "original/params.json", "original/a.safetensors"):
        shutil.copy(repository / "model.safetensors", repository / name)
    for name in ("pytorch_model.bin", "README.md", "modeling.py"):
        (repository / name).write_text(name)
    return {"consolidated.safetensors", "original", "pytorch_model.bin", "README.md", "modeling.py"}


def for_known_code(repository):
    """Its code is in transformers by now."""
    auto_map = {"AutoModelForCausalLM": "modeling.Mine"}
    change_json(repository / "config.json", auto_map=auto_map)


def behind_a_login(repository):
    (repository / ".gated").touch()
    (repository.parents[2] / "token").write_text("hf_secret")
    return {".gated"}


@pytest.mark.parametrize("change", [sharded, doubled, for_known_code, behind_a_login])
def test_a_model_is_fetched_whole_and_with_nothing_else(hub, tmp_path, waits, change):
    repository, folder = tmp_path / "hub" / NAME, tmp_path / "model"
    unneeded = change(repository) or set()
    fetch(folder, id=NAME)
    found = {path.name: path for path in folder.iterdir()}
    record = {"id": NAME, "revision": "main", "commit": commit_of(repository)}
    assert read_json(found.pop("backbone.json")).items() > record.items()
    assert {path.name for path in repository.iterdir()} - unneeded == found.keys()
    for name, path in found.items():
        # No link into the hub's cache, and no second copy of it either.
        assert not path.is_symlink()
        assert path.stat().st_nlink == 2
        assert path.read_bytes() == (repository / name).read_bytes()
    assert sum(sent(hub)) == sum(path.stat().st_size for path in found.values())
    load_tokenizer(folder), load_backbone(folder, "fp32")
    assert waits == []


def pickled(repository, hub):
    (repository / "model.safetensors").rename(repository / "pytorch_model.bin")


def with_a_page_in_its_place(repository, hub):
    hub.broken = 200


def with_own_code(repository, hub):
    auto_map = {"AutoConfig": "modeling.Mine"}
    change_json(repository / "config.json", model_type="mine", auto_map=auto_map)


def listing(shard):
    index = "model.safetensors.index.json"
    return lambda repository, _: write_json({"weight_map": {"lm": shard}}, repository / index)


REFUSED = {
    "login": (lambda r, _: (r / ".gated").touch(), {}, "is gated: accept its terms .* `hf auth lo"),
    "repository": (None, {"id": "someone/else"}, "someone/else is not on the hub, or private"),
    "name": (None, {"id": "some--one/else"}, "HFValidationError: .*some--one/else"),
    "revision": (None, {"revision": "v9"}, "something has no revision v9: give one that"),
    "commit": (None, {"revision": "0" * 40}, f"something has no revision {'0' * 40}: give one"),
    "page": (with_a_page_in_its_place, {}, "could not be fetched from http.* .JSONDecodeError"),
    "pickle": (pickled, {}, r"has no model\.safetensors, and only safetensors are read"),
    "odd shard": (listing(["a"]), {}, r"has no \['a'\], and only safetensors are read"),
    "shard elsewhere": (listing("../../refs/main"), {}, r"has no \.\./\.\./refs/main, and only"),
    "code": (
        with_own_code,
        {},
        r"config\.json: the model needs code of its own .*, which is not r",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_second_try_can_mend_is_tried_once(hub, tmp_path, waits, monkeypatch, case):
    change, options, words = REFUSED[case]
    if change:
        change(tmp_path / "hub" / NAME, hub)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks in a batch job"))
    with pytest.raises(InputError, match=words):
        fetch(tmp_path / "out" / "model", **{"id": NAME} | options)
    assert waits == []
    assert len([path for _, path, *_ in hub.sent if "/revision/" in path]) <= 2
    assert sent(hub, "pytorch_model.bin") + sent(hub, "model.safetensors") == []
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("faults", "of", "words"),
    [
        ("cuts", lambda _: [1000] * 99, "RemoteProtocolError: peer closed connection"),
        ("spoiled", lambda right: right[:-1], "OSError: Consistency check failed"),
        (
            "spoiled",
            lambda right: right[:-1] + bytes([right[-1] ^ 1]),
            "OSError: model.safetensors arrived with another content",
        ),
    ],
    ids=["cut", "shorter", "altered"],
)
def test_a_fault_on_the_way_is_tried_again_and_leaves_nothing(
    hub, tmp_path, waits, faults, of, words
):
    right = (tmp_path / "hub" / WEIGHTS).read_bytes()
    getattr(hub, faults)[WEIGHTS] = of(right)
    with pytest.raises(InputError, match=words + r".*; try again, or put .* by hand$"):
        fetch(tmp_path / "out" / "model", id=NAME)
    assert [wait for wait in waits if wait > 1] == [*fetching.WAITS]  # The library waits a second.
    assert list((tmp_path / "out").iterdir()) == []
    hub.cuts.clear(), hub.spoiled.clear()
    fetch(tmp_path / "out" / "model", id=NAME)
    assert (tmp_path / "out" / "model" / "model.safetensors").read_bytes() == right


def test_a_file_goes_on_where_it_was_cut_within_a_run(hub, tmp_path, monkeypatch):
    """It does so in whole blocks, of 10 MB in truth."""
    size = (tmp_path / "hub" / WEIGHTS).stat().st_size
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cuts[WEIGHTS] = [10_500] * 99
    fetch(tmp_path / "model", id=NAME)
    assert size < sum(sent(hub, "model.safetensors")) < size * 1.1
    assert len(sent(hub, "model.safetensors")) == 1 + size // 10_000


@pytest.mark.parametrize("how", ["down", "faulty", "offline"])
@pytest.mark.parametrize("filled", [True, False])
def test_a_hub_out_of_reach(hub, tmp_path, monkeypatch, caplog, waits, filled, how):
    if filled:
        fetch(tmp_path / "first", id=NAME)
    asked = len(hub.sent)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", how == "offline")
    if how == "down":  # Nothing listens on port 9.
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub.broken = 503 if how == "faulty" else 0
    if not filled:
        with pytest.raises(InputError, match=f"{NAME} could not be fetched .*; try again, or put"):
            fetch(tmp_path / "model", id=NAME)
        assert not (tmp_path / "model").exists()
        return
    fetch(tmp_path / "model", id=NAME)
    commit = commit_of(tmp_path / "hub" / NAME)
    record = {"id": NAME, "revision": "main", "commit": commit}
    assert read_json(tmp_path / "model/backbone.json").items() > record.items()
    assert f"main is {commit} in the cache" in caplog.text
    assert bool(hub.broken) == (len(hub.sent) > asked)
    assert bool(waits) == (how != "offline")


def test_a_branch_that_moved_is_told_and_not_mixed(hub, tmp_path, caplog):
    repository = tmp_path / "hub" / NAME
    fetch(tmp_path / "old", id=NAME)
    adapter = get_peft_model(
        load_backbone(tmp_path / "old", "fp32"),
        LoraConfig(
            task_type="CAUSAL_LM", target_modules="all-linear", revision=commit_of(repository)
        ),
    )
    adapter.save_pretrained(tmp_path / "adapter")
    commits = [commit_of(repository)]
    change_json(repository / "config.json", max_position_embeddings=99)
    commits.append(commit_of(repository))
    fetch(tmp_path / "new", id=NAME)
    assert read_json(tmp_path / "new/backbone.json")["commit"] == commits[1]
    assert read_json(tmp_path / "new/config.json")["max_position_embeddings"] == 99
    assert f"main has moved from {commits[0]} to {commits[1]}" in caplog.text
    cpu = torch.device("cpu")
    load_finetuned(tmp_path / "adapter", tmp_path / "old", cpu, "fp32")
    with pytest.raises(
        InputError, match=f"trained from commit {commits[0]} of {NAME}, but .*new i"
    ):
        load_finetuned(tmp_path / "adapter", tmp_path / "new", cpu, "fp32")
