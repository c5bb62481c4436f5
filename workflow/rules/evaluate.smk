"""Per-example measurements of recommendations and of models."""


rule per_example:
    input:
        recommendations=f"{RESULTS}/recommendations/{{dataset}}/{{cell}}.parquet",
        examples=rules.prepare.output.test,
        catalogue=rules.prepare.output.catalogue,
    output:
        f"{RESULTS}/metrics/{{dataset}}/{{cell}}.parquet",
    log:
        f"{LOGS}/per_example/{{dataset}}/{{cell}}.log",
    wildcard_constraints:
        cell=".+",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.evaluate.per_example"),
    shell:
        "python -m scripts.evaluate.per_example --recommendations {input.recommendations:q}"
        " --examples {input.examples:q} --items {input.catalogue:q} --output {output:q} &> {log:q}"


rule token_effects:
    input:
        model=rules.finetune.output,
        backbone=backbone_folder,
        test=rules.prepare.output.test,
        catalogue=rules.prepare.output.catalogue,
    output:
        f"{RESULTS}/token_effects/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.parquet",
    log:
        f"{LOGS}/token_effects/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: threads_of
    resources:
        gpu=needs_gpu,
    params:
        code=fingerprint("scripts.evaluate.token_effects"),
        prompt=prompt_of,
        options=model_options,
        device=device_of,
    shell:
        "python -m scripts.gpu {resources.gpu}"
        " python -m scripts.evaluate.token_effects --model {input.model:q}"
        " --backbone {input.backbone:q} --test {input.test:q} --items {input.catalogue:q}"
        " --prompt {params.prompt:q} {params.options} --device {params.device} --output {output:q} &> {log:q}"
