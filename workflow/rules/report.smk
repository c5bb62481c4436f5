"""The report: every table and figure in one self-contained HTML file."""


rule report:
    input:
        tables=expand(f"{RESULTS}/tables/{{name}}.md", name=TABLES),
        figures=expand(f"{RESULTS}/figures/{{name}}.svg", name=FIGURES),
        captions=[
            *expand(f"{CAPTIONS}/table_{{name}}.rst", name=TABLES),
            *expand(f"{CAPTIONS}/figure_{{name}}.rst", name=FIGURES),
        ],
        template=f"{workflow.basedir}/scripts/report.html.j2",
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.report"),
        study=STUDY.study,
        tables=lambda wildcards, input: listed(input.tables),
        figures=lambda wildcards, input: listed(input.figures),
        captions=lambda wildcards, input: os.path.dirname(input.captions[0]),
    shell:
        "python -m scripts.report --study {params.study:q} --tables {params.tables:q}"
        " --figures {params.figures:q} --captions {params.captions:q} --output {output:q} &> {log:q}"
