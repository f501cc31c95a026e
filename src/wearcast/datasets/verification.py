"""Whether the files at a place are the published data set: all there, readable, and the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wearcast.datasets.archive import Archive, open_archive
from wearcast.datasets.card import DataFile
from wearcast.datasets.catalogue import DeclaredSet
from wearcast.datasets.location import located
from wearcast.errors import FormatError, SourceNotFoundError

__all__ = ["verify"]

_LINE_ENDS_UP_TO = 256 << 20  # a file is held in memory three times to compare it with other line ends


def verify(declared: DeclaredSet, place: Path) -> None:
    """Read everything at `place` as training would, with all counts that were published, and compare checksums.

    A variant whose files are optional and not there is passed over, as long as another one is there.

    Raises:
        SourceNotFoundError: nothing of the set is there.
        FormatError: a required file is missing, damaged, or not the published one.
    """
    card = declared.card
    with open_archive(place, *card.patterns) as archive:
        missing = [file.pattern for file in card.files if file.required and not archive.find(file.pattern)]
        if missing:
            raise FormatError(f"files are missing: {', '.join(missing)}", where=str(archive.path))
    _load_all(declared, place)
    with open_archive(place, *card.patterns) as archive:
        for file in card.files:
            if file.sha256 is not None:
                _compare(archive, file, file.sha256)


def _load_all(declared: DeclaredSet, place: Path) -> None:
    absent: SourceNotFoundError | None = None
    loaded = 0
    with located(declared.card.name, place):
        for variant in declared.variants:
            try:
                variant.load("all")
                loaded += 1
            except SourceNotFoundError as error:
                absent = error
    if absent is not None and not loaded:
        raise absent


def _compare(archive: Archive, file: DataFile, sha256: str) -> None:
    for path in archive.find(file.pattern):
        if archive.sha256(path) == sha256:
            continue
        if archive.size(path) > _LINE_ENDS_UP_TO or sha256 not in _other_line_ends(archive.read(path)):
            raise FormatError(
                "the content is not what was published: its SHA-256 differs",
                where=archive.where(path),
                hint=f"published is {sha256[:16]}…; it can be read, but something in it was changed",
            )


def _other_line_ends(data: bytes) -> tuple[str, str]:
    """What the checksum would be with the line ends of Unix, and of Windows."""
    unix = data.replace(b"\r\n", b"\n")
    return hashlib.sha256(unix).hexdigest(), hashlib.sha256(unix.replace(b"\n", b"\r\n")).hexdigest()
