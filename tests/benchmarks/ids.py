"""What the distinct ids alone cost: a dict from every user's and every item's id to its code."""

from __future__ import annotations

from pathlib import Path

from scripts.command import run
from scripts.files import read_json
from tests.benchmarks.generate import item_id, user_id


def hold_ids(facts: Path) -> None:
    """Hold as many ids as a made-up set has.

    Args:
        facts: The set's `facts.json`.
    """
    found = read_json(facts)
    users = {user_id(code): code for code in range(found["users"])}
    items = {item_id(code): code for code in range(found["items"])}
    assert len(users) + len(items) == found["users"] + found["items"]


if __name__ == "__main__":
    run(hold_ids)
