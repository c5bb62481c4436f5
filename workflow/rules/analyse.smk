"""Analyses: from per-example measurements to tidy CSV, one rule per question."""


rule title_tokens:
    input:
        catalogue=rules.prepare.output.catalogue,
        backbone=backbone_folder,
    output:
        f"{ANALYSES}/title_tokens/{{dataset}}/{{backbone}}.json",
    log:
        f"{LOGS}/analyse/title_tokens/{{dataset}}/{{backbone}}.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.title_tokens"),
    shell:
        "python -m scripts.analyse.title_tokens --items {input.catalogue:q}"
        " --backbone {input.backbone:q} --output {output:q} &> {log:q}"


rule statistics:
    input:
        prepared=expand(rules.prepare.output, dataset=STUDY.datasets),
        title_tokens=expand(f"{ANALYSES}/title_tokens/{{pair}}.json", pair=DATASET_BACKBONES),
    output:
        f"{ANALYSES}/statistics.csv",
    log:
        f"{LOGS}/analyse/statistics.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.statistics"),
        folders=listed(PREPARED),
        title_tokens=lambda wildcards, input: listed(input.title_tokens),
    shell:
        "python -m scripts.analyse.statistics --folders {params.folders:q}"
        " --title_tokens {params.title_tokens:q} --output {output:q} &> {log:q}"


rule data_curves:
    input:
        expand(rules.prepare.output, dataset=STUDY.datasets),
    output:
        f"{ANALYSES}/data.csv",
    log:
        f"{LOGS}/analyse/data_curves.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.data_curves"),
        folders=listed(PREPARED),
    shell:
        "python -m scripts.analyse.data_curves --folders {params.folders:q} --output {output:q}"
        " &> {log:q}"


rule accuracy:
    input:
        cell_files("metrics", [*BASELINE_CELLS, *CELLS]),
    output:
        f"{ANALYSES}/accuracy.csv",
    log:
        f"{LOGS}/analyse/accuracy.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.accuracy"),
        metrics=lambda wildcards, input: listed(input),
    shell:
        "python -m scripts.analyse.accuracy --metrics {params.metrics:q} --output {output:q}"
        " &> {log:q}"


rule gains:
    input:
        cell_files("metrics", CELLS),
    output:
        f"{ANALYSES}/gains.csv",
    log:
        f"{LOGS}/analyse/gains.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.gains"),
        metrics=lambda wildcards, input: listed(input),
    shell:
        "python -m scripts.analyse.gains --metrics {params.metrics:q} --output {output:q} &> {log:q}"


rule gains_over:
    input:
        rival_metrics,
    output:
        f"{ANALYSES}/gains_over/{{base}}.csv",
    log:
        f"{LOGS}/analyse/gains_over/{{base}}.log",
    wildcard_constraints:
        base=one_of({**RIVALS, **dict.fromkeys(SCHEDULES.values())}),
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.gains"),
        metrics=lambda wildcards, input: listed(input),
    shell:
        "python -m scripts.analyse.gains --metrics {params.metrics:q} --base {wildcards.base:q}"
        " --output {output:q} &> {log:q}"


rule schedules:
    input:
        [
            f"{RESULTS}/models/{model}"
            for model in dict.fromkeys(cells.model_path(*cell[:4]) for cell in SCHEDULE_CELLS)
        ],
    output:
        f"{ANALYSES}/schedules.csv",
    log:
        f"{LOGS}/analyse/schedules.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.schedules"),
        models=lambda wildcards, input: listed(f"{model}/run.json" for model in input),
        bases=json.dumps(SCHEDULES),
    shell:
        "python -m scripts.analyse.schedules --models {params.models:q} --bases {params.bases:q}"
        " --output {output:q} &> {log:q}"


rule headline:
    input:
        cell_files("metrics", SHOWN_CELLS),
    output:
        f"{ANALYSES}/headline.csv",
    log:
        f"{LOGS}/analyse/headline.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.headline"),
        metrics=lambda wildcards, input: listed(input),
    shell:
        "python -m scripts.analyse.headline --metrics {params.metrics:q} --output {output:q}"
        " &> {log:q}"


