"""What a language model allows: passes that share work, each tried against whole passes first.

What a configuration says of its layers is not enough: positions may come from a bias (ALiBi) or
from the place in the cache, layers may be recurrent, or see a window or a chunk. So a model is run
on a handful of prompts, and is believed what it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from scripts.backbones.generation import generate_tokens
from scripts.backbones.load import context_of
from scripts.backbones.passes import encode, extend, kept_logits, padded
from scripts.command import InputError
from scripts.data.settings import Prompt
from scripts.decode.settings import Grounded
from scripts.finetune.batches import answer_logits, branches, no_history_prompt, rows
from scripts.prompts import answer_ids, prompt_ids, prompt_text

logger = logging.getLogger(__name__)

#: Largest difference of a log-probability that is rounding, by the model's type: where a fault is
#: smaller than what its type can tell, nothing can find it.
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 0.25, torch.float16: 0.1}

#: However a model fails in passes that it was not made for; to be out of memory is no such failure.
FAILURES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError),
    *(RuntimeError, TypeError, ValueError),
)


#: Tokens of an answer that are compared.
ANSWER = 3


class Shortcuts(NamedTuple):
    """Passes that share work and were found equal to whole passes."""

    tree: bool
    """Continuations that share their prompt and a row, see `scripts.backbones.passes`."""
    prefix: bool
    """Examples that share the beginning of their prompts, see `scripts.finetune.batches`."""
    beams: bool
    """Beams of the free search that share their prompt, see `scripts.backbones.generation`."""


def find_shortcuts(
    model: Any, tokenizer: Any, prompt: Prompt, titles: Sequence[str], limit: int
) -> Shortcuts:
    """Run a long and a short prompt in every way and compare the log-probabilities.

    Args:
        model: a causal language model, on any device; its gradients are left alone.
        tokenizer, prompt: its tokenizer, and the data set's sentences.
        titles: of the catalogue; they fill the long prompt.
        limit: tokens of the long prompt, see `prompt_limit`.

    Raises:
        InputError: the model looks at later tokens, gives no numbers, or cannot be run at all.
    """
    ids = answer_ids(tokenizer, titles[0])
    answer = (ids * ANSWER)[:ANSWER]
    room = min(limit, context_of(model) - ANSWER)
    # A title in quotes has at least two tokens: so many fill the prompt.
    long = prompt_ids(tokenizer, prompt_text(prompt, [*islice(cycle(titles), room // 2)]))[:room]
    short = prompt_ids(tokenizer, prompt_text(prompt, titles[:1]))[: room // 2]
    prompts, no_history = [long, short], no_history_prompt(tokenizer, prompt)[:room]
    pad, name = tokenizer.pad_token_id, model.config.name_or_path
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            # Causality shows in short prompts already.
            alone = [one_by_one(model, ids, answer) for ids in (short, no_history)]
            expected = torch.cat([whole(model, [long], [answer], pad), *alone])
            padded = torch.cat([whole(model, prompts, [answer] * 2, pad), alone[1]])
            inputs = branches(prompts, [answer] * 2, no_history, pad, share=True)
            last = expected[ANSWER - 1 : 2 * ANSWER : ANSWER]
            found = Shortcuts(
                tree=holds(lambda: close(behind_a_tree(model, prompts, answer, pad), last)),
                prefix=holds(
                    lambda: close(
                        torch.cat(answer_logits(model, send_to_device(inputs, model.device))),
                        torch.cat([expected, expected[-ANSWER:]]),
                    )
                ),
                beams=holds(lambda: beams_alike(model, tokenizer, [short, no_history])),
            )
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        raise InputError(
            f"{name}: the backbone cannot be run as a causal language model "
            f"({type(error).__name__}: {error}); choose another one"
        ) from error
    finally:
        model.train(training)
    if not expected.isfinite().all():
        raise InputError(
            f"{name}: the backbone gives logits that are not finite; obtain its files again, or "
            "choose another backbone"
        )
    if not close(padded, expected):
        raise InputError(
            f"{name}: the backbone's predictions change with what follows them, so that it is no "
            "causal language model; choose one that was trained to predict the next token"
        )
    if not found.tree:
        logger.warning("%s: titles are searched in whole passes, which takes longer", name)
    if not found.prefix:
        logger.info("%s: every prompt is run whole in training", name)
    return found


def one_by_one(model: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """(N, V) logits of an answer's tokens, each from a pass that ends before it."""
    ids = torch.tensor([prompt + answer[:-1]], device=model.device)
    ends = range(len(prompt), ids.shape[1] + 1)
    passes = [model(input_ids=ids[:, :end], use_cache=False).logits[0, -1] for end in ends]
    return torch.stack(passes)


def whole(
    model: Any, prompts: Sequence[list[int]], answers: Sequence[list[int]], pad: int
) -> Tensor:
    """(N, V) logits of the answers' tokens, from passes over whole rows of a batch."""
    inputs = rows(prompts, answers, pad)
    ids, keep = (inputs[key].to(model.device) for key in ("input_ids", "supervised"))
    return kept_logits(model, keep, input_ids=ids, use_cache=False)


def behind_a_tree(model: Any, prompts: Sequence[list[int]], answer: list[int], pad: int) -> Tensor:
    """(B, V) logits of the answer's last token behind each prompt.

    Another beam runs beside the answer; the two change places after the first token.
    """
    size = len(prompts)
    ids, mask = padded(prompts, pad, model.device)
    pairs = [[[token, other]] * size for token, other in zip(answer, answer[::-1], strict=True)]
    tokens = torch.tensor(pairs, device=model.device)
    state, logits = encode(model, ids, mask, shared=True)
    own = torch.eye(2, dtype=torch.bool, device=model.device).expand(size, 2, 2)
    real = torch.ones((size, 2), dtype=torch.bool, device=model.device)
    for step, ancestors in enumerate([own, torch.cat([own.flip(1), own], 2)]):
        positions = (mask.sum(1, keepdim=True) + step).expand(size, 2)
        beams = tokens[step].flip(1) if step else tokens[step]
        state, logits = extend(model, state, beams, positions, ancestors, real)
    return logits.view(size, 2, -1)[:, 1]


def beams_alike(model: Any, tokenizer: Any, prompts: Sequence[list[int]]) -> bool:
    """Whether a free search of a few tokens in a batch finds what it finds without any cache."""
    ids, mask = padded(prompts, tokenizer.pad_token_id, model.device)
    settings = Grounded(kind="grounded", beams=2, max_new_tokens=ANSWER)

    def found(shared: bool) -> list[list[int]]:
        beams = generate_tokens(model, tokenizer, ids, mask, settings, 2, shared)
        return [[t for t in beam.tolist() if t != tokenizer.pad_token_id] for beam in beams]

    return found(shared=True) == found(shared=False)


def holds(check: Callable[[], bool]) -> bool:
    """Whether passes can be run, and what is checked of them is so."""
    try:
        return check()
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        logger.debug("A shortcut fails: %s", error)
        return False


def close(found: Tensor, expected: Tensor) -> bool:
    """Whether (N, V) logits give the same log-probabilities, up to rounding."""
    differences = found.float().log_softmax(-1) - expected.float().log_softmax(-1)
    return bool(differences.abs().max() <= ROUNDING[expected.dtype])
