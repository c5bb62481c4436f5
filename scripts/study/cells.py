"""The cells that a study spans, and what it compares."""

from __future__ import annotations

import itertools

from scripts.baselines.settings import Trained
from scripts.cells import BASE, BASELINES, Cell, baseline_cell
from scripts.contracts import CUTOFFS
from scripts.decode.settings import HISTORIES
from scripts.finetune.settings import TUNED, Objective, Training
from scripts.study.schema import Sensitivity, Study, Tuning
from scripts.study.stages import stages


def experiment_cells(study: Study) -> list[Cell]:
    """The cells of the experiments, each once, in the order of the configuration."""
    cells = (
        Cell(*point)
        for block in study.experiments
        for point in itertools.product(
            block.datasets,
            block.backbones,
            block.objectives,
            block.seeds,
            block.decoders,
            block.histories,
        )
    )
    return list(dict.fromkeys(cells))


def shown_cells(study: Study) -> list[Cell]:
    """Those of the experiments that see their history."""
    return [cell for cell in experiment_cells(study) if cell.history == "with"]


def decoded_cells(study: Study) -> list[Cell]:
    """The cells that a model is decoded for."""
    cells = experiment_cells(study) + sensitivity_cells(study) + history_length_cells(study)
    return list(dict.fromkeys(cells))


def decodings(study: Study) -> list[tuple[str, dict[str, tuple[str, ...]]]]:
    """The lists that jobs make and measure together: a model, and by decoder the histories that it
    runs with, `with` first. What a later stage adds to a model stands by itself, so that its jobs
    are the same whichever stages are run."""
    lists: dict[tuple[str, int], dict[str, set[str]]] = {}
    known: set[Cell] = set()
    for stage, part in stages(study).items():
        cells = decoded_cells(part)
        for cell in cells:
            if cell not in known:
                decoders = lists.setdefault((cell.model, stage), {})
                decoders.setdefault(cell.decoder, set()).add(cell.history)
        known.update(cells)
    return [
        (model, {name: tuple(sorted(of, key=HISTORIES.index)) for name, of in decoders.items()})
        for (model, _), decoders in lists.items()
    ]


def baseline_cells(study: Study) -> list[Cell]:
    """The cells of the baselines; one that is not trained has the first seed alone, and given lists
    have the data sets and histories that they are given for."""
    return [
        baseline_cell(dataset, name, seed, history)
        for dataset in study.datasets
        for name, baseline in study.baselines.items()
        for seed in study.baseline_seeds[: None if isinstance(baseline, Trained) else 1]
        for history in HISTORIES
        if history in getattr(baseline, "files", {dataset: ["with"]}).get(dataset, ())
    ]


def baseline_lists(study: Study) -> dict[str, list[str]]:
    """The folders of the baselines, each with the lists in it."""
    lists: dict[str, list[str]] = {}
    for cell in baseline_cells(study):
        folder = f"{cell.dataset}/{BASELINES}/{cell.baseline}"
        lists.setdefault(folder, []).append(cell.path.removeprefix(f"{folder}/"))
    return lists


def shown_baselines(study: Study) -> list[Cell]:
    """Those of the baselines that see their history."""
    return [cell for cell in baseline_cells(study) if cell.history == "with"]


def grid_objectives(study: Study, grid: Sensitivity) -> dict[str, Objective]:
    """The objectives of a sensitivity grid by name; a point that is the centre keeps its name.

    Raises:
        ValidationError: a point is no objective.
    """
    centre = study.objectives[grid.objective]
    points = {grid.objective: centre}
    for parameter, values in (("alpha", grid.alpha), ("beta", grid.beta)):
        for value in values:
            point = Objective.model_validate(centre.model_dump() | {parameter: value})
            if point != centre:
                points[f"{grid.objective}-{parameter}{value:g}"] = point
    return points


def tuning_objectives(study: Study, tuning: Tuning) -> dict[str, Objective]:
    """The objectives that a tuning tries, by name, in the order of their values: of equal ones the
    first is chosen, and Snakemake does not see in what order a list stands.

    Raises:
        ValidationError: one is no objective.
    """
    keys = [key for key in TUNED if getattr(tuning, key)]
    base, points = study.objectives[tuning.objective].model_dump(), {}
    for values in itertools.product(*(sorted(getattr(tuning, key)) for key in keys)):
        point = dict(zip(keys, values, strict=True))
        parts = [f"{key.replace('_', '-')}{value:g}" for key, value in point.items()]
        points["-".join([tuning.objective, *parts])] = Objective.model_validate(base | point)
    return points


def all_objectives(study: Study) -> dict[str, Objective]:
    """Every objective that is trained, the points of grids and tunings included."""
    objectives = dict(study.objectives)
    for grid in study.sensitivity:
        objectives |= grid_objectives(study, grid)
    for tuning in study.tuning:
        objectives |= tuning_objectives(study, tuning)
    return objectives


