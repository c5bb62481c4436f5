"""Obtain one raw file: from a URL, or as a wheel from the configured package registry."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests
import urllib3
from isal import igzip
from isal.isal_zlib import IsalError

from scripts.command import InputError, progress, run
from scripts.files import sha256 as checksum

log = logging.getLogger(__name__)

#: Failures in a row, each without a single new byte, after which a download is given up.
ATTEMPTS = 5
#: Seconds to wait after the first failure; doubled after each further one.
BACKOFF = 2.0
#: Seconds without an answer after which a connection counts as lost.
TIMEOUT = 60.0
BLOCK = 1 << 16


def obtain(
    output: Path,
    url: str | None = None,
    requirement: str | None = None,
    sha256: str | None = None,
) -> None:
    """Obtain one raw file, verified; an interrupted download goes on where it stopped.

    Args:
        output: Where the file goes; it appears when it is complete.
        url: http(s) address to download.
        requirement: Package and exact version, such as `name==1.0`, whose wheel is fetched by pip.
        sha256: Checksum of the wheel.
    """
    if url and not requirement and not sha256:
        obtain_url(url, output)
    elif requirement and sha256 and not url:
        obtain_wheel(requirement, sha256, output)
    else:
        raise InputError("Give either --url, or --requirement with --sha256")


def obtain_url(url: str, output: Path) -> None:
    """Download a file over http(s).

    What has arrived lies in `<output>.part`; a later attempt or run asks for the rest only. The
    length is checked where the server tells it, and the checksums inside a `.gz` file always.

    Args:
        url: Address of the file.
        output: Where it goes.

    Raises:
        InputError: the server refuses, does not answer, or sends a damaged file.
    """
    remedy = f"check the address, or put the file by hand at {output}"
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f"{output.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _download_rest(url, part)
            break
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
        ) as error:
            raise InputError(f"{url}: {error}; {remedy}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            status = getattr(getattr(error, "response", None), "status_code", 0)
            if 400 <= status < 500 and status not in (408, 416, 429):
                raise InputError(f"{url}: {error}; {remedy}") from error
            failures = 0 if _size(part) > before else failures + 1
            if failures == ATTEMPTS:
                raise InputError(
                    f"{url}: given up after {ATTEMPTS} attempts ({error}); run again to go on "
                    f"where it stopped, {remedy}"
                ) from error
            log.warning("%s: %s; trying again", url, error)
            time.sleep(BACKOFF * 2 ** max(failures - 1, 0))
    if output.suffix == ".gz":
        _check_gzip(part, url, remedy)
    part.replace(output)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _download_rest(url: str, part: Path) -> None:
    """Append to `part` what it lacks, or start it anew where the server cannot go on."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return  # It was complete when the last run was interrupted.
            part.unlink(missing_ok=True)
        response.raise_for_status()
        resumed = response.status_code == 206
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        blocks = response.raw.stream(BLOCK, decode_content=False)
        total = -(-int(length) // BLOCK) if length else None
        with part.open("ab" if resumed else "wb") as stream:
            for block in progress(blocks, f"{part.stem} (blocks of {BLOCK >> 10} kB)", total):
                stream.write(block)
        if length and _size(part) != start + int(length):
            raise urllib3.exceptions.IncompleteRead(_size(part) - start, int(length))


def _check_gzip(part: Path, url: str, remedy: str) -> None:
    try:
        with igzip.open(part, "rb") as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, IsalError) as error:
        part.unlink()
        raise InputError(
            f"{url}: what arrived is no intact gzip file ({error}) and was deleted; "
            f"run again, {remedy}"
        ) from error


def obtain_wheel(requirement: str, sha256: str, output: Path) -> None:
    """Fetch a wheel, and no dependency of it, from whatever registry pip is configured for.

    Args:
        requirement: Package and exact version, such as `name==1.0`.
        sha256: Expected checksum, 64 hexadecimal digits.
        output: Where the wheel goes.

    Raises:
        InputError: pip cannot fetch it, or its checksum differs (nothing is left behind).
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, suffix=".partial") as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
        ]
        log.info("fetching the wheel of %s", requirement)
        result = subprocess.run(
            [*command, "--dest", folder, requirement],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or len(wheels) != 1:
            raise InputError(
                f"{requirement}: pip could not fetch the wheel; check the connection and pip's "
                f"index, or put the wheel by hand at {output}\n{result.stderr.strip()}"
            )
        found = checksum(wheels[0])
        if found != sha256:
            raise InputError(
                f"{requirement}: the wheel's SHA-256 is {found}, expected {sha256}; "
                "check the configured version and checksum, and the registry"
            )
        wheels[0].replace(output)


if __name__ == "__main__":
    run(obtain)
