"""The flat trie against a dictionary of prefixes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.decode.trie import build_trie, leaf_ranges, levels, parents

EOS = 0
titles = st.lists(
    st.lists(st.integers(1, 4), max_size=5).map(lambda tokens: (*tokens, EOS)),
    min_size=1,
    max_size=25,
    unique=True,
)


@given(titles)
def test_walks_of_the_trie_are_the_prefixes(sequences):
    children = {}
    for sequence in sequences:
        for end in range(len(sequence)):
            children.setdefault(sequence[:end], set()).add(sequence[end])
    trie = build_trie(sequences)
    assert all(array.dtype == np.int32 for array in trie)
    walked = {}
    waiting = [(0, ())]
    while waiting:
        node, prefix = waiting.pop()
        kids = range(trie.first_child[node], trie.first_child[node + 1])
        tokens = [int(trie.token[kid]) for kid in kids]
        assert tokens == sorted(tokens)
        if tokens:
            walked[prefix] = set(tokens)
        else:
            assert prefix in sequences
        waiting += [(kid, (*prefix, token)) for kid, token in zip(kids, tokens, strict=True)]
    assert walked == children
    assert len(trie.token) == len(trie.first_child) - 1
    assert len(trie.token) == 1 + sum(map(len, children.values()))


def test_by_hand():
    trie = build_trie([[7, 8, EOS], [5, EOS], [7, EOS]])
    assert trie.token.tolist() == [-1, 5, 7, 0, 0, 8, 0]
    assert trie.first_child.tolist() == [1, 3, 4, 6, 6, 6, 7, 7]
    assert trie.order.tolist() == [1, 2, 0]
    first, last = leaf_ranges(trie)
    assert first.tolist() == [0, 0, 1, 0, 1, 2, 2]
    assert last.tolist() == [3, 1, 3, 1, 2, 3, 3]
    assert parents(trie).tolist() == [0, 0, 0, 1, 2, 2, 5]


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one"),
        ([[1], []], "no empty one"),
        ([[1, 0], [2, 0], [1, 0]], "equal"),
        ([[1, 2], [1, 2, 0]], "prefix"),
        ([[1, 2, 0], [1]], "prefix"),
    ],
)
def test_what_is_no_trie(sequences, message):
    with pytest.raises(ValueError, match=message):
        build_trie(sequences)


@given(titles)
def test_the_sequences_below_a_node_are_a_slice(sequences):
    trie = build_trie(sequences)
    first, last = leaf_ranges(trie)
    assert [sequences[i] for i in trie.order] == sorted(sequences)
    waiting = [(0, ())]
    while waiting:
        node, prefix = waiting.pop()
        below = trie.order[first[node] : last[node]]
        expected = [i for i, s in enumerate(sequences) if s[: len(prefix)] == prefix]
        assert sorted(below) == expected
        assert node in range(*levels(trie)[len(prefix)].indices(len(trie.token)))
        kids = range(trie.first_child[node], trie.first_child[node + 1])
        waiting += [(kid, (*prefix, int(trie.token[kid]))) for kid in kids]
