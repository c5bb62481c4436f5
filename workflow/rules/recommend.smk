"""Recommendations of a fine-tuned model: one list per test example, decoder and history."""


rule recommend:
    input:
        unpack(assistant_inputs),
        model=rules.finetune.output,
        backbone=backbone_folder,
        test=rules.prepare.output.test,
        catalogue=rules.prepare.output.catalogue,
    output:
        lists=f"{RESULTS}/recommendations/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}/{{decoder}}/{{history}}.parquet",
        record=f"{RESULTS}/recommendations/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}/{{decoder}}/{{history}}.json",
    log:
        f"{LOGS}/recommend/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}/{{decoder}}-{{history}}.log",
    conda:
        ENVIRONMENT
    threads: threads_of
    resources:
        gpu=needs_gpu,
    params:
        code=fingerprint("scripts.decode.recommend"),
        prompt=prompt_of,
        decoder=lambda wildcards: as_json(STUDY.decoders[wildcards.decoder]),
        options=model_options,
        assistant=lambda wildcards, input: options_of(input, assistant_inputs(wildcards)),
        device=device_of,
    shell:
        "python -m scripts.decode.recommend --model {input.model:q} --backbone {input.backbone:q}"
        " --test {input.test:q} --items {input.catalogue:q} --prompt {params.prompt:q}"
        " --decoder {params.decoder:q} --history {wildcards.history} {params.options} {params.assistant}"
        " --device {params.device} --output {output.lists:q} --record {output.record:q} &> {log:q}"
