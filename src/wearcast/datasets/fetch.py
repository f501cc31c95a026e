"""Bring a published data set into the data folder: whole and checked, or not at all.

Everything arrives in a folder of its own beside the data set, is unpacked, read and compared there, and only then
moved into place, file by file. What was here before stays until then.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import urllib.parse
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wearcast.datasets.archive import Archive, open_archive
from wearcast.datasets.card import DatasetCard
from wearcast.datasets.catalogue import DeclaredSet, entry, plain
from wearcast.datasets.download import BLOCK, Progress, Retries, download, is_url
from wearcast.datasets.location import data_dir, dataset_dir
from wearcast.datasets.verification import verify
from wearcast.errors import DataError, FormatError, SourceNotFoundError, UsageError

__all__ = ["MIRROR_VARIABLE", "OFFLINE_VARIABLE", "Progress", "fetch"]

MIRROR_VARIABLE = "WEARCAST_MIRROR"
"""Base URL that is asked first, for `<base>/<set>/<file>`: a copy inside a company, for instance."""

OFFLINE_VARIABLE = "WEARCAST_OFFLINE"
"""Anything but empty, 0, no or false: nothing is downloaded."""

_STALE_S = 2 * 86_400.0


@dataclass(frozen=True)
class _Remote:
    """A file on a host: its URL, what it is called here, and its checksum if that is known."""

    url: str
    called: str
    sha256: str | None = None


def fetch(
    name: str,
    from_: str | Path | None = None,
    *,
    progress: Progress | None = None,
    mirror: str | None = None,
    offline: bool | None = None,
    retries: Retries | None = None,
) -> Path:
    """Bring a data set into the data folder, check it, and only then let it take its place.

    Args:
        name: a declared data set, such as `cmapss`.
        from_: a zip, an unpacked folder, a single file or a URL; by default where the set is published.
        progress: called while bytes arrive.
        mirror: base URL that is asked first; by default the environment variable `WEARCAST_MIRROR`.
        offline: download nothing; by default the environment variable `WEARCAST_OFFLINE`.
        retries: how patient a download is.

    Returns:
        The folder or zip of the set. Without `from_`, a set that is already here and whole is left as it is.

    Raises:
        UsageError: the set is built in, or its source is neither a file nor an http or https URL.
        SourceNotFoundError: no such set or source, or the host is out of reach; the hint says what to do by hand.
        FormatError: what arrived is damaged or not the published data; what was here before stays.
    """
    found = entry(name)
    card, one = found.card, found.declared
    if card.built_in:
        raise UsageError(f"{card.name} is built in: there is nothing to fetch", hint=f"use it as {card.name}")
    home = dataset_dir(card.name)
    if from_ is None and found.state == "here" and found.path is not None and _is_whole(one, found.path):
        return found.path
    if from_ is not None and not is_url(str(from_)):
        return _from_disk(one, _local(str(from_)), home, progress)
    if _is_offline() if offline is None else offline:
        raise SourceNotFoundError(
            f"{card.name} is not here, and nothing is downloaded while offline", where=str(home), hint=_by_hand(card)
        )
    sources = [[_remote(str(from_))]] if from_ is not None else _published(card, mirror)
    if not sources:
        raise SourceNotFoundError(f"{card.name} cannot be downloaded in one go", where=str(home), hint=_by_hand(card))
    return _first_good(one, sources, home, retries, progress)


def _is_whole(one: DeclaredSet, place: Path) -> bool:
    try:
        verify(one, place)
    except DataError:
        return False  # fetched anew
    return True


def _is_offline() -> bool:
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "no", "false")


def _by_hand(card: DatasetCard) -> str | None:
    return f"by hand: {card.manual_steps}" if card.manual_steps else None


# ---------------------------------------------------------------------- where from


def _local(source: str) -> Path:
    scheme = urllib.parse.urlsplit(source).scheme
    if scheme == "file":
        source = urllib.parse.unquote(urllib.parse.urlsplit(source).path)
    elif "://" in source:
        raise UsageError(f"{scheme} is not downloaded", where=source, hint="http, https, a file or a folder")
    path = Path(source).expanduser()
    if not path.exists():
        raise SourceNotFoundError("no such file or folder", where=str(path))
    return path


def _remote(url: str, sha256: str | None = None) -> _Remote:
    name = urllib.parse.unquote_plus(urllib.parse.urlsplit(url).path.rsplit("/", maxsplit=1)[-1])
    return _Remote(url, name or "download", sha256)


def _published(card: DatasetCard, mirror: str | None) -> list[list[_Remote]]:
    """Where to look, in order: each source is one file for all, or the files that are published one by one."""
    parts = [_Remote(file.url, file.pattern, file.sha256) for file in card.files if file.url]
    whole = [[_remote(url, card.sha256 if url == card.url else None)] for url in (card.url, *card.mirrors) if url]
    sources = [parts] if parts else whole
    if not sources:
        return []
    base = (mirror if mirror is not None else os.environ.get(MIRROR_VARIABLE, "")).strip().rstrip("/")
    if not base:
        return sources
    if not is_url(base):
        raise UsageError("a mirror is an http or https URL", where=base)
    copies = [
        _Remote(f"{base}/{card.name}/{urllib.parse.urlsplit(part.url).path.rsplit('/', maxsplit=1)[-1]}", part.called)
        for part in sources[0]
    ]
    return [copies, *sources]


# ---------------------------------------------------------------------- bringing


def _from_disk(one: DeclaredSet, source: Path, home: Path, progress: Progress | None) -> Path:
    if home.exists() and source.samefile(home):
        verify(one, home)
        return home
    with _arriving(home) as staging:
        _take(source, source.name, one.card, staging, progress)
        verify(one, staging)
    return home


def _first_good(
    one: DeclaredSet,
    sources: Sequence[Sequence[_Remote]],
    home: Path,
    retries: Retries | None,
    progress: Progress | None,
) -> Path:
    """The set from the first source that has it, whole; the last one's error if none has."""
    for i, source in enumerate(sources):
        try:
            with _arriving(home) as staging:
                parts = [_download(remote, one.card, retries, progress) for remote in source]
                try:
                    for part, remote in zip(parts, source, strict=True):
                        _take(part, remote.called, one.card, staging, None)
                finally:
                    _drop(parts)  # what is whole is unpacked now, what is damaged must not be gone on from
                verify(one, staging)
        except DataError:
            if i == len(sources) - 1:
                raise
        else:
            break
    return home


