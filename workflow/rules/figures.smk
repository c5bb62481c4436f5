"""Figures: one rule each, so that `snakemake figure_balance` draws that one."""

for name in FIGURES:

    rule:
        name:
            f"figure_{name}"
        input:
            f"{ANALYSES}/{name}.csv",
        output:
            pdf=f"{RESULTS}/figures/{name}.pdf",
            png=f"{RESULTS}/figures/{name}.png",
            csv=f"{RESULTS}/figures/{name}.csv",
            svg=report(
                f"{RESULTS}/figures/{name}.svg",
                caption=f"../report/figure_{name}.rst",
                category=question_of(name),
                labels={"figure": name},
            ),
        log:
            f"{LOGS}/figures/{name}.log",
        conda:
            ENVIRONMENT
        params:
            code=fingerprint(f"scripts.figures.{name}"),
            module=f"scripts.figures.{name}",
            labels=LABELS,
            options=FIGURE_OPTIONS.get(name, ""),
        shell:
            "python -m {params.module} --input {input:q} --labels {params.labels:q} {params.options}"
            " --output {output.pdf:q} &> {log:q}"


rule figures:
    input:
        expand(
            f"{RESULTS}/figures/{{name}}.{{ending}}",
            name=FIGURES,
            ending=["pdf", "svg", "png", "csv"],
        ),
