"""Receive a file from an address, resuming where a connection was lost."""

from __future__ import annotations

import http.client
import logging
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError

from src.errors import UserError

CHUNK = 1 << 20  # bytes
ATTEMPTS = 5  # in a row that bring nothing
TIMEOUT = 60  # seconds of silence

FAILURES = (OSError, http.client.HTTPException)  # that `receive` raises where an address gives nothing

log = logging.getLogger(__name__)


def receive(url: str, partial: Path, largest: int) -> None:
    """Download a file; what `partial` holds of it already is kept.

    Args:
        url: its address.
        partial: gets its bytes.
        largest: number of them that is taken.

    Raises:
        UserError: more bytes.
        OSError, HTTPException: no connection, or nothing more comes.
    """
    fruitless = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _append(url, partial, before, largest)
            return
        except FAILURES as error:
            if isinstance(error, HTTPError) and error.code < 500:
                raise
            fruitless = 0 if partial.exists() and partial.stat().st_size > before else fruitless + 1
            if fruitless == ATTEMPTS:
                raise
            log.warning("%s: connection lost (%s), resuming", _shown(url), error)


def _append(url: str, partial: Path, start: int, largest: int) -> None:
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
        _check_size(url, total, largest)
        log.info("%s: %.1f MB, from %.1f MB on", _shown(url), total / 1e6, start / 1e6)
        with partial.open("ab" if resumed else "wb") as file:
            for block in iter(lambda: answer.read(CHUNK), b""):
                _check_size(url, file.tell() + len(block), largest)
                file.write(block)
    if partial.stat().st_size < total:
        raise OSError(f"{partial.stat().st_size} of {total} bytes came")


def _check_size(url: str, size: int, largest: int) -> None:
    if size > largest:
        raise UserError(
            f"'{_shown(url)}' has more than {largest / 1e6:.0f} MB, which nothing known here has; check the "
            "address, or download it yourself"
        )


def _shown(url: str) -> str:
    """Without a query, which may hold a key."""
    return url.partition("?")[0]
