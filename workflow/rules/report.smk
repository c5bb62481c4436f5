"""The report: every table and figure in one self-contained HTML file."""


rule report:
    input:
        tables=rules.tables.input,
        figures=rules.figures.input,
        captions=[f"{workflow.basedir}/workflow/report/table_{name}.rst" for name in TABLES]
        + [f"{workflow.basedir}/workflow/report/figure_{name}.rst" for name in FIGURES],
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
        captions=f"{workflow.basedir}/workflow/report",
    shell:
        "python -m scripts.report --study {params.study:q} --tables {params.tables:q}"
        " --figures {params.figures:q} --captions {params.captions:q} --output {output:q} 2> {log:q}"
