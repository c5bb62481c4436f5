"""Prompts by hand, and the border between prompt and answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from scripts.command import InputError
from scripts.data.settings import Prompt
from scripts.prompts import (
    answer_ids,
    check_tokenizer,
    fitted_prompts,
    prompt_ids,
    prompt_text,
    quoted,
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


def test_tokenizers_that_fit():
    check_tokenizer(BYTES, PROMPT, ["Dune", "a", " blank", '"'])
    check_tokenizer(byte_tokenizer(merges=[("D", "u"), ("n", "e")]), PROMPT, ["Dune"])


def test_a_tokenizer_that_merges_across_the_border_is_refused():
    merging = byte_tokenizer(merges=[("Ċ", '"')])  # Ċ stands for the line's end.
    with pytest.raises(InputError, match='merges the end of the prompt with the answer "Dune"'):
        check_tokenizer(merging, PROMPT, ["Dune"])


def test_a_tokenizer_that_strips_the_prompt_is_refused():
    stripping = byte_tokenizer()
    stripping.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.raises(InputError, match="merges"):
        check_tokenizer(stripping, PROMPT, ["Dune"])


@pytest.mark.parametrize("missing", ["eos_token", "pad_token"])
def test_a_tokenizer_without_eos_or_pad_is_refused(missing):
    with pytest.raises(InputError, match="lacks an eos or a pad token"):
        check_tokenizer(byte_tokenizer(**{missing: None}), PROMPT, ["Dune"])
