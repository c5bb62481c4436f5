"""Fine-tuning: one model per data set, backbone, objective and seed."""


rule finetune:
    input:
        backbone=backbone_folder,
        train=rules.prepare.output.train,
        valid=rules.prepare.output.valid,
        catalogue=rules.prepare.output.catalogue,
    output:
        directory(f"{RESULTS}/models/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}"),
    log:
        f"{LOGS}/finetune/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/finetune/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: finetune_threads
    resources:
        gpu=finetune_gpus,
    params:
        code=fingerprint("scripts.finetune.train"),
        prompt=prompt_of,
        objective=lambda wildcards: as_json(OBJECTIVES[wildcards.objective]),
        # What Snakemake records; a look at the training through TensorBoard changes nothing.
        settings=lambda wildcards: STUDY.backbones[wildcards.backbone].training.model_dump_json(
            exclude={"tensorboard"}
        ),
        training=lambda wildcards, output: as_json(STUDY.backbones[wildcards.backbone].training),
        launcher=finetune_launcher,
        # Not `resources.gpu`, which Snakemake lowers to its limit.
        gpus=lambda wildcards, output: finetune_gpus(wildcards),
        device=device_of,
    shell:
        "python -m scripts.gpu {params.gpus} {params.launcher} scripts.finetune.train --backbone {input.backbone:q}"
        " --train {input.train:q} --valid {input.valid:q} --items {input.catalogue:q}"
        " --prompt {params.prompt:q} --objective {params.objective:q}"
        " --training {params.training:q} --seed {wildcards.seed} --device {params.device}"
        " --output {output:q} &> {log:q}"
