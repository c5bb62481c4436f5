"""Analyses: from per-example measurements to tidy CSV, one rule each, as `outputs.py` declares."""

for output in study_outputs.with_own(STUDY.outputs):
    if not output.reads:
        continue

    rule:
        name:
            f"analysis_{output.name}"
        input:
            **{option: results(files(STUDY)) for option, files in output.reads.items()},
        output:
            f"{ANALYSES}/{output.name}.csv",
        log:
            f"{LOGS}/analyses/{output.name}.log",
        params:
            code=code_of("analyse", output.name),
            name=output.name,
            files=lambda wildcards, input: as_options(
                {option: files for option, files in input.items() if files}
            ),
            settings=as_options({key: of(STUDY) for key, of in output.settings.items()}),
        shell:
            "python -m scripts.analyse {params.name} {params.files} {params.settings}"
            " --output {output:q} &> {log:q}"
