"""Tables: one rule each, so that `snakemake table_accuracy` makes that one."""

import shlex

#: The analyses that each table stands on.
TABLES = {
    "statistics": ["statistics"],
    "accuracy": ["accuracy", "gains"],
    "ablation": ["accuracy", "gains"],
    "balance": ["balance"],
    "dependence": ["dependence"],
    "cost": ["cost"],
}
if STUDY.sensitivity:
    TABLES["sensitivity"] = ["sensitivity"]

LABELS = json.dumps(
    {
        kind: {name: entry.label for name, entry in getattr(STUDY, kind).items()}
        for kind in ("datasets", "backbones", "baselines", "decoders")
    }
)
#: Options of single tables, beyond the analyses and the labels.
TABLE_OPTIONS = {"accuracy": {"methods": json.dumps([m.model_dump() for m in STUDY.methods])}}


def table_options(name: str) -> str:
    """Options of a table's step: its analyses by name, and its own."""
    options = {analysis: f"{ANALYSES}/{analysis}.csv" for analysis in TABLES[name]}
    options |= TABLE_OPTIONS.get(name, {})
    return " ".join(f"--{option} {shlex.quote(value)}" for option, value in options.items())


for name in TABLES:

    rule:
        name:
            f"table_{name}"
        input:
            expand(f"{ANALYSES}/{{analysis}}.csv", analysis=TABLES[name]),
        output:
            report(
                f"{RESULTS}/tables/{name}.csv",
                caption=f"../report/table_{name}.rst",
                category="Tables",
                labels={"table": name},
            ),
            multiext(f"{RESULTS}/tables/{name}", ".md", ".tex"),
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
            " --output {output[0]:q} 2> {log:q}"


rule tables:
    input:
        expand(f"{RESULTS}/tables/{{name}}.csv", name=TABLES),
