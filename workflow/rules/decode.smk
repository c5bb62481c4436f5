"""What is done with a fine-tuned model: ranked lists, and the tokens of the targets."""

#: What every step on a fine-tuned model reads, and its parameters; see `on_model`.
ON_MODEL = {
    "run": rules.finetune.output.run,
    "backbone": backbone_files,
    "catalogue": rules.prepare.output.catalogue,
}
MODEL_PARAMS = {"model": model_options, "device": device_of}
#: Folder of the lists of a model's decoder.
LISTS = f"{RESULTS}/recommendations/{MODEL}/{{decoder}}"


rule tune_assistant:
    input:
        **ON_MODEL,
        valid=rules.prepare.output.valid,
        assistant=assistant_of,
    output:
        f"{RESULTS}/tuning/{MODEL}/{{decoder}}.json",
    log:
        f"{LOGS}/tuning/{MODEL}/{{decoder}}.log",
    priority: sooner
    threads: threads_of
    resources:
        **FOR_MODEL,
    params:
        **MODEL_PARAMS,
        code=fingerprint("scripts.decode.tune_assistant"),
        step="tune_assistant",
        decoder=lambda wildcards: as_json(STUDY.decoders[wildcards.decoder]),
    shell:
        on_model(
            "--valid {input.valid:q} --assistant {input.assistant:q}"
            " --decoder {params.decoder:q} --output {output:q}"
        )


rule validate:
    input:
        **ON_MODEL,
        valid=rules.prepare.output.valid,
    output:
        f"{RESULTS}/validation/{MODEL}/{{decoder}}/with.json",
    log:
        f"{LOGS}/validation/{MODEL}/{{decoder}}/with.log",
    priority: sooner
    threads: threads_of
    resources:
        **FOR_MODEL,
    params:
        **MODEL_PARAMS,
        code=code_with("scripts.decode.validate", STUDY.decoders, "decoder", "rank"),
        step="validate",
        decoder=lambda wildcards: as_json(STUDY.decoders[wildcards.decoder]),
        examples=lambda wildcards: TUNING[model_of(wildcards)].examples,
    shell:
        on_model(
            "--valid {input.valid:q} --examples {params.examples} --decoder {params.decoder:q}"
            " --output {output:q}"
        )


#: Decoders of models that run with the same histories in one job, by these.
BY_HISTORIES = {}
for model, decoders in study_cells.decodings(STUDY):
    for decoder, histories in decoders.items():
        BY_HISTORIES.setdefault(histories, []).append(f"{model}/{decoder}")


# One job for all histories of a decoder and stage, as each would load the model anew.
for histories, folders in BY_HISTORIES.items():
    first = ("recommend", *histories[1:]) if histories[0] == "with" else ()

    rule:
        name:
            "_".join(first or ("recommend_also", *histories))
        input:
            unpack(assistant_inputs),
            **ON_MODEL,
            test=rules.prepare.output.test,
        output:
            lists=[f"{LISTS}/{history}.parquet" for history in histories],
            records=[f"{LISTS}/{history}.json" for history in histories],
        log:
            f"{LOGS}/recommendations/{MODEL}/{{decoder}}/{histories[0]}.log",
        wildcard_constraints:
            dataset=decoded_in(folders),
        priority: sooner
        threads: threads_of
        resources:
            **FOR_MODEL,
        params:
            **MODEL_PARAMS,
            code=code_with("scripts.decode.recommend", STUDY.decoders, "decoder", "rank"),
            step="recommend",
            sample=sample_options,
            decoder=lambda wildcards: as_json(STUDY.decoders[wildcards.decoder]),
            histories=json.dumps(histories),
            folder=folder_of_output,
            assistant=lambda wildcards, input: as_options(
                {name: input[name] for name in assistant_inputs(wildcards)}
            ),
        shell:
            on_model(
                "--test {input.test:q} {params.sample} --decoder {params.decoder:q}"
                " --histories {params.histories:q} {params.assistant} --output {params.folder:q}"
            )


rule audit:
    input:
        **ON_MODEL,
        test=rules.prepare.output.test,
    output:
        f"{RESULTS}/audits/{MODEL}.csv",
    log:
        f"{LOGS}/audits/{MODEL}.log",
    priority: sooner
    threads: threads_of
    resources:
        **FOR_MODEL,
    params:
        **MODEL_PARAMS,
        code=fingerprint("scripts.decode.audit"),
        step="audit",
        beams=lambda wildcards: STUDY.search_error.beams,
        examples=lambda wildcards: STUDY.search_error.examples,
    shell:
        on_model(
            "--test {input.test:q} --beams {params.beams} --examples {params.examples}"
            " --output {output:q}"
        )


rule token_effects:
    input:
        **ON_MODEL,
        test=rules.prepare.output.test,
    output:
        f"{RESULTS}/token_effects/{MODEL}.parquet",
    log:
        f"{LOGS}/token_effects/{MODEL}.log",
    priority: sooner
    threads: threads_of
    resources:
        **FOR_MODEL,
    params:
        **MODEL_PARAMS,
        code=fingerprint("scripts.decode.token_effects"),
        step="token_effects",
        sample=sample_options,
    shell:
        on_model("--test {input.test:q} {params.sample} --output {output:q}")
