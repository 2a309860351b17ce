"""Archives that a licence lets anyone download: fetched with resuming, checked, unpacked."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from src.download import FAILURES, receive
from src.errors import UserError

LARGEST = 8 << 30  # bytes; the largest archive known here, PASCAL VOC 2012, has 2 GB


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
        receive(archive.url, partial, LARGEST)
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
    except (*FAILURES, tarfile.TarError) as error:
        raise UserError(
            f"'{archive.url}' could not be fetched into '{folder}' ({error}); start again to resume, or download and "
            "unpack it yourself"
        ) from error


def _check(archive: Archive, partial: Path) -> None:
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != archive.md5:
        partial.unlink()
        raise UserError(f"'{archive.url}' has the checksum {found} instead of {archive.md5}; it was removed, try again")
