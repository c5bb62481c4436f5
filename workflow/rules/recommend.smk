"""Recommendations of a fine-tuned model: one list per test example, decoder and history."""


rule tune_assistant:
    input:
        model=rules.finetune.output,
        backbone=backbone_folder,
        valid=rules.prepare.output.valid,
        catalogue=rules.prepare.output.catalogue,
        assistant=assistant_of,
    output:
        f"{RESULTS}/tuning/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}/{{decoder}}.json",
    log:
        f"{LOGS}/tune_assistant/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}/{{decoder}}.log",
    conda:
        ENVIRONMENT
    threads: threads_of
    resources:
        gpu=needs_gpu,
    params:
        code=fingerprint("scripts.decode.tune_assistant"),
        prompt=prompt_of,
        decoder=lambda wildcards: as_json(STUDY.decoders[wildcards.decoder]),
        options=model_limits,
        device=device_of,
    shell:
        "python -m scripts.gpu {resources.gpu}"
        " python -m scripts.decode.tune_assistant --model {input.model:q}"
        " --backbone {input.backbone:q} --valid {input.valid:q} --items {input.catalogue:q}"
        " --assistant {input.assistant:q} --prompt {params.prompt:q} --decoder {params.decoder:q}"
        " {params.options} --device {params.device} --output {output:q} &> {log:q}"


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
        "python -m scripts.gpu {resources.gpu}"
        " python -m scripts.decode.recommend --model {input.model:q} --backbone {input.backbone:q}"
        " --test {input.test:q} --items {input.catalogue:q} --prompt {params.prompt:q}"
        " --decoder {params.decoder:q} --history {wildcards.history} {params.options} {params.assistant}"
        " --device {params.device} --output {output.lists:q} --record {output.record:q} &> {log:q}"


rule audit:
    input:
        model=rules.finetune.output,
        backbone=backbone_folder,
        test=rules.prepare.output.test,
        catalogue=rules.prepare.output.catalogue,
    output:
        f"{RESULTS}/audits/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.csv",
    log:
        f"{LOGS}/audit/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: threads_of
    resources:
        gpu=needs_gpu,
    params:
        code=fingerprint("scripts.decode.audit"),
        prompt=prompt_of,
        beams=lambda wildcards: json.dumps(STUDY.search_error.beams),
        examples=lambda wildcards: STUDY.search_error.examples,
        options=model_limits,
        device=device_of,
    shell:
        "python -m scripts.gpu {resources.gpu}"
        " python -m scripts.decode.audit --model {input.model:q} --backbone {input.backbone:q}"
        " --test {input.test:q} --items {input.catalogue:q} --prompt {params.prompt:q}"
        " --beams {params.beams:q} --examples {params.examples} {params.options}"
        " --device {params.device} --output {output:q} &> {log:q}"
