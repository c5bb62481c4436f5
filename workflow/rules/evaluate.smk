"""Per-example measurements of recommendations and of models."""


rule per_example:
    input:
        recommendations=f"{RESULTS}/recommendations/{{dataset}}/{{cell}}.parquet",
        examples=rules.prepare.output.test,
        items=rules.prepare.output.items,
    output:
        f"{RESULTS}/metrics/{{dataset}}/{{cell}}.parquet",
    wildcard_constraints:
        cell=".+",
    params:
        code=fingerprint("scripts.evaluate.per_example"),
    log:
        f"{LOGS}/per_example/{{dataset}}/{{cell}}.log",
    conda:
        ENVIRONMENT
    shell:
        "python -m scripts.evaluate.per_example --recommendations {input.recommendations:q}"
        " --examples {input.examples:q} --items {input.items:q} --output {output:q} 2> {log:q}"


rule token_effects:
    input:
        model=rules.finetune.output,
        backbone=backbone_folder,
        test=rules.prepare.output.test,
        items=rules.prepare.output.items,
    output:
        f"{RESULTS}/token_effects/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.parquet",
    params:
        code=fingerprint("scripts.evaluate.token_effects"),
        prompt=prompt_of,
        options=model_options,
    log:
        f"{LOGS}/token_effects/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: threads_of
    resources:
        gpu=needs_gpu,
    shell:
        "python -m scripts.evaluate.token_effects --model {input.model:q}"
        " --backbone {input.backbone:q} --test {input.test:q} --items {input.items:q}"
        " --prompt {params.prompt:q} {params.options} --output {output:q} 2> {log:q}"
