"""What comes behind a study's lists, at the paper's size: evaluation, analyses, tables, figures.

    python -m tests.rehearsal
    python -m tests.benchmarks.evaluation --folder scratch/evaluation

A finished rehearsal has every cell of a study. In a copy of it made-up lists, examples, titles and
token effects of the paper's size take the place of its own, and Snakemake makes all that follows.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.command import run
from scripts.contracts import CATALOGUE, EXAMPLES, RECOMMENDATIONS, TOKEN_EFFECTS
from scripts.files import read_table, write_table
from scripts.study.config import load
from scripts.study.outputs import OUTPUTS
from tests.benchmarks.measure import machine
from tests.benchmarks.raw_data import measure

ROOT = Path(__file__).resolve().parents[2]
#: Test examples and titles of every data set, ranks of a list, tokens of a target.
EXAMPLES_OF_TEST, ITEMS, DEPTH, TOKENS = 10_000, 20_000, 50, 10


def evaluation(folder: Path, rehearsal: Path = ROOT / "results/rehearsal") -> None:
    """Make the lists, and print CPU seconds and peak memory of what comes behind them.

    Args:
        folder: where the copy goes.
        rehearsal: folder of the finished rehearsal.
    """
    shutil.copytree(rehearsal, folder, symlinks=True)
    study, rng = load(folder / "config.yaml"), np.random.default_rng(0)
    results = folder / "results" / study.study
    ids = {data.name: make_data(data, rng) for data in sorted((results / "data").iterdir())}
    for path in sorted((results / "recommendations").rglob("*.parquet")):
        dataset = path.relative_to(results / "recommendations").parts[0]
        write_table(made_up_lists(ids[dataset], rng), path, RECOMMENDATIONS)
    for path in sorted((results / "token_effects").rglob("*.parquet")):
        dataset = path.relative_to(results / "token_effects").parts[0]
        write_table(made_up_effects(ids[dataset], rng), path, TOKEN_EFFECTS)
    metrics = [str(p.relative_to(folder)) for p in sorted((results / "metrics").rglob("*.parquet"))]
    made = [output.name for output in OUTPUTS if output.reads and output.when(study)]
    analyses = [f"{results.relative_to(folder)}/analyses/{name}.csv" for name in made]

    command = ["-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    command += ["--cores", "all", "--rerun-triggers", "mtime", "--quiet", "all"]
    measure([*command, "--touch"])
    for done in ("metrics", "analyses", "tables", "figures"):
        shutil.rmtree(results / done)
    print(machine())
    whole = 0.0
    stages = {"evaluate": metrics, "analyse": analyses, "tables, figures, report": ["all"]}
    for stage, targets in stages.items():
        _, seconds, peak_mb, _ = measure([*command, "--", *targets])
        whole += seconds
        print(f"{stage}: {seconds:.0f} CPU seconds, at most {peak_mb * 1e6 / 2**30:.2f} GB")
    print(f"{len(metrics)} files of {EXAMPLES_OF_TEST:,} lists: {whole / 60:.1f} CPU minutes")


def make_data(folder: Path, rng: np.random.Generator) -> np.ndarray:
    """Replace a data set's catalogue and test examples; returns the examples' ids, (n,)."""
    old = read_table(folder / "catalogue.parquet", CATALOGUE)
    number = np.arange(ITEMS)
    catalogue = old.iloc[number % len(old)].assign(item_id=number)
    catalogue["item"] = [f"I{i:07d}" for i in number]
    catalogue["title"] = [f"{t}, {i}" for i, t in enumerate(catalogue["title"])]
    write_table(catalogue, folder / "catalogue.parquet", CATALOGUE)
    path = folder / "examples/test.parquet"
    old = read_table(path, EXAMPLES)
    number = np.arange(EXAMPLES_OF_TEST)
    test = old.iloc[number % len(old)].assign(example_id=number + old["example_id"].min())
    test["user"] = [f"U{u:07d}" for u in rng.integers(0, 4 * len(test), len(test))]
    popularity = 1 / np.arange(1, ITEMS + 1)
    drawn = rng.choice(ITEMS, (len(test), 11), p=popularity / popularity.sum())
    test["history"], test["target"] = list(drawn[:, 1:]), drawn[:, 0]
    write_table(test, path, EXAMPLES)
    return test["example_id"].to_numpy()


def made_up_lists(ids: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Lists of popular titles more than others, none twice."""
    start = (ITEMS * rng.random((len(ids), 1)) ** 3).astype(int)
    ranks = np.arange(DEPTH)
    columns = {"example_id": np.repeat(ids, DEPTH), "rank": np.tile(ranks + 1, len(ids))}
    columns |= {"item_id": ((start + ranks * 7) % ITEMS).ravel(), "score": -columns["rank"]}
    return pd.DataFrame(columns)


def made_up_effects(ids: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Log-probabilities of targets of `TOKENS` tokens."""
    known, unknown = -rng.exponential(2, (2, len(ids) * TOKENS))
    columns = {"example_id": np.repeat(ids, TOKENS), "with_history": known}
    columns |= {"position": np.tile(np.arange(1, TOKENS + 1), len(ids)), "tokens": TOKENS}
    frame = pd.DataFrame(columns | {"without_history": unknown, "causal": known})
    return frame.assign(user="U" + frame["example_id"].astype(str), token="word")


if __name__ == "__main__":
    run(evaluation)
