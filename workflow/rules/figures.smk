"""Figures: one rule each, so that `snakemake figure_balance` draws that one."""

#: Each figure stands on the analysis of its name.
FIGURES = ["accuracy", "gains", "balance", "dependence", "positions", "curves", "cost"]
if STUDY.sensitivity:
    FIGURES.append("sensitivity")


for name in FIGURES:

    rule:
        name:
            f"figure_{name}"
        input:
            f"{ANALYSES}/{name}.csv",
        output:
            multiext(f"{RESULTS}/figures/{name}", ".pdf", ".png", ".csv"),
            report(
                f"{RESULTS}/figures/{name}.svg",
                caption=f"../report/figure_{name}.rst",
                category="Figures",
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
        shell:
            "python -m {params.module} --input {input:q} --labels {params.labels:q}"
            " --output {output[0]:q} 2> {log:q}"


rule figures:
    input:
        expand(f"{RESULTS}/figures/{{name}}.svg", name=FIGURES),
