"""How many tokens the titles of a catalogue take with the tokenizer of a backbone."""

from __future__ import annotations

from pathlib import Path

from scripts.backbones.load import load_tokenizer
from scripts.command import run
from scripts.data.settings import Prompt
from scripts.examples import read_titles, summary
from scripts.files import write_json
from scripts.prompts import answers_of, prompt_text, sequence_ids, sharing


def title_tokens(
    catalogue: Path, backbone: Path, prompt: Prompt, max_tokens: int, output: Path
) -> None:
    """Count every title as it is supervised and decoded: in double quotes, with end-of-sequence.

    Args:
        catalogue: `catalogue.parquet` of a data set.
        backbone: folder of the backbone, of which only the tokenizer is loaded.
        prompt: the data set's sentences.
        max_tokens: longest prompt of the backbone's training.
        output: JSON to write: mean, median, p95, max; too_long, the titles that no prompt can hold,
            not even alone; sharing_tokens, the distinct titles with the same tokens as another.
    """
    tokenizer = load_tokenizer(backbone)
    titles = read_titles(catalogue)
    answers = answers_of(tokenizer, titles)
    alone = sequence_ids(tokenizer, [prompt_text(prompt, [title]) for title in titles])
    counts = {
        "too_long": sum(len(ids) > max_tokens for ids in alone),
        "sharing_tokens": sharing(dict(zip(titles, map(tuple, answers), strict=True)).values()),
    }
    write_json(summary([*map(len, answers)]) | counts, output)


if __name__ == "__main__":
    run(title_tokens)
