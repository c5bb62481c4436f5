"""Fine-tuning: one model per data set, backbone, objective and seed."""


rule finetune:
    input:
        backbone=backbone_folder,
        train=rules.prepare.output.train,
        valid=rules.prepare.output.valid,
        items=rules.prepare.output.items,
    output:
        directory(f"{RESULTS}/models/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}"),
    params:
        code=fingerprint("scripts.finetune.train"),
        prompt=prompt_of,
        objective=lambda wildcards: as_json(OBJECTIVES[wildcards.objective]),
        training=lambda wildcards: as_json(STUDY.backbones[wildcards.backbone].training),
        device=STUDY.device,
    log:
        f"{LOGS}/finetune/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.log",
    conda:
        ENVIRONMENT
    benchmark:
        f"{BENCHMARKS}/finetune/{{dataset}}/{{backbone}}/{{objective}}/seed-{{seed}}.tsv"
    threads: threads_of
    resources:
        gpu=needs_gpu,
    shell:
        "python -m scripts.finetune.train --backbone {input.backbone:q} --train {input.train:q}"
        " --valid {input.valid:q} --items {input.items:q} --prompt {params.prompt:q}"
        " --objective {params.objective:q} --training {params.training:q}"
        " --seed {wildcards.seed} --device {params.device} --output {output:q} 2> {log:q}"
