"""Parts of a study: the blocks up to a stage, and of them what `only` names.

Parts share cells, files and names with the whole, so that what one has made the next one finds.
"""

from __future__ import annotations

from scripts.study.schema import Block, Only, Study

#: The keys of a study that are lists of blocks.
LISTS = ("experiments", "sensitivity", "history_length")


def part(study: Study) -> Study:
    """The study without what its keys `stage` and `only` leave out; it may have no experiments, and
    then is no study that can run.

    Data sets, with their baselines, and backbones go with the last block that uses them.
    Decoders and the baselines' seeds stay, as the primary claims and the assistant hang on which
    is first; objectives and methods, as nothing is made of them alone; so does a data set that
    decides the tuning of another. A part of a part is the same again.
    """
    kept = {
        key: [cut for block in getattr(study, key) if (cut := _asked(study, block))]
        for key in LISTS
    }
    one = study.search_error and _asked(study, study.search_error)
    smaller = study.model_copy(update={**kept, "search_error": one})
    deciding = {
        tuning.datasets[0]
        for tuning in study.tuning
        for block in blocks(smaller)
        if tuning.backbone in _names(block, "backbones")
        and tuning.objective in _names(block, "objectives")
        and not set(_names(block, "datasets")) <= set(tuning.datasets)
    }
    for kind in ("datasets", "backbones"):
        left_out = _used(study, kind) - _used(smaller, kind)
        wanted = getattr(study.only, kind) or getattr(study, kind)
        kept[kind] = {
            name: entry
            for name, entry in getattr(study, kind).items()
            if (name in wanted and name not in left_out)
            or (kind == "datasets" and name in deciding)
        }
    # Of a headline that is left out as a whole the names stay: none would mean all data sets.
    present = [name for name in study.headline if name in kept["datasets"]]
    return smaller.model_copy(update={**kept, "headline": present or study.headline})


def stages(study: Study) -> dict[int, Study]:
    """The part up to each stage that the study has blocks of, in the order of the stages."""
    numbers = sorted({block.stage for block in blocks(study)})
    return {number: part(study.model_copy(update={"stage": number})) for number in numbers}


def blocks(study: Study) -> list[Block]:
    """Every block of a study."""
    listed = [block for key in LISTS for block in getattr(study, key)]
    return [*listed, *filter(None, [study.search_error])]


def _asked(study: Study, block: Block) -> Block | None:
    """A block as far as it is asked for; None where nothing of it is."""
    if study.stage is not None and block.stage > study.stage:
        return None
    kept = {}
    for kind in Only.model_fields:
        wanted = getattr(study.only, kind)
        names = [name for name in _names(block, kind) if not wanted or name in wanted]
        if not names:
            return None
        if hasattr(block, kind):
            kept[kind] = names
    return block.model_copy(update=kept)


def _names(block: Block, kind: str) -> list:
    """Data sets, backbones or seeds of a block, which names several or one."""
    return getattr(block, kind, None) or [getattr(block, kind.removesuffix("s"))]


def _used(study: Study, kind: str) -> set[str]:
    """Data sets or backbones that a block uses."""
    return {name for block in blocks(study) for name in _names(block, kind)}
