"""Prompts by hand, and the border between prompt and answer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from scripts import prompts
from scripts.command import InputError
from scripts.data.settings import Prompt
from scripts.prompts import (
    answer_ids,
    answers_of,
    check_tokenizer,
    fitted_prompts,
    prompt_ids,
    prompt_limit,
    prompt_text,
    quoted,
    token_ids,
)

PROMPT = Prompt(instruction="Recommend a book.", history="The user has read:")
titles = st.text(min_size=1, max_size=12)


def byte_tokenizer(merges=(), **special):
    """One token per byte, and the merges asked for."""
    vocabulary = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges)))
    # Without the usual splitting into words, so that a merge can reach over the border.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"eos_token": "<eos>", "pad_token": "<pad>"} | special
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


BYTES = byte_tokenizer()


def test_prompt_with_a_history_by_hand():
    assert prompt_text(PROMPT, ['Say "Hi"', "Dune"]) == (
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n"
        "\n"
        "### Instruction:\n"
        "Recommend a book.\n"
        "\n"
        "### Input:\n"
        'The user has read: "Say "Hi"", "Dune"\n'
        "\n"
        "### Response:\n"
    )


def test_prompt_without_a_history_by_hand():
    assert prompt_text(PROMPT, []) == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n"
        "\n"
        "### Instruction:\n"
        "Recommend a book.\n"
        "\n"
        "### Response:\n"
    )


def test_braces_of_titles_and_sentences_stay():
    prompt = Prompt(instruction="{input} {0}", history="{instruction}")
    text = prompt_text(prompt, ["{title}", "{}"])
    assert '### Input:\n{instruction} "{title}", "{}"\n' in text
    assert "### Instruction:\n{input} {0}\n" in text


@given(st.lists(titles, max_size=4), titles)
def test_prompt_is_a_prefix_of_prompt_and_answer(history, title):
    text = prompt_text(PROMPT, history)
    joint = prompt_ids(BYTES, text + quoted(title))
    prompt, answer = prompt_ids(BYTES, text), answer_ids(BYTES, title)
    assert joint == prompt + answer[:-1]
    assert answer[-1] == BYTES.eos_token_id
    assert BYTES.decode(answer[:-1]) == f'"{title}"'


def test_truncation_drops_the_oldest_titles():
    history = ["oldest", "middle", "newest"]
    lengths = [len(prompt_ids(BYTES, prompt_text(PROMPT, history[i:]))) for i in range(3)]
    assert lengths == sorted(lengths, reverse=True)
    for dropped, length in enumerate(lengths):
        for limit in (length, length + 1):
            ids, count = fitted_prompts(BYTES, PROMPT, [history, ["newest"]], limit)
            assert count == (dropped > 0)
            assert BYTES.decode(ids[0]) == prompt_text(PROMPT, history[dropped:])
            assert BYTES.decode(ids[1]) == prompt_text(PROMPT, ["newest"])
    with pytest.raises(InputError, match=r"training\.max_tokens"):
        fitted_prompts(BYTES, PROMPT, [history], lengths[-1] - 1)


def test_a_tokenizer_that_merges_across_the_border_is_refused():
    merging = byte_tokenizer(merges=[("Ċ", '"')])  # Ċ stands for the line's end.
    with pytest.raises(InputError, match='merges the end of the prompt with the answer "Dune"'):
        check_tokenizer(merging, PROMPT, ["Dune"])


def awkward(kind):
    """A tokenizer of a kind, and its bare pipeline, which knows no control tokens."""
    specials = ["<eos>", "<pad>", "<s>"]
    trained = {"vocab_size": 400, "special_tokens": specials, "show_progress": False}
    names = {"eos_token": "<eos>", "pad_token": "<pad>"}
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "prefix space")
    if kind in ("blank first", "blank first, whole text"):
        bare = Tokenizer(models.BPE(byte_fallback=True, unk_token="<s>"))
        scheme = {"prepend_scheme": "first", "split": kind == "blank first"}
        bare.pre_tokenizer = pre_tokenizers.Metaspace(**scheme)
        trained["special_tokens"] = [*specials, *(f"<0x{i:02X}>" for i in range(256))]
    else:
        trained["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    if kind == "stripped":
        bare.normalizer = normalizers.Strip()
    texts = [prompt_text(PROMPT, ["Dune", "The Tower"])] * 3
    bare.train_from_iterator(texts, trainers.BpeTrainer(**trained))
    ends = {"bos": "<s> $A", "eos": "$A <eos>", "bos and eos": "<s> $A <eos>"}
    ends["blank first"] = "<s> $A"
    known = Tokenizer.from_str(bare.to_str())
    if kind in ends:
        single = [(token, i) for i, token in enumerate(specials) if token in ends[kind]]
        known.post_processor = processors.TemplateProcessing(ends[kind], special_tokens=single)
    names |= {"bos_token": "<s>"} if "<s>" in ends.get(kind, "") else {}
    fast = PreTrainedTokenizerFast(tokenizer_object=known, **names)
    untold = json.loads(bare.to_str()) | {"added_tokens": []}
    return fast, Tokenizer.from_str(json.dumps(untold))


AWKWARD = ["bos", "eos", "bos and eos", "prefix space", "stripped"]
AWKWARD += ["blank first", "blank first, whole text"]


@pytest.mark.parametrize("kind", AWKWARD)
def test_the_answer_is_what_follows_the_prompt(kind):
    """Against the tokenizer's bare pipeline on the whole text; control tokens' names are text."""
    tokenizer, bare = awkward(kind)
    named = ["Say <eos>", "<eos>", "<s> a <pad>", "Dune", " x", "🙂 日本", 'The "Tower"']
    bos = [2] if tokenizer.bos_token else []
    check_tokenizer(tokenizer, PROMPT, named)
    for title, answer in zip(named, answers_of(tokenizer, named), strict=True):
        for history in ([], [title], ["Dune", title]):
            text = prompt_text(PROMPT, history)
            joint = prompt_ids(tokenizer, text) + answer[:-1]
            assert joint == bos + bare.encode(text + quoted(title)).ids
        assert answer[-1] == tokenizer.eos_token_id not in joint


def test_what_is_tokenised_in_parts_is_the_same(monkeypatch):
    texts = [f"Part {i}" for i in range(5)]
    whole = token_ids(BYTES, texts)
    monkeypatch.setattr(prompts, "CHUNK", 2)
    assert token_ids(BYTES, texts) == whole == [BYTES(text).input_ids for text in texts]


def letters(**special):
    """A tokenizer of four letters, without those of a prompt."""
    model = models.WordLevel(
        {letter: i for i, letter in enumerate('\n"a')} | {"<eos>": 3}, **special
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", **special)


def test_a_title_that_holds_eos_whatever_is_done_is_refused():
    """The one token for all that it does not know ends answers, too."""
    tokenizer = letters(unk_token="<eos>")
    assert answers_of(tokenizer, ["a"]) == [[1, 2, 1, 3]]
    with pytest.raises(InputError, match='reads <eos>, which is no text, in the title "ab"'):
        answers_of(tokenizer, ["a", "ab"])


def test_a_tokenizer_without_tokens_for_a_text_is_refused():
    with pytest.raises(InputError, match=r"cannot read a text .*Missing"):
        answers_of(letters(), ["a"])


def limit_of(titles, max_tokens, context):
    return prompt_limit(BYTES, PROMPT, titles, answers_of(BYTES, titles), max_tokens, context)


def test_the_limit_of_prompts_by_hand():
    """One token a byte: a title is its letters, two quotes and eos."""
    titles = ["ab", "abcdefgh", "abc"]
    alone = len(prompt_text(PROMPT, ["abcdefgh"]))
    assert limit_of(titles, alone, 10_000) == alone
    assert limit_of(titles, alone + 5, alone + 11) == alone
    assert limit_of(titles, alone + 5, alone + 13) == alone + 2
    told = rf'item_id 1, "abcdefgh": a title of 11 tokens.* {alone} tokens, but '
    with pytest.raises(InputError, match=rf"{told}training.max_tokens is {alone - 1}; raise"):
        limit_of(titles, alone - 1, 10_000)
    with pytest.raises(InputError, match=rf"{told}the backbone sees {alone + 10} .* larger cont"):
        limit_of(titles, alone, alone + 10)
    with pytest.raises(InputError, match=r'"限{60}": a title of 2703 tokens'):
        limit_of(["ab", "限" * 900], 1024, 2048)
