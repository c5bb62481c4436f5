"""Per-example measurements of recommendations."""

#: Models whose lists are the same ones, by these.
BY_LISTS = {}
for model, decoders in study_cells.decodings(STUDY):
    lists = tuple(f"{decoder}/{history}" for decoder in decoders for history in decoders[decoder])
    BY_LISTS.setdefault(lists, []).append(model)

#: What one job measures, as starting takes longer: a folder, files in it, the jobs' data sets.
TO_MEASURE = [(f"{{dataset}}/{BASELINES}/{{baseline}}", ["{lists}"], NAME)] + [
    ("{dataset}/{backbone}/{objective}/seed-{seed}", lists, decoded_in(models))
    for lists, models in BY_LISTS.items()
]

for number, (folder, files, datasets) in enumerate(TO_MEASURE):

    rule:
        name:
            f"per_example_{number or 'baseline'}"
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
        shell:
            "python -m scripts.evaluate.per_example --recommendations {input.recommendations:q}"
            " --examples {input.examples:q} --catalogue {input.catalogue:q}"
            " --output {output:q} &> {log:q}"


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
