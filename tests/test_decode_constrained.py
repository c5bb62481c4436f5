"""The search over titles against transformers' beam search and against scoring every title."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaConfig

from scripts.backbones.passes import extend, padded
from scripts.command import InputError
from scripts.decode import constrained
from scripts.decode.constrained import search, to_device
from scripts.decode.trie import build_trie
from tests.tiny_models import tiny_model, whole_logits

VOCABULARY, EOS, PAD = 40, 0, 1
CPU = torch.device("cpu")


def make_titles(count, seed):
    """Distinct titles of 1 to 6 words, many with a common beginning."""
    rng = np.random.default_rng(seed)
    titles = set()
    while len(titles) < count:
        begin = (int(rng.integers(2, 6)), int(rng.integers(2, 6)))[: rng.integers(3)]
        titles.add((*begin, *rng.integers(2, VOCABULARY, size=rng.integers(1, 5)).tolist(), EOS))
    return sorted(titles)


TITLES = make_titles(60, seed=0)
PROMPTS = [
    (5, 9, 13, 7, 2, 8),
    (30, 31, 4, 6, 11, 3, 20, 21, 22, 23, 24, 25, 26),
    (14,),
    (17, 18, 19, 20),
]


def our_lists(model, titles, prompts, beams, length_penalty, shared=True):
    ids, mask = padded(prompts, PAD, CPU)
    trie = to_device(build_trie(titles), CPU)
    return search(model, trie, ids, mask, beams, length_penalty, shared=shared)


def title_scores(model, titles, prompt):
    """Sums of the log-probabilities of every title after the prompt, one at a time."""
    scores = []
    for title in titles:
        with torch.inference_mode():
            logits = whole_logits(model, prompt, title)
        scores.append(logits.log_softmax(-1)[range(len(title)), title].sum().item())
    return np.array(scores)


@cache
def exact_scores(architecture, seed=0):
    """The scores of all TITLES after each of PROMPTS, which several tests compare with."""
    model = tiny_model(architecture, VOCABULARY, seed=seed)
    return [title_scores(model, TITLES, prompt) for prompt in PROMPTS]


def generated_lists(model, titles, prompts, beams, length_penalty):
    """The same by `generate`, as lists of (title, score); what is no title is left out."""
    allowed = {}
    for title in titles:
        for end, token in enumerate(title):
            allowed.setdefault(title[:end], set()).add(token)
    ids, mask = padded(prompts, PAD, CPU)
    length = ids.shape[1]

    def allowed_tokens(_, sequence):
        return sorted(allowed.get(tuple(sequence[length:].tolist()), {EOS}))

    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        prefix_allowed_tokens_fn=allowed_tokens,
        generation_config=GenerationConfig(
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            length_penalty=length_penalty,
            early_stopping=False,
            renormalize_logits=False,
            max_new_tokens=max(map(len, titles)),
            eos_token_id=EOS,
            pad_token_id=PAD,
            output_scores=True,
            return_dict_in_generate=True,
        ),
    )
    lists = [[] for _ in prompts]
    for row, tokens in enumerate(output.sequences[:, length:].tolist()):
        title = tuple(tokens[: tokens.index(EOS) + 1]) if EOS in tokens else None
        if title not in titles:
            continue
        if beams == 1:  # A greedy search, which gives no scores.
            total = title_scores(model, [title], prompts[row])[0]
            score = total / len(title) ** length_penalty
        else:
            score = output.sequences_scores[row].item()
        lists[row // beams].append((titles.index(title), score))
    return lists


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("beams", [1, 5, 20])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox", "gemma2"])
def test_same_lists_as_generate(architecture, beams, length_penalty):
    model = tiny_model(architecture, VOCABULARY, seed=beams)
    ours = our_lists(model, TITLES, PROMPTS, beams, length_penalty)
    theirs = generated_lists(model, TITLES, PROMPTS, beams, length_penalty)
    for (found, scores, _), expected in zip(ours, theirs, strict=True):
        assert found.tolist() == [title for title, _ in expected]
        np.testing.assert_allclose(scores, [score for _, score in expected], atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "length_penalty", "shared"),
    [
        *(
            (name, p, True)
            for name in ("llama", "qwen3", "gpt_neox", "gemma3_text")
            for p in (0, 1)
        ),
        # ALiBi and recurrent layers know no tree; a model that does gets the same lists.
        *((name, 0, False) for name in ("llama", "mpt", "mamba")),
    ],
)
def test_wide_beams_rank_every_title_by_its_score(architecture, length_penalty, shared):
    model = tiny_model(architecture, VOCABULARY)
    lists = our_lists(model, TITLES, PROMPTS, 2 * len(TITLES), length_penalty, shared)
    lengths = np.array([len(title) for title in TITLES])
    for exact, (found, scores, proven) in zip(exact_scores(architecture), lists, strict=True):
        expected = exact / lengths**length_penalty
        order = np.argsort(-expected, kind="stable")
        assert found.tolist() == order.tolist()
        np.testing.assert_allclose(scores, expected[order], atol=1e-4)
        assert proven == len(TITLES)


def plain_search(model, titles, prompt, beams, length_penalty):
    """The search by its definition, each prefix run alone.

    Returns (title, score) of its list, the prefixes run until it stops, and without stopping.
    """
    running, found, passes, stopped = [(np.float32(0), ())], [], 0, None
    while running:
        options = []
        for score, prefix in running:
            with torch.inference_mode():
                logits = model(torch.tensor([[*prompt, *prefix]])).logits[0, -1]
            gain, end = logits.log_softmax(-1).numpy(), len(prefix)
            after = {title[end] for title in titles if title[:end] == prefix}
            options += [(score + gain[token], (*prefix, token)) for token in sorted(after)]
        passes += len(running)
        options = sorted(options, key=lambda option: -option[0])[: 2 * beams]
        penalty = np.float32((end + 1) ** length_penalty)
        found += [(score / penalty, one) for score, one in options[:beams] if one in titles]
        found = sorted(found, key=lambda f: (-f[0], titles.index(f[1])))[:beams]
        running = [option for option in options if option[1] not in titles][:beams]
        if not running or (len(found) == beams and running[0][0] / penalty <= found[-1][0]):
            stopped = stopped or ([(titles.index(one), score) for score, one in found], passes)
    return *stopped, passes


random_titles = st.lists(
    st.lists(st.integers(2, 5), max_size=8).map(lambda tokens: (*tokens, EOS)),
    min_size=1,
    max_size=15,
    unique=True,
)


@settings(max_examples=25)
@given(random_titles, st.integers(1, 6), st.sampled_from([0.0, 1.0]), st.booleans())
@example(TITLES[:1], 5, 0.0, False)
def test_running_ahead_changes_no_list(titles, beams, length_penalty, flat):
    """Nor does it in whole passes; with nothing to spare no token is run in vain."""
    model = tiny_model("llama", VOCABULARY)
    if flat:  # All titles of one length are ties.
        model.get_output_embeddings().weight.data.zero_()
    expected = [plain_search(model, titles, p, beams, length_penalty) for p in PROMPTS[:3]]
    tokens: list[int] = []

    def counted(*inputs):
        tokens.append(int(inputs[-1].sum()))
        return extend(*inputs)

    for spare, shared in [(0, True), (1024, True), (0, False)]:
        tokens.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(constrained.SPARE, "cpu", spare)
            patch.setattr(constrained, "extend", counted)
            lists = our_lists(model, titles, PROMPTS[:3], beams, length_penalty, shared)
        for (found, scores, _), (best, *_) in zip(lists, expected, strict=True):
            assert found.tolist() == [title for title, _ in best]
            np.testing.assert_allclose(scores, [score for _, score in best], atol=1e-4)
        # The plain search runs the prompts as well.
        needed, sure = (sum(one[i] - 1 for one in expected) for i in (1, 2))
        assert needed <= sum(tokens) <= (sure if spare or not shared else needed)


@pytest.mark.parametrize(("prompts", "spare"), [(1, 48), (4, 1024)])
def test_what_follows_for_sure_takes_one_pass(prompts, spare, monkeypatch):
    """Titles are alone after two tokens; then come up to nine more."""
    rng = np.random.default_rng(0)
    titles = [(2 + i % 4, 6 + i, *rng.integers(2, 30, 3 + i // 2).tolist(), EOS) for i in range(12)]
    passes = []
    monkeypatch.setitem(constrained.SPARE, "cpu", spare)
    monkeypatch.setattr(constrained, "extend", lambda *i: passes.append(0) or extend(*i))
    our_lists(tiny_model("llama", VOCABULARY), titles, PROMPTS[:prompts], 4, 0.0)
    assert len(passes) == 2


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("beams", [1, 3, 10, 30])
def test_what_is_proven_is_the_exact_top(beams, length_penalty):
    """Also that proofs come about at all: half the catalogue as beams proves something."""
    lengths = np.array([len(title) for title in TITLES])
    counts = []
    for seed in range(4):
        model = tiny_model("llama", VOCABULARY, seed=seed)
        lists = our_lists(model, TITLES, PROMPTS, beams, length_penalty)
        for scores, (found, _, proven) in zip(exact_scores("llama", seed), lists, strict=True):
            exact = np.argsort(-scores / lengths**length_penalty)
            assert found[:proven].tolist() == exact[:proven].tolist()
            counts.append(proven)
    if length_penalty == 0 and beams == 30:
        assert np.mean(counts) > 1


def test_a_wrong_list_is_not_proven():
    """A greedy step leads away from the better title: b then a scores .4 x .9, a then a .6 x .5."""

    class Scripted(torch.nn.Module):
        """P(next token) by the last token alone."""

        config = LlamaConfig(num_hidden_layers=1)
        dtype = torch.float32

        def forward(self, input_ids, past_key_values, logits_to_keep, **_):
            table = torch.full((6, 6), 1e-9)
            table[5, [2, 3]] = torch.tensor([0.6, 0.4])
            table[2, [2, 4]] = torch.tensor([0.5, 0.5])
            table[3, [4, 2]] = torch.tensor([0.9, 0.1])
            table[4, 0] = 1.0
            logits = table.log()[input_ids]
            past_key_values.update(*2 * [torch.zeros(len(input_ids), 1, input_ids.shape[1], 1)], 0)
            kept = logits[:, -1:] if isinstance(logits_to_keep, int) else logits[logits_to_keep]
            return SimpleNamespace(logits=kept)

    titles = [(2, 4, 0), (3, 4, 0)]
    trie = to_device(build_trie(titles), CPU)
    ids, mask = torch.tensor([[5]]), torch.tensor([[1]])
    [narrow] = search(Scripted(), trie, ids, mask, 1, 0.0)
    assert (narrow.titles.tolist(), narrow.proven) == ([0], 0)
    [wide] = search(Scripted(), trie, ids, mask, 2, 0.0)
    assert (wide.titles.tolist(), wide.proven) == ([1, 0], 2)
    np.testing.assert_allclose(wide.scores, np.log([0.36, 0.3]), rtol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers(value):
    model = tiny_model("llama", VOCABULARY)
    with torch.no_grad():
        model.lm_head.weight[3] = value
    with pytest.raises(InputError, match="logits that are not finite"):
        our_lists(model, TITLES, PROMPTS, 5, 0.0)
