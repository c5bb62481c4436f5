"""The prompts: an example in words, with its history or without, and the answer (docs/paper.md §1).

One clean template serves training and inference; the released code indents its training template
by four spaces and its inference template not at all, so that the two see different prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scripts.command import InputError
from scripts.data.settings import Prompt

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)

#: Stands for the titles in a prompt with a placeholder instead of a history.
PLACEHOLDER = "(unknown)"


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


def answer_ids(tokenizer: Any, title: str) -> list[int]:
    """Supervised tokens of a title: the quoted title, then end-of-sequence."""
    return [*tokenizer(quoted(title), add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a prompt, with whatever the tokenizer puts at the beginning of a sequence."""
    return list(tokenizer(text).input_ids)


def fitted_prompt_ids(
    tokenizer: Any, prompt: Prompt, history: Sequence[str], limit: int
) -> tuple[list[int], int]:
    """Tokens of the prompt within `limit`, dropping the oldest titles first.

    Returns:
        The tokens, and the number of titles dropped.

    Raises:
        InputError: even one title does not fit.
    """
    for dropped in range(max(len(history), 1)):
        ids = prompt_ids(tokenizer, prompt_text(prompt, history[dropped:]))
        if len(ids) <= limit:
            return ids, dropped
    raise InputError(
        f"A prompt of {len(ids)} tokens does not fit the {limit} that training.max_tokens leaves; "
        "raise it for this backbone"
    )


def check_tokenizer(tokenizer: Any, prompt: Prompt, titles: Sequence[str]) -> None:
    """Check that no token straddles the border of prompt and answer, and that eos and pad exist.

    Raises:
        InputError: the tokenizer cannot be used, with the reason.
    """
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise InputError("The tokenizer of the backbone lacks an eos or a pad token")
    for title in titles:
        for history in ([], [title]):
            text = prompt_text(prompt, history)
            joint = prompt_ids(tokenizer, text + quoted(title))
            if joint != prompt_ids(tokenizer, text) + answer_ids(tokenizer, title)[:-1]:
                raise InputError(
                    f"The backbone's tokenizer merges the end of the prompt with the answer "
                    f"{quoted(title)}: training and decoding would see different tokens"
                )