rule chosen:
    input:
        models=expand(f"{RESULTS}/models/{{model}}", model=MODELS),
        decodings=cell_files("recommendations", SHOWN_CELLS, "json"),
    output:
        f"{ANALYSES}/chosen.csv",
    log:
        f"{LOGS}/analyse/chosen.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.chosen"),
        models=lambda wildcards, input: listed(f"{model}/run.json" for model in input.models),
        decodings=lambda wildcards, input: listed(input.decodings),
    shell:
        "python -m scripts.analyse.chosen --models {params.models:q}"
        " --decodings {params.decodings:q} --output {output:q} &> {log:q}"


rule balance:
    input:
        recommendations=cell_files("recommendations", [*BASELINE_CELLS, *SHOWN_CELLS]),
        catalogues=expand(rules.prepare.output.catalogue, dataset=STUDY.datasets),
        tests=expand(rules.prepare.output.test, dataset=STUDY.datasets),
    output:
        f"{ANALYSES}/balance.csv",
    log:
        f"{LOGS}/analyse/balance.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.balance"),
        recommendations=lambda wildcards, input: listed(input.recommendations),
        catalogues=lambda wildcards, input: listed(input.catalogues),
        tests=lambda wildcards, input: listed(input.tests),
    shell:
        "python -m scripts.analyse.balance --recommendations {params.recommendations:q}"
        " --items {params.catalogues:q} --tests {params.tests:q} --output {output:q} &> {log:q}"


rule strata:
    input:
        metrics=cell_files("metrics", SHOWN_CELLS),
        catalogues=expand(rules.prepare.output.catalogue, dataset=STUDY.datasets),
        examples=expand(
            [rules.prepare.output.train, rules.prepare.output.valid, rules.prepare.output.test],
            dataset=STUDY.datasets,
        ),
    output:
        f"{ANALYSES}/strata.csv",
    log:
        f"{LOGS}/analyse/strata.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.strata"),
        metrics=lambda wildcards, input: listed(input.metrics),
        catalogues=lambda wildcards, input: listed(input.catalogues),
        examples=lambda wildcards, input: listed(input.examples),
    shell:
        "python -m scripts.analyse.strata --metrics {params.metrics:q}"
        " --items {params.catalogues:q} --examples {params.examples:q} --output {output:q}"
        " &> {log:q}"


rule cases:
    input:
        recommendations=cell_files("recommendations", CASE_CELLS),
        catalogue=expand(
            rules.prepare.output.catalogue, dataset=[c.dataset for c in CASE_CELLS[:1]]
        ),
        test=expand(rules.prepare.output.test, dataset=[c.dataset for c in CASE_CELLS[:1]]),
    output:
        f"{ANALYSES}/cases.csv",
    log:
        f"{LOGS}/analyse/cases.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.cases"),
        recommendations=lambda wildcards, input: listed(input.recommendations),
    shell:
        "python -m scripts.analyse.cases --recommendations {params.recommendations:q}"
        " --items {input.catalogue:q} --test {input.test:q} --output {output:q} &> {log:q}"


rule dependence:
    input:
        metrics=cell_files("metrics", CELLS),
        recommendations=cell_files("recommendations", CELLS),
    output:
        f"{ANALYSES}/dependence.csv",
    log:
        f"{LOGS}/analyse/dependence.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.dependence"),
        metrics=lambda wildcards, input: listed(input.metrics),
        recommendations=lambda wildcards, input: listed(input.recommendations),
        k=HEADLINE_K,
    shell:
        "python -m scripts.analyse.dependence --metrics {params.metrics:q}"
        " --recommendations {params.recommendations:q} --k {params.k} --output {output:q}"
        " &> {log:q}"


rule positions:
    input:
        expand(f"{RESULTS}/token_effects/{{model}}.parquet", model=MODELS),
    output:
        f"{ANALYSES}/positions.csv",
    log:
        f"{LOGS}/analyse/positions.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.positions"),
        effects=lambda wildcards, input: listed(input),
    shell:
        "python -m scripts.analyse.positions --effects {params.effects:q} --output {output:q}"
        " &> {log:q}"


