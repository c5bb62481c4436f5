"""A fine-tuned model on a model hub: its files, and its card with what was measured of it."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitOperationAdd, EvalResult, HfApi, ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from scripts.backbones.fetch import FAULTS, patiently
from scripts.cells import cell_of, model_of
from scripts.command import InputError, run
from scripts.contracts import PER_EXAMPLE
from scripts.files import read_json, read_table, write_json


def measured(model: Path, metrics: list[Path], k: int) -> list[EvalResult]:
    """The validation loss of a model, and on the test split mean HR@K and NDCG@K of each decoder.

    The loss is known when a model is trained, and the rest is not: so the card of the training has
    no metrics, and this one has all.
    """
    loss = read_json(model / "run.json")["valid_equal_weight_loss"]
    found = [("validation", "loss", "loss with equal token weights", loss)]
    for path in metrics:
        decoder, frame = cell_of(path).decoder, read_table(path, PER_EXAMPLE)
        for name in (f"hr@{k}", f"ndcg@{k}"):
            words = f"{name.upper()}, decoder {decoder}, {len(frame)} examples"
            found.append(("test", name, words, float(frame[name].astype(float).mean())))
    dataset = model_of(model).dataset
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=split,
            metric_type=kind,
            metric_name=words,
            metric_value=value,
        )
        for split, kind, words, value in found
    ]


def push(model: Path, metrics: list[Path], k: int, repository: str, output: Path) -> None:
    """Upload a model to a repository of the hub in one commit; a new repository is private.

    Args:
        model: folder of a fine-tuned model.
        metrics: per-example metrics of its lists with the history, one per decoder.
        k: the K of the metrics on the card.
        repository: `<owner>/<name>`.
        output: record of what was uploaded where.

    Raises:
        InputError: the hub is out of reach or refuses.
    """
    results = measured(model, metrics, k)
    card = ModelCard((model / "README.md").read_text(encoding="utf-8"))
    card.data.model_name, card.data.eval_results = repository, results
    files = [path for path in sorted(model.iterdir()) if not path.name.startswith(".")]
    contents = {path.name: path for path in files} | {"README.md": str(card).encode()}
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    api = HfApi()
    try:
        patiently(lambda: api.create_repo(repository, private=True, exist_ok=True))
        commit = patiently(
            lambda: api.create_commit(repository, operations, commit_message="A fine-tuned model")
        )
    except (*FAULTS, HFValidationError) as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
        remedy = "try again"
        if isinstance(error, HFValidationError):
            remedy = "choose other names in the study"
        elif status in (401, 403):
            remedy = "log in with `hf auth login` and a token that may write there"
        said = " ".join(str(error).split())
        raise InputError(
            f"{repository} could not be uploaded to {constants.ENDPOINT} ({said}); {remedy}, or "
            "set push_to_hub to null"
        ) from error
    write_json({"repository": repository, "commit": commit.oid, "url": commit.commit_url}, output)


if __name__ == "__main__":
    run(push)
