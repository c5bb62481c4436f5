"""Recommenders without a language model; one rule for all that are trained."""


rule most_popular:
    input:
        train=rules.prepare.output.train,
        test=rules.prepare.output.test,
        catalogue=rules.prepare.output.catalogue,
    output:
        f"{RESULTS}/recommendations/{{dataset}}/{cells.BASELINES}/{{baseline}}/seed-{{seed}}.parquet",
    log:
        f"{LOGS}/most_popular/{{dataset}}/{{baseline}}-{{seed}}.log",
    wildcard_constraints:
        baseline=baselines_of("most-popular"),
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.baselines.popular"),
        settings=baseline_settings,
    shell:
        "python -m scripts.baselines.popular --train {input.train:q} --test {input.test:q}"
        " --items {input.catalogue:q} --settings {params.settings:q} --output {output:q} &> {log:q}"


rule transitions:
    input:
        train=rules.prepare.output.train,
        test=rules.prepare.output.test,
        catalogue=rules.prepare.output.catalogue,
    output:
        f"{RESULTS}/recommendations/{{dataset}}/{cells.BASELINES}/{{baseline}}/seed-{{seed}}.parquet",
    log:
        f"{LOGS}/transitions/{{dataset}}/{{baseline}}-{{seed}}.log",
    wildcard_constraints:
        baseline=baselines_of("transitions"),
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.baselines.transitions"),
        settings=baseline_settings,
    shell:
        "python -m scripts.baselines.transitions --train {input.train:q} --test {input.test:q}"
        " --items {input.catalogue:q} --settings {params.settings:q} --output {output:q} &> {log:q}"


rule sequential:
    input:
        train=rules.prepare.output.train,
        valid=rules.prepare.output.valid,
        test=rules.prepare.output.test,
        catalogue=rules.prepare.output.catalogue,
    output:
        lists=f"{RESULTS}/recommendations/{{dataset}}/{cells.BASELINES}/{{baseline}}/seed-{{seed}}.parquet",
        model=f"{RESULTS}/models/{{dataset}}/{cells.BASELINES}/{{baseline}}/seed-{{seed}}.safetensors",
    log:
        f"{LOGS}/sequential/{{dataset}}/{{baseline}}-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/sequential/{{dataset}}/{{baseline}}-{{seed}}.tsv"
    wildcard_constraints:
        baseline=baselines_of(*SEQUENTIAL),
    conda:
        ENVIRONMENT
    resources:
        gpu=needs_gpu,
    params:
        code=fingerprint("scripts.baselines.sequential"),
        settings=baseline_settings,
        device=device_of,
    shell:
        "python -m scripts.gpu {resources.gpu}"
        " python -m scripts.baselines.sequential --train {input.train:q} --valid {input.valid:q}"
        " --test {input.test:q} --items {input.catalogue:q} --settings {params.settings:q}"
        " --seed {wildcards.seed} --device {params.device} --output {output.lists:q}"
        " --model_output {output.model:q} &> {log:q}"