rule sensitivity:
    input:
        grid_metrics(),
    output:
        f"{ANALYSES}/sensitivity.csv",
    log:
        f"{LOGS}/analyse/sensitivity.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.sensitivity"),
        metrics=lambda wildcards, input: listed(input),
        points=json.dumps(
            {
                name: point.model_dump(include={"alpha", "beta"})
                for grid in STUDY.sensitivity
                for name, point in study_config.grid_objectives(STUDY, grid).items()
            }
        ),
        centre=next((grid.objective for grid in STUDY.sensitivity), ""),
    shell:
        "python -m scripts.analyse.sensitivity --metrics {params.metrics:q}"
        " --points {params.points:q} --centre {params.centre:q} --output {output:q} &> {log:q}"


rule history_length:
    input:
        metrics=cell_files("metrics", LENGTH_CELLS),
        models=[f"{RESULTS}/models/{model}" for model in LENGTH_MODELS],
        decodings=cell_files("recommendations", LENGTH_CELLS, "json"),
        tests=expand(rules.prepare.output.test, dataset=LENGTHS),
    output:
        f"{ANALYSES}/history_length.csv",
    log:
        f"{LOGS}/analyse/history_length.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.history_length"),
        metrics=lambda wildcards, input: listed(input.metrics),
        models=lambda wildcards, input: listed(f"{model}/run.json" for model in input.models),
        decodings=lambda wildcards, input: listed(input.decodings),
        tests=lambda wildcards, input: listed(input.tests),
        lengths=json.dumps(LENGTHS),
    shell:
        "python -m scripts.analyse.history_length --metrics {params.metrics:q}"
        " --models {params.models:q} --decodings {params.decodings:q} --tests {params.tests:q}"
        " --lengths {params.lengths:q} --output {output:q} &> {log:q}"


rule search_error:
    input:
        audits(),
    output:
        f"{ANALYSES}/search_error.csv",
    log:
        f"{LOGS}/analyse/search_error.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.search_error"),
        audits=lambda wildcards, input: listed(input),
    shell:
        "python -m scripts.analyse.search_error --audits {params.audits:q} --output {output:q}"
        " &> {log:q}"


rule cost:
    input:
        models=expand(f"{RESULTS}/models/{{model}}", model=MODELS),
        decodings=cell_files("recommendations", CELLS, "json"),
    output:
        f"{ANALYSES}/cost.csv",
    log:
        f"{LOGS}/analyse/cost.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.cost"),
        models=lambda wildcards, input: listed(f"{model}/run.json" for model in input.models),
        decodings=lambda wildcards, input: listed(input.decodings),
    shell:
        "python -m scripts.analyse.cost --models {params.models:q}"
        " --decodings {params.decodings:q} --output {output:q} &> {log:q}"


rule curves:
    input:
        expand(f"{RESULTS}/models/{{model}}", model=MODELS),
    output:
        f"{ANALYSES}/curves.csv",
    log:
        f"{LOGS}/analyse/curves.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.curves"),
        curves=lambda wildcards, input: listed(f"{model}/curves.csv" for model in input),
    shell:
        "python -m scripts.analyse.curves --curves {params.curves:q} --output {output:q} &> {log:q}"


rule claims:
    input:
        CLAIM_ANALYSES.values(),
    output:
        f"{ANALYSES}/claims.csv",
    log:
        f"{LOGS}/analyse/claims.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.analyse.claims"),
        analyses=json.dumps(CLAIM_ANALYSES),
        beyond=json.dumps(study_config.beyond_amazon(STUDY)),
        grounding=json.dumps(
            [n for n, d in STUDY.decoders.items() if d.kind.startswith("grounded")]
        ),
    shell:
        "python -m scripts.analyse.claims --analyses {params.analyses:q} --beyond {params.beyond:q}"
        " --grounding {params.grounding:q} --output {output:q} &> {log:q}"
