"""What is there of a study, what runs, failed and is missing, and what could be deleted."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pandas as pd

from scripts.cells import BASE, BASELINES, Cell
from scripts.command import InputError, run
from scripts.contracts import PER_EXAMPLE
from scripts.files import read_table, read_yaml
from scripts.study import resources
from scripts.study.cells import headline_k, shown_cells
from scripts.study.config import load, resolve
from scripts.study.jobs import (
    LIVING,
    Job,
    files_of,
    is_locked,
    jobs_of,
    log_lines,
    name_of,
    seconds_left,
    telling_line,
)
from scripts.study.needs import preparation
from scripts.study.outputs import headline_datasets
from scripts.study.preflight import duration, find_gpus, size
from scripts.study.schema import Study

#: States that are told beside what is done.
TOLD = ("running", "failed")
#: Jobs of a state that are shown.
SHOWN = 10
#: Results that belong to a cell, a data set or a backbone.
KINDS = ("data", "backbones", "title_tokens", "models", "tuning", "recommendations")
KINDS += ("validation", "token_effects", "audits", "metrics")


def overview(study: Study, jobs: list[Job]) -> str:
    """What is done, running and failed, by the folder of the results."""
    counts = Counter((job.kind, job.state) for job in jobs)
    totals = Counter(job.kind for job in jobs)
    done = sum(job.state == "done" for job in jobs)
    lines = [f"Study '{study.study}' in results/{study.study}: {done:,} of {len(jobs):,} are there"]
    for kind, total in totals.items():
        told = [f"{counts[kind, state]:,} {state}" for state in TOLD if counts[kind, state]]
        line = f"  {kind:<16}{counts[kind, 'done']:>6,} of {total:<6,}{', '.join(told)}"
        lines.append(line.rstrip())
    for state in TOLD:
        found = [job for job in jobs if job.state == state]
        lines += [f"{state.capitalize()}:"] * bool(found)
        for job in found[:SHOWN]:
            since = f", for {duration(job.seconds)}" if job.seconds else ""
            lines.append(f"  {job.name}{since}")
            if state == "failed":
                why = telling_line(job.log) or ["its log is empty", *log_lines(job.log)][-1]
                lines += [f"    {why}", f"    {job.log}"]
        lines += [f"  and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
    return "\n".join(lines)


def time_left(study: Study, jobs: list[Job]) -> str:
    """How long the rest takes."""
    found = list(seconds_left(study, jobs, find_gpus()))
    total = sum(seconds or 0.0 for _, seconds, _ in found)
    guessed = sum(seconds or 0.0 for _, seconds, measured in found if not measured)
    # Others than models and their lists take seconds.
    uncounted = sum(seconds is None and job.cell is not None for job, seconds, _ in found)
    told = [f"{duration(guessed)} of it by the preflight's estimate"] * bool(guessed)
    told += [f"not counted: {uncounted} of which nothing is known yet"] * bool(uncounted)
    return "; ".join([f"Time left, one job after the other: about {duration(total)}", *told])


def so_far(study: Study) -> list[str]:
    """The mean of each method over the seeds that are measured, on the data sets of the headline,
    and its relative difference to plain fine-tuning over the seeds that both have."""
    metric = f"ndcg@{headline_k(study)}"
    measured: dict[Cell, pd.Series] = {}
    cells = [cell for cell in shown_cells(study) if cell.dataset in headline_datasets(study)]
    for cell in cells:
        file = Path(f"results/{study.study}/metrics/{cell.path}.parquet")
        if file.is_file():
            measured[cell] = read_table(file, PER_EXAMPLE, [metric])[metric]
    means = {cell: float(values.mean()) for cell, values in measured.items()}
    seeds = Counter(cell._replace(seed=0) for cell in cells)
    lines = [f"So far, mean {metric.upper()} without intervals; it decides nothing:"]
    for method in dict.fromkeys(cell._replace(seed=0) for cell in means):
        own = [cell for cell in means if cell._replace(seed=0) == method]
        line = f"  {method.dataset} {method.backbone} {method.objective} {method.decoder}: "
        line += f"{mean(means[cell] for cell in own):.4f}, {len(own)} of {seeds[method]} seeds, "
        line += f"{len(measured[own[0]]):,} examples"
        plain = {cell: cell._replace(objective=BASE) for cell in own}
        both = [cell for cell in own if plain[cell] in means and method.objective != BASE]
        if base := sum(means[plain[cell]] for cell in both):
            line += f"; {sum(means[c] for c in both) / base - 1:+.1%} to {BASE} on {len(both)}"
        lines.append(line)
    return lines if means else []


def downloads(study: Study) -> list[Path]:
    """Raw files and packages of a study, given with all its stages, that nothing in it needs any
    more: they are prepared or converted."""
    done: set[str] = set()
    needed: set[str] = set()
    for name, dataset in study.datasets.items():
        listed = resources.urls([dataset.source]) + resources.wheels([dataset.source])
        (done if preparation(study, name) else needed).update(path for path, _ in listed)
    for folder, source in resources.pretrained(one.source for one in study.backbones.values()):
        ready = (Path(folder) / "config.json").is_file()
        (done if ready else needed).update(path for path, _ in resources.wheels([source]))
    return [Path(path) for path in done - needed if Path(path).is_file()]


def strangers(study: Study) -> list[Path]:
    """Results of cells that are not in the study, given with all its stages; with the checkpoints
    of their training."""
    results = Path("results", study.study)
    known = {name_of(path) for path in files_of(study)}
    # The models of trained baselines have the names of their lists.
    lists = {name for name in known if f"/{BASELINES}/" in name}
    known |= {name.replace("recommendations/", "models/", 1) for name in lists}
    above = {str(folder) for name in known for folder in Path(name).parents}

    def among(folder: Path) -> Iterator[Path]:
        for path in folder.glob("[!.]*"):
            name = path.relative_to(results)
            if str(name) in above:
                yield from among(path)
            elif not {str(name), str(name.with_suffix(""))} & known:
                yield path

    return [path for kind in KINDS for path in among(results / kind)]


def free_of(configfile: Path) -> None:
    """Print what can be deleted of a study with its size, the largest first, and ask whether to.

    Raises:
        InputError: it is meant, and a run is going.
    """
    whole = resolve(read_yaml(configfile) | {"stage": None, "only": {}})
    found = dict.fromkeys(downloads(whole), "is prepared; other studies may need it")
    found |= dict.fromkeys(strangers(whole), "is not in the study")
    for path in sorted(found, key=bytes_of, reverse=True):
        print(f"  {size(bytes_of(path)):>7}  {path}: {found[path]}")
    print(f"Can be deleted: {size(sum(map(bytes_of, found)))}")
    if not found:
        return
    print("Delete all of it? Type yes: ", end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        return
    if is_locked(LIVING):
        raise InputError(f"a run is going in {Path.cwd()}; let it end first")
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def bytes_of(path: Path) -> int:
    """Size on disk of a file, or of a folder with all in it."""
    files = [path, *path.rglob("*")]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def status(configfile: Path = Path("config/config.yaml"), free: bool = False) -> None:
    """Print what is there of a study.

    Args:
        configfile: the study's YAML file; its files are looked for below the working directory.
        free: tell instead what can be deleted, and its size; it is deleted if you then say so.

    Raises:
        InputError: the configuration has faults.
    """
    if free:
        free_of(configfile)
        return
    study = load(configfile)
    jobs = jobs_of(study)
    summary = Path(f"results/{study.study}/summary.txt")
    if all(job.state == "done" for job in jobs) and summary.is_file():
        rest = [summary.read_text(encoding="utf-8").rstrip()]
    else:
        rest = [time_left(study, jobs), *so_far(study)]
    print("\n".join([overview(study, jobs), *rest]))


if __name__ == "__main__":
    run(status)
