"""Fine-tuned models on a model hub, where `push_to_hub` of the configuration names an owner."""


rule push:
    input:
        run=f"{RESULTS}/models/{MODEL}/run.json",
        metrics=metrics_of_model,
    output:
        f"{RESULTS}/hub/{MODEL}.json",
    log:
        f"{LOGS}/hub/{MODEL}.log",
    localrule: True
    params:
        code=fingerprint("scripts.push"),
        model=lambda wildcards, input: str(Path(input.run).parent),
        k=study_cells.headline_k(STUDY),
        repository=lambda wildcards: "-".join(
            [f"{STUDY.push_to_hub}/{STUDY.study}", *wildcards[:3], f"seed-{wildcards.seed}"]
        ),
    shell:
        "python -m scripts.push --model {params.model:q} --metrics {input.metrics:q} --k {params.k}"
        " --repository {params.repository:q} --output {output:q} &> {log:q}"
