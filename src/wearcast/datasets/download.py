"""Bring one file over HTTP: in pieces if need be, again if it helps, and never half a file taken for a whole one.

What has arrived lies in a `.part` file, with the server's validator (a strong `ETag`, else `Last-Modified`) beside it.
A later attempt, in this run or the next, asks for the rest only, on the condition that the file is still the same
(RFC 9110, sections 13.1.5 and 14): a server that cannot or will not is believed, and sends all of it again.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import json
import os
import random
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO

from wearcast.errors import DataError, FormatError, SourceNotFoundError, UsageError

__all__ = ["Progress", "Retries", "digest_of", "download", "is_url"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes that there are, if that is known."""

BLOCK = 1 << 18
MAX_BYTES = 64 << 30  # a stream that does not end
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Retries:
    """How patient a download is.

    Attributes:
        attempts: how often in a row it may fail without one byte more than before.
        base_s: the first wait; each further one may be twice as long, drawn at random from 0 up (full jitter).
        cap_s: the longest wait of its own.
        patience_s: the longest wait that a server may ask for with `Retry-After`.
        timeout_s: how long a connection may say nothing.
    """

    attempts: int = 5
    base_s: float = 1.0
    cap_s: float = 60.0
    patience_s: float = 300.0
    timeout_s: float = 30.0

    def wait_s(self, failures: int, asked_s: float | None) -> float:
        """How long to wait after so many failures, given what the server asked for."""
        longest = min(self.cap_s, self.base_s * 2.0 ** (failures - 1))
        return random.uniform(0.0, longest) + (asked_s or 0.0)  # noqa: S311 - spreads load, hides nothing


class _InterruptedError(Exception):
    """Something that may be over in a moment."""

    def __init__(self, what: str, asked_s: float | None = None) -> None:
        super().__init__(what)
        self.asked_s = asked_s


def is_url(source: str) -> bool:
    """Whether this is something to download, rather than a path."""
    return urllib.parse.urlsplit(source).scheme.lower() in ("http", "https")


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    url: str,
    part: Path,
    *,
    retries: Retries | None = None,
    progress: Progress | None = None,
    sha256: str | None = None,
    hint: str | None = None,
) -> None:
    """Download a URL into `part`, going on from what is there already.

    Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY` …).

    Args:
        url: http or https.
        part: the file; at an error it stays if the next call can go on from it.
        retries: how patient to be.
        progress: called while bytes arrive.
        sha256: of the whole file, if it is known.
        hint: what a person can do when the host is gone.

    Raises:
        SourceNotFoundError: the host is out of reach or does not have it.
        FormatError: less arrived than there is, or something else than was published.
        UsageError: not an http or https URL.
    """
    if not is_url(url):
        raise UsageError("not an http or https URL", where=url)
    retries = retries or Retries()
    part.parent.mkdir(parents=True, exist_ok=True)
    with _alone(part):
        _until_whole(url, part, retries, progress, hint)
        if sha256 is not None and digest_of(part) != sha256:
            _discard(part)
            raise FormatError("these are not the published bytes: the SHA-256 differs", where=url, hint=hint)


def _until_whole(url: str, part: Path, retries: Retries, progress: Progress | None, hint: str | None) -> None:
    best, failures = _size(part), 0
    while True:
        try:
            _attempt(url, part, retries.timeout_s, progress, hint)
        except _InterruptedError as error:
            size = _size(part)
            failures = 1 if size > best else failures + 1
            best = max(best, size)
            impatient = error.asked_s is not None and error.asked_s > retries.patience_s
            if failures >= retries.attempts or impatient:
                raise _gave_up(url, part, str(error), hint) from error
            time.sleep(retries.wait_s(failures, error.asked_s))
        else:
            return


def _gave_up(url: str, part: Path, what: str, hint: str | None) -> DataError:
    if _size(part) == 0:
        _discard(part)
        return SourceNotFoundError(what, where=url, hint=hint)
    if _validator(part, url) is None:
        _discard(part)
        return FormatError(what, where=url, hint=hint)
    again = "run it again: it goes on from there"
    return FormatError(what, where=url, hint=f"{again}; or {hint}" if hint else again)


