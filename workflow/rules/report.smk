"""The report: every table and figure in one self-contained HTML file, and its opening as text."""


rule report:
    input:
        tables=expand(f"{RESULTS}/tables/{{name}}.json", name=TABLES),
        figures=expand(f"{RESULTS}/figures/{{name}}.svg", name=FIGURES),
        runs=results(study_outputs.runs(STUDY)),
        cases=[f"{ANALYSES}/cases.csv"] if "cases" in TABLES else [],
        tests=expand(rules.prepare.output.test, dataset=[*STUDY.datasets, *RECUT]),
    output:
        html=f"{RESULTS}/report.html",
        text=f"{RESULTS}/summary.txt",
        manifest=f"{RESULTS}/manifest.json",
    log:
        f"{LOGS}/report.log",
    localrule: True
    params:
        code=fingerprint("scripts.report"),
        # Where a study runs is no part of it: the records of its runs say it.
        study=verbatim(STUDY.model_dump_json(exclude={"device", "missing_gpu", "push_to_hub"})),
        # By content, as the checkout may be elsewhere tomorrow; so its path stays out of the record.
        words=[
            sha256(f"{CHECKOUT}/{name}")
            for name in (
                *("workflow/report", "scripts/report.html.j2"),
                *(f"extensions/{name}.py" for name in STUDY.outputs),
            )
        ],
        k=study_cells.headline_k(STUDY),
        captions=lambda wildcards, output: f"{CHECKOUT}/workflow/report",
    shell:
        "python -m scripts.report --study {params.study:q} --tables {input.tables:q}"
        " --figures {input.figures:q} --captions {params.captions:q} --runs {input.runs:q}"
        " --tests {input.tests:q} --cases {input.cases:q} --k {params.k}"
        " --output {output.html:q} &> {log:q}"
