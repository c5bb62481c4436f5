"""Tables: one rule each, so that `snakemake table_accuracy` makes that one."""

TABLES = [output.name for output in study_outputs.tables(STUDY)]

for output in study_outputs.tables(STUDY):

    rule:
        name:
            f"table_{output.name}"
        input:
            expand(f"{ANALYSES}/{{analysis}}.csv", analysis=output.table),
        output:
            csv=report(
                f"{RESULTS}/tables/{output.name}.csv",
                caption=caption_of(f"table_{output.name}"),
                category=output.question,
                labels={"table": output.name},
            ),
            md=f"{RESULTS}/tables/{output.name}.md",
            tex=f"{RESULTS}/tables/{output.name}.tex",
            json=f"{RESULTS}/tables/{output.name}.json",
        log:
            f"{LOGS}/tables/{output.name}.log",
        localrule: True
        params:
            code=code_of("tables", output.name),
            name=output.name,
            options=verbatim(json.dumps(study_outputs.options(STUDY, output.table_options))),
        shell:
            "python -m scripts.tables {params.name} --analyses {input:q} --options {params.options:q}"
            " --output {output.csv:q} &> {log:q}"


rule tables:
    input:
        expand(f"{RESULTS}/tables/{{name}}.{{ending}}", name=TABLES, ending=["csv", "md", "tex"]),
