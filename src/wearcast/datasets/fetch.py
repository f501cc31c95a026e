"""Bring a published data set into the data folder: whole and checked, or not at all."""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from wearcast.datasets import cmapss
from wearcast.datasets.archive import Archive, open_archive
from wearcast.datasets.card import DatasetCard
from wearcast.datasets.catalogue import entry
from wearcast.datasets.location import dataset_dir
from wearcast.errors import DataError, FormatError, SourceNotFoundError, UsageError

__all__ = ["Progress", "fetch"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes that there are, if that is known."""

BLOCK = 1 << 18
TIMEOUT_S = 30.0
ZIP_NAME = "CMAPSSData.zip"


def fetch(name: str, from_: str | Path | None = None, *, progress: Progress | None = None) -> Path:
    """Copy a data set into the data folder, check it, and only then let it take its place.

    Args:
        name: a declared data set, such as `cmapss`.
        from_: a zip, an unpacked folder or a URL; by default where the set is published.
        progress: called while bytes arrive.

    Returns:
        Where the set is now. Without `from_`, a set that is already here and whole is left as it is.

    Raises:
        UsageError: the set is built in.
        SourceNotFoundError: no such set or source, or the host is out of reach; the hint says what to do by hand.
        FormatError: what arrived is damaged or not the published data; what was here before stays.
    """
    found = entry(name)
    card = found.card
    if card.url is None:
        raise UsageError(f"{card.name} is built in: there is nothing to fetch", hint=f"use it as {card.name}")
    if from_ is None and found.state == "here" and found.path is not None:
        try:
            _check(found.path)
        except DataError:
            pass  # damaged: fetched anew below
        else:
            return found.path
    target = dataset_dir(card.name) / ZIP_NAME
    source = str(from_) if from_ is not None else card.url
    with _arriving(target) as (part, file):
        if urllib.parse.urlsplit(source).scheme in ("http", "https"):
            _download(source, file, card, progress)
        else:
            _copy(Path(source.removeprefix("file://")).expanduser(), file, progress)
        file.flush()
        os.fsync(file.fileno())
        _check(part)
    return target


@contextmanager
def _arriving(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A temporary file beside `target` that takes its place at the end, or is removed on any error."""
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(prefix=".arriving-", suffix=".part", dir=target.parent)
        part = Path(made)
        with os.fdopen(handle, "wb") as file:
            yield part, file
        part.chmod(0o644)
        part.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror or error}",
            where=str(target),
            hint="set WEARCAST_DATA_DIR to a folder that has room and may be written",
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copy(source: Path, file: IO[bytes], progress: Progress | None) -> None:
    if not source.exists():
        raise SourceNotFoundError("no such file or folder", where=str(source))
    if source.is_dir():
        _pack(source, file, progress)
        return
    total = source.stat().st_size
    with source.open("rb") as stream:
        _pump(stream, file, total, progress)


def _pack(folder: Path, file: IO[bytes], progress: Progress | None) -> None:
    """The members of an unpacked folder as one zip; a zip in the folder is copied as it is."""
    with open_archive(folder, "train_FD001.txt") as archive:
        if archive.zipped is not None:
            with archive.path.open("rb") as stream:
                _pump(stream, file, archive.path.stat().st_size, progress)
            return
        names = sorted(name for name in archive.members if name.startswith(("train_", "test_", "RUL_", "readme")))
        total = sum((folder / archive.members[name]).stat().st_size for name in names)
        done = 0
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for name in names:
                data = archive.read(name)
                packed.writestr(name, data)
                done += len(data)
                if progress:
                    progress(done, total)


def _download(url: str, file: IO[bytes], card: DatasetCard, progress: Progress | None) -> None:
    hint = f"by hand: {card.manual_steps}" if card.manual_steps else None
    request = urllib.request.Request(url, headers={"User-Agent": "wearcast"})  # noqa: S310 - http and https only
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as stream:  # noqa: S310
            length = stream.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            done = _pump(stream, file, total, progress)
    except urllib.error.HTTPError as error:
        raise SourceNotFoundError(f"the host answers {error.code} {error.reason}", where=url, hint=hint) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise SourceNotFoundError(f"the host is out of reach: {reason}", where=url, hint=hint) from error
    if total is not None and done != total:
        raise FormatError(f"{done} of {total} bytes arrived", where=url, hint="try again")


def _pump(stream: IO[bytes], file: IO[bytes], total: int | None, progress: Progress | None) -> int:
    done = 0
    while block := stream.read(BLOCK):
        file.write(block)
        done += len(block)
        if progress:
            progress(done, total)
    return done


def _check(path: Path) -> None:
    """Read every file of every subset, with all the counts that were published."""
    with open_archive(path, "train_FD001.txt") as archive:
        _check_members(archive)
        for subset in cmapss.SUBSETS:
            cmapss.load_subset(archive, subset, "train")
            cmapss.load_subset(archive, subset, "test")


def _check_members(archive: Archive) -> None:
    wanted = [f"{part}_{subset}.txt" for subset in cmapss.SUBSETS for part in ("train", "test")]
    missing = [name for name in wanted if name not in archive.members]
    if missing:
        raise FormatError(f"files are missing: {', '.join(missing)}", where=str(archive.path))
