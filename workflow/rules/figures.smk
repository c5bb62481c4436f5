"""Figures: one rule each, so that `snakemake figure_balance` draws that one."""

FIGURES = [output.name for output in study_outputs.figures(STUDY)]

for output in study_outputs.figures(STUDY):

    rule:
        name:
            f"figure_{output.name}"
        input:
            f"{ANALYSES}/{output.name}.csv",
        output:
            pdf=f"{RESULTS}/figures/{output.name}.pdf",
            png=f"{RESULTS}/figures/{output.name}.png",
            csv=f"{RESULTS}/figures/{output.name}.csv",
            svg=report(
                f"{RESULTS}/figures/{output.name}.svg",
                caption=caption_of(f"figure_{output.name}"),
                category=output.question,
                labels={"figure": output.name},
            ),
        log:
            f"{LOGS}/figures/{output.name}.log",
        localrule: True
        params:
            code=code_of("figures", output.name),
            name=output.name,
            options=verbatim(json.dumps(study_outputs.options(STUDY, output.figure_options))),
        shell:
            "python -m scripts.figures {params.name} --analysis {input:q} --options {params.options:q}"
            " --output {output.pdf:q} &> {log:q}"


rule figures:
    input:
        expand(
            f"{RESULTS}/figures/{{name}}.{{ending}}",
            name=FIGURES,
            ending=["pdf", "svg", "png", "csv"],
        ),
