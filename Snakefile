"""Counterfactual fine-tuning (arXiv 2410.22809): from raw reviews to every table and figure."""

#: The checkout. `workflow.basedir` may be the one of a workflow that uses this one as a module.
CHECKOUT = workflow.current_basedir.get_path_or_uri(secret_free=True)
if not os.path.isdir(CHECKOUT):
    raise WorkflowError(f"{CHECKOUT} holds no steps; clone the repository and name its Snakefile")

# `--configfile` replaces the paper's study instead of being merged into it.
if not workflow.config_settings.configfiles:

    configfile: f"{CHECKOUT}/config/config.yaml"


# Used with `--sdm apptainer` alone; envs/Dockerfile says how it is built.
container: f"{CHECKOUT}/envs/cft.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/backbones.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/decode.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/push.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.tables.input,
        rules.figures.input,
        results(study_outputs.pushed(STUDY)),
        # What reads them may be there already, and Snakemake would go on without a missing file.
        [
            f"{RESULTS}/recommendations/{cell.path}.parquet"
            for cell in study_cells.baseline_cells(STUDY)
        ],


rule data:
    input:
        rules.analysis_statistics.input.datasets,
        rules.table_statistics.output,
        rules.figure_data.output,


rule d3:
    input:
        expand(rules.d3_format.output, dataset=STUDY.datasets),


rule recbole:
    input:
        expand(rules.recbole_format.output, dataset=STUDY.datasets),


rule trec:
    input:
        [f"{RESULTS}/trec/{cell.path}.run" for cell in study_cells.baseline_cells(STUDY)],
        [f"{RESULTS}/trec/{cell.path}.run" for cell in study_cells.decoded_cells(STUDY)],
