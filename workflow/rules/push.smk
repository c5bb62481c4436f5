"""Fine-tuned models on a model hub, where `push_to_hub` of the configuration names an owner."""


def model_of_job(wildcards) -> str:
    """The model, as its cells have it."""
    return f"{wildcards.dataset}/{wildcards.backbone}/{wildcards.objective}/seed-{wildcards.seed}"


rule push:
    input:
        run=f"{MODEL}/run.json",
        metrics=lambda wildcards: results(
            f"metrics/{cell.path}.parquet"
            for cell in study_cells.shown_cells(STUDY)
            if cell.model == model_of_job(wildcards)
        ),
    output:
        f"{RESULTS}/hub/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.json",
    log:
        f"{LOGS}/push/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.log",
    localrule: True
    params:
        code=fingerprint("scripts.push"),
        model=lambda wildcards, input: str(Path(input.run).parent),
        k=study_cells.headline_k(STUDY),
        repository=lambda wildcards: f"{STUDY.push_to_hub}/{STUDY.study}-"
        + model_of_job(wildcards).replace("/", "-"),
    shell:
        "python -m scripts.push --model {params.model:q} --metrics {input.metrics:q} --k {params.k}"
        " --repository {params.repository:q} --output {output:q} &> {log:q}"
