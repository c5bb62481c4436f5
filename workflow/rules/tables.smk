"""Tables: one rule each, so that `snakemake table_accuracy` makes that one."""

for name in TABLES:

    rule:
        name:
            f"table_{name}"
        input:
            expand(f"{ANALYSES}/{{analysis}}.csv", analysis=TABLES[name]),
        output:
            csv=report(
                f"{RESULTS}/tables/{name}.csv",
                caption=f"../report/table_{name}.rst",
                category=question_of(name),
                labels={"table": name},
            ),
            md=f"{RESULTS}/tables/{name}.md",
            tex=f"{RESULTS}/tables/{name}.tex",
        log:
            f"{LOGS}/tables/{name}.log",
        conda:
            ENVIRONMENT
        params:
            code=fingerprint(f"scripts.tables.{name}"),
            module=f"scripts.tables.{name}",
            options=table_options(name),
            labels=LABELS,
        shell:
            "python -m {params.module} {params.options} --labels {params.labels:q}"
            " --output {output.csv:q} &> {log:q}"


rule tables:
    input:
        expand(f"{RESULTS}/tables/{{name}}.{{ending}}", name=TABLES, ending=["csv", "md", "tex"]),
