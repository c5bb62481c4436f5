"""How many tokens the titles of a catalogue take with the tokenizer of a backbone."""

from __future__ import annotations

from pathlib import Path

from scripts.backbones.load import load_tokenizer
from scripts.command import progress, run
from scripts.examples import read_titles, summary
from scripts.files import write_json
from scripts.prompts import answer_ids


def title_tokens(catalogue: Path, backbone: Path, output: Path) -> None:
    """Count every title as it is supervised and decoded: in double quotes, with end-of-sequence.

    Args:
        catalogue: `catalogue.parquet` of a data set.
        backbone: folder of the backbone, of which only the tokenizer is loaded.
        output: JSON to write: mean, median, p95, max.
    """
    tokenizer = load_tokenizer(backbone)
    titles = read_titles(catalogue)
    lengths = [len(answer_ids(tokenizer, title)) for title in progress(titles, "titles")]
    write_json(summary(lengths), output)


if __name__ == "__main__":
    run(title_tokens)