def tuned_by(study: Study, dataset: str, backbone: str, objective: str) -> dict[Cell, Tuning]:
    """The cells whose validation decides the settings of an objective; none where none does."""
    base = base_of(study, dataset)
    return {
        Cell(on, backbone, point, tuning.seed, tuning.decoder, "with"): tuning
        for tuning in study.tuning
        if (tuning.backbone, tuning.objective) == (backbone, objective)
        for on in [base if base in tuning.datasets else tuning.datasets[0]]
        for point in tuning_objectives(study, tuning)
    }


def tuning_cells(study: Study) -> dict[Cell, Tuning]:
    """The cells that decide the settings of any model, each with its tuning."""
    models = dict.fromkeys(cell[:3] for cell in decoded_cells(study) + search_error_cells(study))
    return {cell: of for model in models for cell, of in tuned_by(study, *model).items()}


def sensitivity_cells(study: Study) -> list[Cell]:
    """The cells of the sensitivity grids, each once; some are experiment cells too."""
    cells = (
        Cell(grid.dataset, grid.backbone, objective, seed, grid.decoder, "with")
        for grid in study.sensitivity
        for seed in grid.seeds
        for objective in grid_objectives(study, grid)
    )
    return list(dict.fromkeys(cells))


def grid_cells(study: Study) -> list[Cell]:
    """The cells of the grids, after those of plain fine-tuning that share a setting with them."""
    points = sensitivity_cells(study)
    settings = {point._replace(objective=BASE) for point in points}
    bases = [cell for cell in experiment_cells(study) if cell in settings]
    return list(dict.fromkeys(bases + points))


def grid_points(study: Study) -> dict[str, dict[str, float]]:
    """Alpha and beta of every point of the grids."""
    return {
        name: point.model_dump(include={"alpha", "beta"})
        for grid in study.sensitivity
        for name, point in grid_objectives(study, grid).items()
    }


def grid_centre(study: Study) -> str:
    """The objective in the middle of the grids; empty where there are none."""
    return next((grid.objective for grid in study.sensitivity), "")


def at_length(study: Study, dataset: str, length: int) -> str:
    """Name of a data set with its histories cut at a length: its own at its own length."""
    own = study.datasets[dataset].preparation.max_history
    return dataset if length == own else f"{dataset}+history{length}"


def history_lengths(study: Study) -> dict[str, tuple[str, int]]:
    """The data sets of `history_length`, each with the one that it is cut from and its length."""
    return {
        at_length(study, ladder.dataset, length): (ladder.dataset, length)
        for ladder in study.history_length
        for length in ladder.lengths
    }


def recut_datasets(study: Study) -> dict[str, tuple[str, int]]:
    """Those of `history_lengths` that are no data sets of the study themselves."""
    lengths = history_lengths(study)
    return {name: cut for name, cut in lengths.items() if name != cut[0]}


def base_of(study: Study, dataset: str) -> str:
    """The data set itself, or the one that it is cut from."""
    return history_lengths(study).get(dataset, (dataset, 0))[0]


def history_length_cells(study: Study) -> list[Cell]:
    """The cells of `history_length`, each once; some are experiment cells too."""
    cells = (
        Cell(at_length(study, one.dataset, length), one.backbone, *point, one.decoder, "with")
        for one in study.history_length
        for length in one.lengths
        for point in itertools.product(one.objectives, one.seeds)
    )
    return list(dict.fromkeys(cells))


def training_of(study: Study, dataset: str, backbone: str) -> Training:
    """How a backbone is fine-tuned on a data set: on the smaller sub-sample of the two's."""
    training = study.backbones[backbone].training
    limits = [training.train_examples, study.datasets[base_of(study, dataset)].train_examples]
    smaller = min((limit for limit in limits if limit is not None), default=None)
    return training.model_copy(update={"train_examples": smaller})


def search_error_cells(study: Study) -> list[Cell]:
    """The models whose search is compared with the exact ranking; they have no decoder."""
    if not (one := study.search_error):
        return []
    return [
        Cell(one.dataset, one.backbone, objective, seed, "", "with")
        for objective in one.objectives
        for seed in one.seeds
    ]


def case_cells(study: Study) -> list[Cell]:
    """The cells of the case study: of the first experiment that compares an objective with
    `plain`, its first data set, backbone, decoder and seed, and its last objective. First `plain`,
    then the objective, then the same without the history if the experiment has it, then the first
    seed of each baseline; empty where nothing is compared."""
    for block in study.experiments:
        others = [name for name in block.objectives if name != BASE]
        if not others or BASE not in block.objectives or "with" not in block.histories:
            continue
        first = (block.seeds[0], block.decoders[0])
        shown = [(BASE, "with"), (others[-1], "with"), (others[-1], "without")]
        models = [
            Cell(block.datasets[0], block.backbones[0], objective, *first, history)
            for objective, history in shown
            if history in block.histories
        ]
        baselines: dict[str, Cell] = {}
        for cell in shown_baselines(study):
            if cell.dataset == block.datasets[0]:
                baselines.setdefault(cell.baseline, cell)
        return [*models, *baselines.values()]
    return []


