"""Per-example measurements of recommendations."""


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
    localrule: True
    params:
        code=fingerprint("scripts.evaluate.per_example"),
    shell:
        "python -m scripts.evaluate.per_example --recommendations {input.recommendations:q}"
        " --examples {input.examples:q} --catalogue {input.catalogue:q} --output {output:q} &> {log:q}"
