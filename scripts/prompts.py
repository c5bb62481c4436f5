"""The prompts: an example in words, with its history or without, and the answer (docs/paper.md §1).

One clean template serves training and inference; the released code indents its training template
by four spaces and its inference template not at all, so that the two see different prompts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from scripts.command import InputError
from scripts.data.settings import Prompt

logger = logging.getLogger(__name__)

#: The last line of a prompt, which the answer follows.
RESPONSE = "### Response:\n"
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n" + RESPONSE
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n" + RESPONSE
)

#: Stands for the titles in a prompt with a placeholder instead of a history.
PLACEHOLDER = "(unknown)"

#: Texts that are tokenised together.
CHUNK = 1024


def quoted(title: str) -> str:
    """A title as it stands in prompts and answers: in double quotes."""
    return f'"{title}"'


def prompt_text(prompt: Prompt, history: Sequence[str]) -> str:
    """The prompt for a history of titles, oldest first; the no-history prompt for an empty one."""
    if not history:
        return WITHOUT_INPUT.format(instruction=prompt.instruction)
    sentence = f"{prompt.history} {', '.join(map(quoted, history))}"
    return WITH_INPUT.format(instruction=prompt.instruction, input=sentence)


def placeholder_text(prompt: Prompt) -> str:
    """The prompt without its history: the words of the input stay, the titles go."""
    sentence = f"{prompt.history} {PLACEHOLDER}"
    return WITH_INPUT.format(instruction=prompt.instruction, input=sentence)


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of each text, nothing put around it; the name of a control token is text, too.

    Raises:
        InputError: the tokenizer has no tokens for a text.
    """
    ids: list[list[int]] = []
    for start in range(0, len(texts), CHUNK):
        part = list(texts[start : start + CHUNK])
        try:
            ids += tokenizer(part, add_special_tokens=False, split_special_tokens=True).input_ids
        except Exception as error:  # tokenizers raises a plain one.
            told = f"The backbone's tokenizer cannot read a text ({error}); choose another backbone"
            raise InputError(told) from error
    return ids


def sequence_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of each text as the beginning of a sequence.

    They follow what the tokenizer puts before a text, such as bos; what it puts behind one, such as
    eos, is left out, as a text goes on.
    """
    tokens = token_ids(tokenizer, texts)
    example = tokenizer(RESPONSE, return_special_tokens_mask=True)
    beginning = example.input_ids[: [*example.special_tokens_mask, 0].index(0)]
    return [beginning + ids for ids in tokens]


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a prompt, see `sequence_ids`."""
    return sequence_ids(tokenizer, [text])[0]


def answers_of(tokenizer: Any, titles: Sequence[str]) -> list[list[int]]:
    """Supervised tokens of each title: what the quoted title adds to a prompt, then eos.

    They are read off behind the last line of a prompt: at the beginning of a text, some tokenizers
    would put a blank before the title.

    Raises:
        InputError: a token straddles the border of prompt and answer, or the title's own tokens
            hold one that is no text, such as eos.
    """
    before, *joint = token_ids(tokenizer, [RESPONSE, *(RESPONSE + quoted(t) for t in titles)])
    control = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id} | {tokenizer.eos_token_id}
    answers = []
    for title, ids in zip(titles, joint, strict=True):
        answer = ids[len(before) :]
        if ids[: len(before)] != before:
            raise straddling(title)
        if found := control & {*answer}:
            raise InputError(
                f"The backbone's tokenizer reads {tokenizer.convert_ids_to_tokens(found.pop())}, "
                f"which is no text, in the title {quoted(title[:60])}; leave this item out, "
                "or choose another backbone"
            )
        answers.append([*answer, tokenizer.eos_token_id])
    return answers


def answer_ids(tokenizer: Any, title: str) -> list[int]:
    """Supervised tokens of a title, see `answers_of`."""
    return answers_of(tokenizer, [title])[0]


def sharing(tokens: Iterable[Hashable]) -> int:
    """How many titles have the same tokens as another; given those of each, or their numbers."""
    return sum(count for count in Counter(tokens).values() if count > 1)


def straddling(title: str) -> InputError:
    """What to say where a token holds the end of a prompt and the start of this answer."""
    return InputError(
        "The backbone's tokenizer merges the end of the prompt with the answer "
        f"{quoted(title[:60])}: training and decoding would see different tokens; choose "
        "another backbone"
    )


def check_tokenizer(tokenizer: Any, prompt: Prompt, titles: Sequence[str]) -> None:
    """Check that prompt and answer, each tokenised alone, are the tokens of both in one text.

    Raises:
        InputError: they are not.
    """
    for title, answer in zip(titles, answers_of(tokenizer, titles), strict=True):
        for history in ([], [title]):
            text = prompt_text(prompt, history)
            joint = prompt_ids(tokenizer, text + quoted(title))
            if joint != prompt_ids(tokenizer, text) + answer[:-1]:
                raise straddling(title)


def prompt_limit(
    tokenizer: Any,
    prompt: Prompt,
    titles: Sequence[str],
    answers: Sequence[Sequence[int]],
    max_tokens: int,
    context: int,
) -> int:
    """Longest prompt in tokens, the same for training, validation and all decoding.

    It is `max_tokens`, or what the longest title as the answer leaves of the backbone's context
    of so many tokens. The titles are those of the catalogue, in the order of `item_id`, and
    `answers` their tokens, see `answers_of`.

    Raises:
        InputError: the longest title does not fit, not even alone in a prompt.
    """
    item = max(range(len(titles)), key=lambda i: len(answers[i]))
    longest = len(answers[item])
    limit = min(max_tokens, context - longest)
    needed = len(prompt_ids(tokenizer, prompt_text(prompt, [titles[item]])))
    if needed > limit:
        leaves, remedy = f"training.max_tokens is {max_tokens}", "raise training.max_tokens"
        if limit < max_tokens:
            leaves = f"the backbone sees {context} with the answer, which may be this title again"
            remedy = "choose a backbone with a larger context"
        if needed - longest < min(max_tokens, context):  # A shorter title would fit.
            remedy += ", or lower preparation.max_title_words or preparation.max_title_characters"
        raise InputError(
            f"item_id {item}, {quoted(titles[item][:60])}: a title of {longest} tokens. A "
            f"prompt with this title alone has {needed} tokens, but {leaves}; {remedy}"
        )
    return limit


def fitted_prompts(
    tokenizer: Any, prompt: Prompt, histories: Sequence[Sequence[str]], limit: int
) -> tuple[list[list[int]], int]:
    """Tokens of the prompts of histories within `limit`, dropping the oldest titles first.

    Returns:
        The tokens, and how many prompts lost titles.

    Raises:
        InputError: a prompt does not fit with one title, or with none.
    """
    ids: list[list[int]] = [[]] * len(histories)
    dropped, left = [0] * len(histories), [*range(len(histories))]
    while left:
        texts = [prompt_text(prompt, histories[i][dropped[i] :]) for i in left]
        for i, found in zip(left, sequence_ids(tokenizer, texts), strict=True):
            ids[i] = found
        left = [i for i in left if len(ids[i]) > limit]
        for i in left:
            dropped[i] += 1
            if dropped[i] >= len(histories[i]):
                raise InputError(
                    f"A prompt of {len(ids[i])} tokens does not fit {limit}; raise "
                    "training.max_tokens, or choose a backbone with a larger context"
                )
    count = sum(map(bool, dropped))
    if count:
        told = "%d of %d prompts lost their oldest titles to fit %d tokens; see training.max_tokens"
        logger.warning(told, count, len(histories), limit)
    return ids, count
