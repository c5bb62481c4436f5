"""Per-example measurements of recommendations."""

#: What one job measures, as starting takes longer: a folder, files in it, the jobs' data sets.
TO_MEASURE = [(f"{{dataset}}/{BASELINES}/{{baseline}}", ["{lists}"], NAME)] + [
    ("{dataset}/{backbone}/{objective}/seed-{seed}/{decoder}", histories, decoded_in(folders))
    for histories, folders in BY_HISTORIES.items()
]

for folder, files, datasets in TO_MEASURE:

    rule:
        name:
            "_".join(["per_example", *files]).replace("{lists}", "baseline")
        input:
            recommendations=[f"{RESULTS}/recommendations/{folder}/{f}.parquet" for f in files],
            examples=rules.prepare.output.test,
            catalogue=rules.prepare.output.catalogue,
        output:
            [f"{RESULTS}/metrics/{folder}/{f}.parquet" for f in files],
        log:
            f"{LOGS}/metrics/{folder}/{files[0]}.log",
        wildcard_constraints:
            dataset=datasets,
            lists=BASELINE_LISTS,
        localrule: True
        params:
            code=fingerprint("scripts.evaluate.per_example"),
            folder=folder_of_output,
        shell:
            "python -m scripts.evaluate.per_example --recommendations {input.recommendations:q}"
            " --examples {input.examples:q} --catalogue {input.catalogue:q}"
            " --output {params.folder:q} &> {log:q}"


rule trec_format:
    input:
        recommendations=f"{RESULTS}/recommendations/{{dataset}}/{{cell}}.parquet",
        dataset=rules.given_lists.input.dataset,
    output:
        run=f"{RESULTS}/trec/{{dataset}}/{{cell}}.run",
        qrels=f"{RESULTS}/trec/{{dataset}}/{{cell}}.qrels",
    log:
        f"{LOGS}/trec_format/{{dataset}}/{{cell}}.log",
    wildcard_constraints:
        cell=".+",
    localrule: True
    params:
        code=fingerprint("scripts.evaluate.trec"),
        dataset=folder_of_data,
    shell:
        "python -m scripts.evaluate.trec --recommendations {input.recommendations:q}"
        " --dataset {params.dataset:q} --tag {wildcards.cell:q} --output {output.run:q} &> {log:q}"
