"""What beam search misses: lists of several widths against the exact ranking of the catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.backbones.passes import padded
from scripts.command import progress, run
from scripts.decode.exact import score_catalogue
from scripts.decode.model import Finetuned, Ranking, by_title, load, queries_of
from scripts.decode.recommend import PROVEN_TOP, rank_constrained
from scripts.decode.settings import Constrained
from scripts.decode.trie import build_trie
from scripts.examples import EVALUATION_SEED, read_examples, subsample
from scripts.files import write_csv

#: Prompts whose catalogues are scored together.
BATCH = 4


def audit(finetuned: Finetuned, test: Path, beams: list[int], examples: int, output: Path) -> None:
    """Search a sample of the test examples with every width, and rank the whole catalogue for it.

    With history and without length penalty.

    Args:
        finetuned: the model.
        test: test examples.
        beams: widths of the searches.
        examples: size of the sample, the beginning of every sub-sample of the test split.
        output: CSV to write, a row per example and width, and one without width for the exact
            ranking: example_id, user, beams, rank (of the target, empty beyond the list), overlap
            (share of the exact top 10 in the list's top 10), proven (whether the search knows its
            top 10 to be exact), among_titles (log-probability of the target among all titles, of
            the exact ranking).
    """
    recommender = load(finetuned)
    titles, device = recommender.titles, recommender.device
    all_examples = read_examples(test, len(recommender.catalogue))
    sample = subsample(all_examples, examples, EVALUATION_SEED)
    queries, _ = queries_of(sample, recommender)
    trie = build_trie(titles.tokens)
    top = min(PROVEN_TOP, len(titles.text))

    targets = titles.of_item[sample["target"]]
    exact: list[Ranking] = []
    among: list[float] = []
    for start in progress(range(0, len(queries), BATCH), "catalogues"):
        prompts = [query.prompt for query in queries[start : start + BATCH]]
        ids, mask = padded(prompts, recommender.tokenizer.pad_token_id, device)
        scored = score_catalogue(recommender.model, trie, ids, mask, recommender.shortcuts.tree)
        shares = scored.log_softmax(1).cpu().numpy()
        wanted = titles.sequence[targets[start : start + BATCH]]
        among += shares[np.arange(len(shares)), wanted].tolist()
        for scores in scored.cpu().numpy():
            order = np.argsort(-scores, kind="stable")
            exact += by_title([Ranking(order, scores[order], proven=len(order))], titles)
    lists: dict[int | None, list[Ranking]] = {None: exact}
    for width in beams:
        decoder = Constrained(kind="constrained", beams=width)
        lists[width] = rank_constrained(recommender, trie, queries, decoder)
    rows = [
        {
            "example_id": example,
            "user": user,
            "beams": width,
            "rank": next(iter(np.flatnonzero(ranking.titles == target) + 1), None),
            "overlap": len(np.intersect1d(ranking.titles[:top], best.titles[:top])) / top,
            "proven": ranking.proven >= top,
            "among_titles": among_titles if width is None else None,
        }
        for width, rankings in lists.items()
        for example, user, target, best, ranking, among_titles in zip(
            sample["example_id"], sample["user"], targets, exact, rankings, among, strict=True
        )
    ]
    frame = pd.DataFrame(rows).astype({"beams": "Int64", "rank": "Int64"})
    write_csv(frame, output, sealed=True)


if __name__ == "__main__":
    run(audit)
