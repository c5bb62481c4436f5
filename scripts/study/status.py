"""What is there of a study, what runs, failed and is missing, and what could be deleted."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import nullcontext
from pathlib import Path
from statistics import mean

from scripts.cells import BASE, Cell
from scripts.command import InputError, run
from scripts.contracts import PER_EXAMPLE
from scripts.files import read_table, read_yaml
from scripts.study.cells import headline_k, shown_cells
from scripts.study.config import load, resolve
from scripts.study.jobs import Job, expected, jobs_of, telling_line, without_runs
from scripts.study.leftovers import delete, leftovers
from scripts.study.outputs import headline_datasets
from scripts.study.preflight import duration, find_gpus, size
from scripts.study.schema import Study

#: Kinds of files in words, in the order in which they are made.
KINDS = {
    "raw": "downloads to make",
    "wheels": "packages to fetch",
    "data": "data sets prepared",
    "backbones": "backbones ready",
    "title_tokens": "titles counted",
    "models": "models trained",
    "tuning": "assistants tuned",
    "recommendations": "lists made",
    "token_effects": "token effects",
    "audits": "searches audited",
    "metrics": "lists measured",
    "analyses": "analyses",
    "tables": "tables",
    "figures": "figures",
    "report": "report",
}
#: Jobs of a state that are shown.
SHOWN = 10


def overview(study: Study, jobs: list[Job]) -> str:
    """What is done and running, what failed, and how long the rest takes."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        counts[job.name.split("/")[0]][job.state] += len(job.files)
    total = sum(counts.values(), Counter())
    done = f"{total['done']:,} of {total.total():,}"
    lines = [f"Study '{study.study}' in results/{study.study}: {done} files are there"]
    for kind in sorted(counts, key=[*KINDS].index):
        states = [f"{counts[kind][state]:,} {state}" for state in ("running", "failed", "stopped")]
        told = ", ".join(text for text in states if text[0] != "0")
        done = f"{counts[kind]['done']:,} of {counts[kind].total():,}"
        lines.append(f"  {KINDS[kind]:<19}{done:>14}  {told}".rstrip())
    for state in ("running", "failed", "stopped"):
        found = [job for job in jobs if job.state == state]
        lines += [f"{state.capitalize()}:"] * bool(found)
        for job in found[:SHOWN]:
            since = f", for {duration(job.seconds)}" if job.seconds else ""
            lines.append(f"  {job.name}{since}")
            if state == "failed":
                why = telling_line(Path(job.log)) or "its log does not say why"
                lines += [f"    {why}", f"    {job.log}"]
        lines += [f"  and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
    return "\n".join(lines)


def time_left(study: Study, jobs: list[Job]) -> str:
    """How long the rest takes."""
    total = guessed = 0.0
    uncounted = 0
    for job, seconds, measured in expected(study, jobs, find_gpus()):
        rest = max(0.0, (seconds or 0.0) - (job.seconds or 0.0))
        total += rest
        guessed += rest * (not measured)
        # Others than models and their lists take seconds.
        uncounted += seconds is None and any(job.files.values())
    told = [f"{duration(guessed)} of it by the preflight's estimate"] * bool(guessed)
    told += [f"not counted: {uncounted} jobs that nothing is known of yet"] * bool(uncounted)
    return "; ".join([f"Time left, one job after the other: about {duration(total)}", *told])


def so_far(study: Study) -> list[str]:
    """The mean of each method over the seeds that are measured, on the data sets of the headline,
    and its relative difference to plain fine-tuning over the seeds that both have."""
    metric = f"ndcg@{headline_k(study)}"
    methods: dict[Cell, dict[int, float]] = defaultdict(dict)
    seeds: Counter[Cell] = Counter()
    examples = {}
    for cell in shown_cells(study):
        file = Path(f"results/{study.study}/metrics/{cell.path}.parquet")
        method = cell._replace(seed=0)
        seeds[method] += 1
        if file.is_file() and cell.dataset in headline_datasets(study):
            values = read_table(file, PER_EXAMPLE, [metric])[metric]
            methods[method][cell.seed], examples[method] = float(values.mean()), len(values)
    lines = []
    for method, found in methods.items():
        name = f"{method.dataset} {method.backbone} {method.objective} {method.decoder}"
        line = f"  {name}: {mean(found.values()):.4f}, {len(found)} of {seeds[method]} seeds, "
        line += f"{examples[method]:,} examples"
        base = methods.get(method._replace(objective=BASE), {})
        both = [seed for seed in found if seed in base]
        if method.objective != BASE and (plain := sum(base[seed] for seed in both)):
            line += f"; {sum(found[s] for s in both) / plain - 1:+.1%} to {BASE} on {len(both)}"
        lines.append(line)
    head = f"So far, mean {metric.upper()} without intervals; it decides nothing:"
    return [head, *lines] if lines else []


def freed(configfile: Path, yes: bool) -> str:
    """What can be deleted of a study, the largest first; deleted, where that is meant.

    Raises:
        InputError: it is meant, and a run is going.
    """
    whole = resolve(read_yaml(configfile) | {"stage": None, "only": {}})
    with without_runs() if yes else nullcontext():
        found = sorted(leftovers(whole), key=lambda one: one.bytes, reverse=True)
        lines = [
            f"  {size(one.bytes):>7}  {one.path}: {one.what}; costs {one.cost}" for one in found
        ]
        total = size(sum(one.bytes for one in found))
        if yes:
            delete(found)
    if not found:
        return "Nothing can be deleted"
    head = f"Deleted, {total}:" if yes else f"Can be deleted, {total}; add --yes to do it:"
    return "\n".join([head, *lines])


def status(
    configfile: Path = Path("config/config.yaml"), free: bool = False, yes: bool = False
) -> None:
    """Print what is there of a study.

    Args:
        configfile: the study's YAML file; its files are looked for below the working directory.
        free: tell instead what can be deleted, its size, and what it costs to have it again.
        yes: delete it.

    Raises:
        InputError: the configuration has faults, or `yes` is given without `free`.
    """
    if yes and not free:
        raise InputError("--yes deletes what --free lists; give both, or neither")
    if free:
        print(freed(configfile, yes))
        return
    study = load(configfile)
    jobs = jobs_of(study)
    print(overview(study, jobs))
    summary = Path(f"results/{study.study}/summary.txt")
    if all(job.state == "done" for job in jobs) and summary.is_file():
        print(summary.read_text(encoding="utf-8").rstrip())
    else:
        print("\n".join([time_left(study, jobs), *so_far(study)]))


if __name__ == "__main__":
    run(status)
