"""The columns of the files that one room hands to the next.

Order of rows: interactions by (timestamp, the user's first appearance among the kept rows, line or
draw); the catalogue by `item_id`; examples by `example_id`; recommendations by (`example_id`,
`rank`).
"""

from __future__ import annotations

import pyarrow as pa

#: The cut-offs K of HR@K and NDCG@K (paper, section on metrics; released code).
CUTOFFS = (1, 3, 5, 10, 20, 50)

#: Kept interactions. `user` and `item` are the source's own ids; `rating` may be null; UTC seconds.
INTERACTIONS = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("rating", pa.float32()),
        ("timestamp", pa.int64()),
    ]
)

#: The catalogue. `item_id` is 0..n-1 in the order of the source ids. `train_count` counts the
#: training examples whose target is the item; `popularity_group` 0 (rarest) to 4 holds equally
#: many items, ties by `item_id`.
CATALOGUE = pa.schema(
    [
        ("item_id", pa.int32()),
        ("item", pa.string()),
        ("title", pa.string()),
        ("train_count", pa.int32()),
        ("popularity_group", pa.int8()),
    ]
)

#: The parts of the examples, in the order of time.
SPLITS = ("train", "valid", "test")

#: Next-item examples. `example_id` numbers all examples of a data set in time order, through
#: train, valid and test; `history` holds item ids, oldest first.
EXAMPLES = pa.schema(
    [
        ("example_id", pa.int32()),
        ("user", pa.string()),
        ("history", pa.list_(pa.int32())),
        ("target", pa.int32()),
        ("timestamp", pa.int64()),
    ]
)

#: Ranked lists of any recommender. `rank` counts from 1; a higher `score` is better.
RECOMMENDATIONS = pa.schema(
    [
        ("example_id", pa.int32()),
        ("rank", pa.int32()),
        ("item_id", pa.int32()),
        ("score", pa.float32()),
    ]
)

#: Per-example metrics. `rank` of the target from 1, null where the list does not hold it. A hit or
#: gain at a K beyond the depth that the recommender lists is null, as it is not known.
PER_EXAMPLE = pa.schema(
    [("example_id", pa.int32()), ("user", pa.string()), ("rank", pa.int32())]
    + [(f"hr@{k}", pa.float32()) for k in CUTOFFS]
    + [(f"ndcg@{k}", pa.float32()) for k in CUTOFFS]
)

#: Log-probability of each target token with and without the history; `position` from 1, `tokens`
#: is the number of supervised tokens of the example, eos included; `token` its text, a blank as ␣.
TOKEN_EFFECTS = pa.schema(
    [
        ("example_id", pa.int32()),
        ("user", pa.string()),
        ("position", pa.int32()),
        ("tokens", pa.int32()),
        ("with_history", pa.float32()),
        ("without_history", pa.float32()),
        ("causal", pa.float32()),
        ("token", pa.string()),
    ]
)

#: The columns of CSV files that hold names and other text, whatever it looks like; one that is
#: missing is empty.
TEXT = (
    *("dataset", "block", "backbone", "baseline", "objective", "base", "decoder", "history"),
    *("device", "title", "token", "user", "stratum", "words", "x", "unit", "published", "needed"),
)
