"""Recommenders without a language model: a rule for each that counts, one for all that train, and
one for lists that other programs made."""

for kind in ("most-popular", "transitions"):

    rule:
        name:
            kind.replace("-", "_")
        input:
            train=rules.prepare.output.train,
            test=rules.prepare.output.test,
            catalogue=rules.prepare.output.catalogue,
        output:
            f"{RESULTS}/recommendations/{{dataset}}/{BASELINES}/{{baseline}}/seed-{{seed}}.parquet",
        log:
            f"{LOGS}/recommendations/{{dataset}}/{BASELINES}/{{baseline}}/seed-{{seed}}.log",
        wildcard_constraints:
            baseline=baselines_of(kind),
        params:
            code=fingerprint(f"scripts.baselines.{kind.replace('-', '_')}"),
            module=kind.replace("-", "_"),
            settings=lambda wildcards: as_json(STUDY.baselines[wildcards.baseline]),
        shell:
            "python -m scripts.baselines.{params.module} --train {input.train:q} --test {input.test:q}"
            " --catalogue {input.catalogue:q} --settings {params.settings:q} --output {output:q}"
            " &> {log:q}"


rule given_lists:
    input:
        lists=given_list,
        dataset=[
            rules.prepare.output.catalogue,
            rules.prepare.output.train,
            rules.prepare.output.valid,
            rules.prepare.output.test,
        ],
    output:
        f"{RESULTS}/recommendations/{{dataset}}/{BASELINES}/{{baseline}}/{{lists}}.parquet",
    log:
        f"{LOGS}/recommendations/{{dataset}}/{BASELINES}/{{baseline}}/{{lists}}.log",
    wildcard_constraints:
        baseline=baselines_of("lists"),
        lists=BASELINE_LISTS,
    localrule: True
    params:
        code=fingerprint("scripts.baselines.given_lists"),
        dataset=folder_of_data,
    shell:
        "python -m scripts.baselines.given_lists --lists {input.lists:q}"
        " --dataset {params.dataset:q} --output {output:q} &> {log:q}"


rule sequential:
    input:
        train=rules.prepare.output.train,
        valid=rules.prepare.output.valid,
        test=rules.prepare.output.test,
        catalogue=rules.prepare.output.catalogue,
    output:
        lists=f"{RESULTS}/recommendations/{{dataset}}/{BASELINES}/{{baseline}}/seed-{{seed}}.parquet",
        model=f"{RESULTS}/models/{{dataset}}/{BASELINES}/{{baseline}}/seed-{{seed}}.safetensors",
    log:
        f"{LOGS}/recommendations/{{dataset}}/{BASELINES}/{{baseline}}/seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/sequential/{{dataset}}/{{baseline}}-{{seed}}.tsv"
    wildcard_constraints:
        baseline=baselines_of(*SEQUENTIAL),
    priority: 10
    resources:
        **FOR_MODEL,
    params:
        code=code_with("scripts.baselines.sequential", STUDY.baselines, "baseline", "Model"),
        settings=lambda wildcards: as_json(STUDY.baselines[wildcards.baseline]),
        device=device_of,
    shell:
        "python -m scripts.gpu {resources.gpu}"
        " python -m scripts.baselines.sequential --train {input.train:q} --valid {input.valid:q}"
        " --test {input.test:q} --catalogue {input.catalogue:q} --settings {params.settings:q}"
        " --seed {wildcards.seed} --device {params.device} --output {output.lists:q}"
        " --model_output {output.model:q} &> {log:q}"
