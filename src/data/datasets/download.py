"""Archives that a licence lets anyone download: fetched with resuming, checked, unpacked."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import tarfile
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

from src.errors import UserError

CHUNK = 1 << 20  # bytes
ATTEMPTS = 5  # in a row that bring nothing
TIMEOUT = 60  # seconds of silence
LARGEST = 8 << 30  # bytes; the largest archive known here, PASCAL VOC 2012, has 2 GB

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A .tar at an address.

    Attributes:
        url: its address.
        md5: hexadecimal checksum.
    """

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def fetch(archive: Archive, folder: Path) -> None:
    """Download an archive and unpack it into `folder`; a second call resumes an interrupted one.

    Nothing that is there already is replaced.

    Raises:
        UserError: no connection, more than `LARGEST` bytes, a wrong checksum, files of the same names, or a folder that
            cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{archive.name}.part"
        _download(archive.url, partial)
        _check(archive, partial)
        staging = folder / f".{archive.name}.unpacked"
        shutil.rmtree(staging, ignore_errors=True)
        with tarfile.open(partial, "r:") as tar:  # not compressed, so that no more comes out than is in it
            if sum(member.size for member in tar) > partial.stat().st_size:
                raise tarfile.ReadError("it unpacks to more than it has bytes")
            tar.extractall(staging, filter="data")
        items = sorted(staging.iterdir())
        for item in items:
            if os.path.lexists(folder / item.name):
                shutil.rmtree(staging)
                raise UserError(
                    f"'{folder / item.name}' exists already and is not replaced by that of '{archive.url}'; move it "
                    "away, or give another data.root"
                )
        for item in items:
            item.rename(folder / item.name)
        staging.rmdir()
        partial.unlink()
    except (OSError, http.client.HTTPException, tarfile.TarError) as error:
        raise UserError(
            f"'{archive.url}' could not be fetched into '{folder}' ({error}); start again to resume, or download and "
            "unpack it yourself"
        ) from error


def _download(url: str, partial: Path) -> None:
    fruitless = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _append(url, partial, before)
            return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, HTTPError) and error.code < 500:
                raise
            fruitless = 0 if partial.exists() and partial.stat().st_size > before else fruitless + 1
            if fruitless == ATTEMPTS:
                raise
            log.warning("%s: connection lost (%s), resuming", url, error)


def _append(url: str, partial: Path, start: int) -> None:
    """Receive what is missing, from byte `start` on."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # nothing is missing
            return
        raise
    with closing(answer):
        resumed = answer.status == http.client.PARTIAL_CONTENT
        start = start if resumed else 0
        declared = answer.headers.get("Content-Length", "0")
        total = start + (int(declared) if declared.isdecimal() else 0)
        _check_size(url, total)
        log.info("%s: %.1f MB, from %.1f MB on", url, total / 1e6, start / 1e6)
        with partial.open("ab" if resumed else "wb") as file:
            for block in iter(lambda: answer.read(CHUNK), b""):
                _check_size(url, file.tell() + len(block))
                file.write(block)
    if partial.stat().st_size < total:
        raise OSError(f"{partial.stat().st_size} of {total} bytes came")


def _check_size(url: str, size: int) -> None:
    if size > LARGEST:
        raise UserError(
            f"'{url}' has more than {LARGEST >> 30} GB, which no known data set has; download and unpack it yourself"
        )


def _check(archive: Archive, partial: Path) -> None:
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != archive.md5:
        partial.unlink()
        raise UserError(f"'{archive.url}' has the checksum {found} instead of {archive.md5}; it was removed, try again")
