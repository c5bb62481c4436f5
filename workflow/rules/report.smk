"""The report: every table and figure in one self-contained HTML file."""


rule report:
    input:
        tables=expand(f"{RESULTS}/tables/{{name}}.md", name=TABLES),
        figures=expand(f"{RESULTS}/figures/{{name}}.svg", name=FIGURES),
        captions=[
            *expand(f"{CAPTIONS}/table_{{name}}.rst", name=TABLES),
            *expand(f"{CAPTIONS}/figure_{{name}}.rst", name=FIGURES),
        ],
        models=expand(f"{RESULTS}/models/{{model}}", model=MODELS),
        template=f"{workflow.basedir}/scripts/report.html.j2",
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    conda:
        ENVIRONMENT
    params:
        code=fingerprint("scripts.report"),
        # Where a study runs is no part of it: the records of its runs say it.
        study=STUDY.model_dump_json(exclude={"device", "missing_gpu"}),
        tables=lambda wildcards, input: listed(input.tables),
        figures=lambda wildcards, input: listed(input.figures),
        runs=lambda wildcards, input: listed(f"{model}/run.json" for model in input.models),
        captions=lambda wildcards, input: os.path.dirname(input.captions[0]),
    shell:
        "python -m scripts.report --study {params.study:q} --tables {params.tables:q}"
        " --figures {params.figures:q} --captions {params.captions:q} --runs {params.runs:q}"
        " --output {output:q} &> {log:q}"
