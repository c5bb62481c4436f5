"""What all rules share: the checked study, and how settings and lists reach a command line."""

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Jobs find the steps wherever the workflow is run from, and the Python that runs it.
sys.path.insert(0, workflow.basedir)
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")])
)
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# Libraries' own progress bars write to log files now and then only.
os.environ.setdefault("TQDM_MININTERVAL", "15")
# By default glibc hands every freed tensor back to the system and each training or decoding step
# pays the page faults again: a quarter of the time on a CPU.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(8 << 30))

from scripts import cells
from scripts.command import InputError
from scripts.fingerprint import fingerprint
from scripts.study import config as study_config
from scripts.study import resources as study_resources
from scripts.study.preflight import preflight

try:
    STUDY = study_config.resolve(config)
except InputError as error:
    raise WorkflowError(str(error))

RESULTS = f"results/{STUDY.study}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
ENVIRONMENT = f"{workflow.basedir}/envs/environment.yaml"
OBJECTIVES = study_config.all_objectives(STUDY)
CELLS = study_config.experiment_cells(STUDY)
GRID_CELLS = study_config.sensitivity_cells(STUDY)
BASELINE_CELLS = study_config.baseline_cells(STUDY)
#: Models of the experiments, without the sensitivity grids' own.
MODELS = list(dict.fromkeys(cells.model_path(*cell[:4]) for cell in CELLS))

NAME = r"[A-Za-z0-9][A-Za-z0-9.+-]*"


wildcard_constraints:
    dataset=NAME,
    backbone=rf"(?!{cells.BASELINES}/){NAME}",
    objective=NAME,
    seed=r"\d+",
    decoder=NAME,
    history="with|without",


onstart:
    try:
        print(preflight(STUDY), file=sys.stderr, flush=True)
    except InputError as error:
        raise WorkflowError(str(error))


def as_json(settings) -> str:
    """Settings as compact JSON for a command line."""
    return settings.model_dump_json()


def listed(files) -> str:
    """Paths as one list option of a command line."""
    return json.dumps([str(file) for file in files])


def cell_files(stage: str, of: list, ending: str = "parquet") -> list[str]:
    """Files of a stage for the given cells."""
    return [f"{RESULTS}/{stage}/{cells.cell_path(cell)}.{ending}" for cell in of]


def prompt_of(wildcards) -> str:
    """The sentences of a data set."""
    return as_json(STUDY.datasets[wildcards.dataset].prompt)


def needs_gpu(wildcards) -> int:
    """GPUs that a job on a language model asks for."""
    return int(STUDY.device == "cuda")


def threads_of(wildcards) -> int:
    """CPU threads of a job on a language model: a scratch model is too small for more than one."""
    small = STUDY.backbones[wildcards.backbone].source.kind == "scratch"
    return 1 if small else STUDY.threads