def _download(remote: _Remote, card: DatasetCard, retries: Retries | None, progress: Progress | None) -> Path:
    key = hashlib.sha256(remote.url.encode()).hexdigest()[:16]
    part = data_dir() / ".partial" / f"{card.name}-{key}.part"
    download(remote.url, part, retries=retries, progress=progress, sha256=remote.sha256, hint=_by_hand(card))
    return part


def _drop(parts: Sequence[Path]) -> None:
    for part in parts:
        part.unlink(missing_ok=True)
        part.with_name(f"{part.name}.json").unlink(missing_ok=True)


def _take(source: Path, called: str, card: DatasetCard, staging: Path, progress: Progress | None) -> None:
    """Copy the files of the set into `staging`: out of a folder, out of a zip, or the one file that it is."""
    if source.is_dir() or zipfile.is_zipfile(source):
        with open_archive(source, *card.patterns) as archive:
            _unpack(archive, card, staging, progress)
        return
    name = _single(source, called, card)
    with source.open("rb") as stream, (staging / name).open("xb") as file:
        _copy(stream, file, 0, source.stat().st_size, progress)


def _single(source: Path, called: str, card: DatasetCard) -> str:
    """What a file that is no zip is called in the set."""
    with source.open("rb") as stream:
        head = stream.read(512).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        raise FormatError("a web page arrived, not the data", where=called, hint=_by_hand(card))
    if called.lower().endswith(".zip") or head.startswith(b"pk\x03\x04"):
        raise FormatError("truncated or not a zip", where=str(source), hint="fetch the zip again")
    if card.file_of(called) is not None or not card.files:
        return called
    if len(card.files) == 1 and not any(letter in card.files[0].pattern for letter in "*?["):
        return card.files[0].pattern
    raise FormatError(
        f"{called} is not one of its files", where=str(source), hint=f"they are called {', '.join(card.patterns)}"
    )


def _unpack(archive: Archive, card: DatasetCard, staging: Path, progress: Progress | None) -> None:
    paths = archive.find(*card.patterns)
    total = sum(archive.size(path) for path in paths)
    done = 0
    for path, name in zip(paths, plain(paths), strict=True):
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(path) as stream, target.open("xb") as file:
            done = _copy(stream, file, done, total, progress)


def _copy(stream: IO[bytes], file: IO[bytes], done: int, total: int, progress: Progress | None) -> int:
    while block := stream.read(BLOCK):
        file.write(block)
        done += len(block)
        if progress:
            progress(done, total)
    file.flush()
    os.fsync(file.fileno())
    return done


# ---------------------------------------------------------------------- settling


@contextmanager
def _arriving(home: Path) -> Iterator[Path]:
    """An empty folder whose files are moved to `home` at the end, or removed on any error."""
    staging: Path | None = None
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        _sweep(home.parent)
        staging = Path(tempfile.mkdtemp(prefix=".arriving-", dir=home.parent)) / home.name
        staging.mkdir()
        yield staging
        _settle(staging, home)
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror or error}",
            where=str(home),
            hint="set WEARCAST_DATA_DIR to a folder that has room and may be written",
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging.parent, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what was arriving when a machine went down."""
    for path in folder.glob(".arriving-*"):
        if time.time() - path.stat().st_mtime > _STALE_S:
            shutil.rmtree(path, ignore_errors=True)


def _settle(staging: Path, home: Path) -> None:
    for file in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = home / file.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.chmod(0o644)
        file.replace(target)
    for folder in {home, *(path for path in home.rglob("*") if path.is_dir())}:
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
