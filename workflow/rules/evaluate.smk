"""Per-example measurements of recommendations."""

#: Models and baselines that have the same lists, by their folder with its wildcards, and these.
ALIKE = {}
for model, decoders in study_cells.decodings(STUDY):
    lists = [f"{decoder}/{history}" for decoder in decoders for history in decoders[decoder]]
    ALIKE.setdefault((MODEL, tuple(lists)), []).append(model)
for folder, lists in study_cells.baseline_lists(STUDY).items():
    path = f"{{dataset}}/{BASELINES}/{{baseline}}"
    ALIKE.setdefault((path, tuple(lists)), []).append(folder)

# One job for all lists of a folder, as starting takes longer than measuring.
for number, ((path, lists), folders) in enumerate(ALIKE.items(), 1):

    rule:
        name:
            f"per_example_{number}"
        input:
            recommendations=[f"{RESULTS}/recommendations/{path}/{one}.parquet" for one in lists],
            examples=rules.prepare.output.test,
            catalogue=rules.prepare.output.catalogue,
        output:
            [f"{RESULTS}/metrics/{path}/{one}.parquet" for one in lists],
        log:
            f"{LOGS}/metrics/{path}/{lists[0]}.log",
        wildcard_constraints:
            dataset=decoded_in(folders),
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
