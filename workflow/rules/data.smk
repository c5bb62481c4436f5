"""Raw reviews and metadata to interactions, items and examples."""

import shlex


def is_url(address: str) -> bool:
    """Whether an address is to be downloaded, and is no local path."""
    return address.startswith(("http://", "https://"))


def raw_file(address: str) -> str:
    """Local file of an address: where its download lies, or the path itself."""
    return f"resources/raw/{address.rsplit('/', 1)[-1]}" if is_url(address) else address


def wheel_file(requirement: str) -> str:
    """Local file of a package that is read without being installed."""
    return f"resources/wheels/{requirement.replace('==', '-')}.whl"


SOURCES = {name: dataset.source for name, dataset in STUDY.datasets.items()}
URLS = {
    raw_file(address): address
    for source in SOURCES.values()
    if source.kind == "amazon-2018"
    for address in (source.reviews, source.metadata)
    if is_url(address)
}
WHEELS = {
    wheel_file(source.requirement): source
    for source in [*SOURCES.values(), *(backbone.source for backbone in STUDY.backbones.values())]
    if hasattr(source, "requirement")
}


def raw_inputs(wildcards) -> dict[str, str]:
    """Raw files of a data set by the name of the option that takes them."""
    source = SOURCES[wildcards.dataset]
    if source.kind == "movielens-wheel":
        return {"wheel": wheel_file(source.requirement)}
    return {"reviews": raw_file(source.reviews), "metadata": raw_file(source.metadata)}


def raw_options(wildcards) -> str:
    """Options that tell the preparation what it reads."""
    source = SOURCES[wildcards.dataset]
    options = {"kind": source.kind, **raw_inputs(wildcards)}
    if source.kind == "movielens-wheel":
        options["name"] = source.name
    return " ".join(f"--{option} {shlex.quote(value)}" for option, value in options.items())


rule download:
    output:
        "resources/raw/{file}",
    params:
        url=lambda wildcards, output: URLS[output[0]],
    log:
        "resources/logs/download/{file}.log",
    conda:
        ENVIRONMENT
    retries: 2
    shell:
        "python -m scripts.data.obtain --url {params.url:q} --output {output:q} 2> {log:q}"


rule wheel:
    output:
        "resources/wheels/{file}.whl",
    params:
        requirement=lambda wildcards, output: WHEELS[output[0]].requirement,
        sha256=lambda wildcards, output: WHEELS[output[0]].sha256,
    log:
        "resources/logs/wheel/{file}.log",
    conda:
        ENVIRONMENT
    retries: 2
    shell:
        "python -m scripts.data.obtain --requirement {params.requirement:q}"
        " --sha256 {params.sha256} --output {output:q} 2> {log:q}"


rule prepare:
    input:
        unpack(raw_inputs),
    output:
        interactions=f"{RESULTS}/data/{{dataset}}/interactions.parquet",
        items=f"{RESULTS}/data/{{dataset}}/items.parquet",
        train=f"{RESULTS}/data/{{dataset}}/examples/train.parquet",
        valid=f"{RESULTS}/data/{{dataset}}/examples/valid.parquet",
        test=f"{RESULTS}/data/{{dataset}}/examples/test.parquet",
        facts=f"{RESULTS}/data/{{dataset}}/preparation.json",
    params:
        code=fingerprint("scripts.data.prepare"),
        raw=raw_options,
        folder=f"{RESULTS}/data/{{dataset}}",
        settings=lambda wildcards: as_json(STUDY.datasets[wildcards.dataset].preparation),
    log:
        f"{LOGS}/prepare/{{dataset}}.log",
    conda:
        ENVIRONMENT
    benchmark:
        f"{BENCHMARKS}/prepare/{{dataset}}.tsv"
    threads: 2
    shell:
        "python -m scripts.data.prepare {params.raw} --settings {params.settings:q}"
        " --output {params.folder:q} 2> {log:q}"