def headline_k(study: Study) -> int:
    """The K that figures show: 10, or the largest one that every used decoder's lists reach."""
    used = {decoder for block in study.experiments for decoder in block.decoders}
    used |= {grid.decoder for grid in [*study.sensitivity, *study.history_length]}
    depth = min(study.decoders[name].depth for name in used)
    return max(k for k in CUTOFFS if k <= min(depth, 10))


def compares_objectives(study: Study) -> bool:
    """Whether the experiments compare an objective, with the history, with `plain`."""
    cells = set(shown_cells(study))
    return any(cell.objective != BASE and cell._replace(objective=BASE) in cells for cell in cells)


def probes_histories(study: Study) -> bool:
    """Whether a recommender is shown anything else than its history."""
    return any(cell.history != "with" for cell in baseline_cells(study) + experiment_cells(study))


def equal_weight_bases(study: Study) -> dict[str, str]:
    """Objectives of the experiments, each with the one that has equal token weights and is the same
    otherwise; those that have none, or none that differs in nothing else, are left out, and so are
    those with settings that a tuning chooses."""
    tuned = {tuning.objective for tuning in study.tuning}
    trained: dict[str, set[Cell]] = {}
    for cell in shown_cells(study):
        if cell.objective not in tuned:
            trained.setdefault(cell.objective, set()).add(cell._replace(objective=""))
    settings = {name: study.objectives[name] for name in trained}
    equal = {"token_weights": "linear", "beta": 1.0}
    names = {one: name for name, one in settings.items()}
    bases = {name: names.get(one.model_copy(update=equal)) for name, one in settings.items()}
    return {
        name: base
        for name, base in bases.items()
        if base not in (None, name) and trained[name] & trained[base]
    }


def weighted_cells(study: Study) -> list[Cell]:
    """The cells with history of the objectives that differ in their token weights alone."""
    bases = equal_weight_bases(study)
    both = {*bases, *bases.values()}
    return [cell for cell in shown_cells(study) if cell.objective in both]


def compared_objectives(study: Study) -> dict[str, list[str]]:
    """The pairs of objectives that are compared: by base the others, none for all that there are.

    Everything is compared with `plain`; what differs in its token weights alone with the one that
    has equal ones; and the whole of CFT with each of its parts.
    """
    used = {cell.objective for cell in experiment_cells(study)}
    parts = {"weighted": "cft", "causal": "cft", "cft": "cft-learned"}
    pairs = [(base, name) for base, name in parts.items() if {base, name} <= used]
    pairs += [(base, name) for name, base in equal_weight_bases(study).items()]
    compared: dict[str, list[str]] = {BASE: []}
    for base, name in pairs:
        if base != BASE and name not in compared.setdefault(base, []):
            compared[base].append(name)
    return compared


def shared_datasets(study: Study) -> list[str]:
    """Data sets on which a method is compared with its base on several backbones."""
    backbones: dict[tuple[str, str], set[str]] = {}
    for dataset, backbone, method in _compared_methods(study):
        backbones.setdefault((dataset, method), set()).add(backbone)
    return list(dict.fromkeys(name for (name, _), found in backbones.items() if len(found) > 1))


def beyond_amazon(study: Study) -> list[str]:
    """Data sets of other sources than Amazon, where the study has Amazon's, too: alone they say
    nothing of what lies beyond. Local ones may be from anywhere, and count as Amazon's."""
    amazon = ("amazon", "local")
    other = [
        name for name, data in study.datasets.items() if not data.source.kind.startswith(amazon)
    ]
    return other if len(other) < len(study.datasets) else []


def compared_beyond_amazon(study: Study) -> list[str]:
    """Those of `beyond_amazon` on which a method is compared with its base."""
    compared = {dataset for dataset, _, _ in _compared_methods(study)}
    return [name for name in beyond_amazon(study) if name in compared]


def _compared_methods(study: Study) -> list[tuple[str, str, str]]:
    """Data set, backbone and label of every method that is compared with its base."""
    cells = set(experiment_cells(study))
    by_label = {method.label: method for method in study.methods}
    return list(
        dict.fromkeys(
            (cell.dataset, cell.backbone, method.label)
            for cell in experiment_cells(study)
            for method in study.methods
            if method.base is not None
            and (cell.objective, cell.decoder, cell.history)
            == (method.objective, method.decoder, "with")
            and (base := by_label[method.base]).decoder == method.decoder
            and cell._replace(objective=base.objective) in cells
        )
    )