def _attempt(url: str, part: Path, timeout_s: float, progress: Progress | None, hint: str | None) -> None:
    """One connection: the rest of the file, or all of it."""
    validator = _validator(part, url)
    start = _size(part) if validator else 0
    headers = {"User-Agent": "wearcast", "Accept-Encoding": "identity"}
    if start and validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http and https only
        # An opener of its own: the shared one keeps the proxies of the first call in this process.
        with urllib.request.build_opener().open(request, timeout=timeout_s) as answer:
            _receive(answer, url, part, start, progress)
    except urllib.error.HTTPError as error:
        with error:
            _answered(error, url, part, start, hint)
    except (http.client.InvalidURL, UnicodeError) as error:
        raise UsageError(f"not a URL: {error}", where=url) from error
    except urllib.error.URLError as error:
        what = f"the host is out of reach: {error.reason}"
        if _is_final(error.reason):
            raise SourceNotFoundError(what, where=url, hint=hint) from error
        raise _InterruptedError(what) from error
    except TimeoutError as error:
        raise _InterruptedError(f"the host fell silent for {timeout_s:g} s after {_size(part)} bytes") from error
    except (ConnectionError, http.client.HTTPException, ssl.SSLError) as error:
        raise _InterruptedError(f"the connection broke after {_size(part)} bytes: {error}") from error


def _is_final(reason: object) -> bool:
    """Whether asking again is of no use: there is no such host, or it cannot prove that it is the one."""
    unknown_host = isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME
    return unknown_host or isinstance(reason, ssl.SSLCertVerificationError)


def _answered(error: urllib.error.HTTPError, url: str, part: Path, start: int, hint: str | None) -> None:
    """An answer that is no file; returns if it means that all of it is here."""
    what = f"the host answers {error.code} {error.reason}"
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
        if error.headers.get("Content-Range", "").strip() == f"bytes */{start}":
            return
        _discard(part)
        raise _InterruptedError("the file on the host has become another one")
    if error.code in _TRANSIENT:
        raise _InterruptedError(what, _asked_s(error.headers))
    raise SourceNotFoundError(what, where=url, hint=hint) from error


def _asked_s(headers: Message) -> float | None:
    """The wait that `Retry-After` asks for: seconds, or until a date."""
    text = (headers.get("Retry-After") or "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _receive(answer: http.client.HTTPResponse, url: str, part: Path, start: int, progress: Progress | None) -> None:
    start, total = _extent(answer, part, start)
    if start == 0:
        _remember(part, url, answer.headers)
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        done = _pump(answer, file, start, total, progress)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done != total:
        raise _InterruptedError(f"{done} of {total} bytes arrived")


def _extent(answer: http.client.HTTPResponse, part: Path, start: int) -> tuple[int, int | None]:
    """The byte that the answer starts at, and how many the whole file has."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != start:
            _discard(part)
            raise _InterruptedError("the host sent another part than the one asked for")
        return start, None if found[2] == "*" else int(found[2])
    length = (answer.headers.get("Content-Length") or "").strip()
    return 0, int(length) if length.isdigit() else None


def _pump(
    stream: http.client.HTTPResponse, file: IO[bytes], done: int, total: int | None, progress: Progress | None
) -> int:
    while block := stream.read1(BLOCK):
        file.write(block)
        done += len(block)
        if done > MAX_BYTES:
            raise FormatError(f"more than {MAX_BYTES} bytes: it does not end", where=file.name)
        if progress:
            progress(done, total)
    return done


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remember(part: Path, url: str, headers: Message) -> None:
    tag = headers.get("ETag")
    validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    _notes(part).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


def _validator(part: Path, url: str) -> str | None:
    try:
        notes = json.loads(_notes(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    validator = notes.get("validator") if isinstance(notes, dict) and notes.get("url") == url else None
    return validator if isinstance(validator, str) else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keep a second download off the same file, where the system can."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = part.with_name(f"{part.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError("another download of it is under way", where=str(part), hint="wait for it") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
