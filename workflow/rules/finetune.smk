"""Fine-tuning: one model per data set, backbone, objective and seed."""


rule finetune:
    input:
        backbone=backbone_files,
        train=rules.prepare.output.train,
        valid=rules.prepare.output.valid,
        catalogue=rules.prepare.output.catalogue,
        tuning=tuning_of,
    output:
        # Of the folder, which is put there as a whole, the files that other steps name. One that
        # outlived its Snakemake may have ended since: it is looked at before it is made again.
        run=update(f"{RESULTS}/models/{MODEL}/run.json"),
        curves=update(f"{RESULTS}/models/{MODEL}/curves.csv"),
    log:
        f"{LOGS}/models/{MODEL}.log",
    benchmark:
        f"{BENCHMARKS}/finetune/{MODEL}.tsv"
    priority: sooner
    threads: lambda wildcards: threads_of(wildcards) * processes_of(wildcards)
    resources:
        gpu=lambda wildcards: GPUS * processes_of(wildcards),
        mem_mb=lambda wildcards, attempt: memory_of(wildcards, attempt) * processes_of(wildcards),
        runtime=minutes_of,
    params:
        code=code_with("scripts.finetune.train", OBJECTIVES, "objective", "causal_losses"),
        model=folder_of_output,
        backbone=backbone_folder,
        prompt=prompt_of,
        objective=lambda wildcards: as_json(OBJECTIVES[wildcards.objective]),
        training=lambda wildcards: as_json(
            study_cells.training_of(STUDY, wildcards.dataset, wildcards.backbone)
        ),
        launcher=finetune_launcher,
        # Not `resources.gpu`, which Snakemake lowers to its limit.
        gpus=lambda wildcards, output: GPUS * processes_of(wildcards),
        tuning=lambda wildcards, input: as_options({"tuning": input.tuning} if input.tuning else {}),
        device=device_of,
    shell:
        "python -m scripts.gpu {params.gpus} {params.launcher} scripts.finetune.train --backbone {params.backbone:q}"
        " --train {input.train:q} --valid {input.valid:q} --catalogue {input.catalogue:q}"
        " --prompt {params.prompt:q} --objective {params.objective:q}"
        " --training {params.training:q} {params.tuning} --seed {wildcards.seed} --device {params.device}"
        " --output {params.model:q} &> {log:q}"
