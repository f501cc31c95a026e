"""The files of a published data set, wherever they lie: loose, in a folder, in a zip, or in a zip within a zip."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from wearcast.errors import DataError, FormatError, SourceNotFoundError

__all__ = ["Archive", "open_archive"]


@dataclass(frozen=True)
class Archive:
    """Files by their plain name.

    Attributes:
        path: the folder or the zip.
        members: plain name of a file to its path in the folder or in the zip.
        zipped: the opened zip, None for a folder.
    """

    path: Path
    members: dict[str, str]
    zipped: zipfile.ZipFile | None = None

    def where(self, member: str) -> str:
        """How errors call a file."""
        return f"{self.path}: {member}" if self.zipped else str(self.path / self.members.get(member, member))

    def read(self, member: str) -> bytes:
        """The bytes of a file.

        Raises:
            SourceNotFoundError: there is no such file.
            FormatError: the zip is damaged.
        """
        if member not in self.members:
            raise SourceNotFoundError(f"there is no {member}", where=str(self.path))
        if self.zipped is None:
            return _read_bytes(self.path / self.members[member])
        try:
            return self.zipped.read(self.members[member])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise FormatError(f"damaged: {error}", where=self.where(member), hint="fetch the zip again") from error


@contextmanager
def open_archive(place: Path, member: str) -> Iterator[Archive]:
    """Open the folder or zip at `place`, or the one under the folder `place`, that holds the file `member`.

    Raises:
        SourceNotFoundError: nothing at `place` holds it.
        FormatError: a zip is damaged.
    """
    if not place.exists():
        raise SourceNotFoundError("there is no such data set here", where=str(place), hint=_hint(place))
    if place.is_file():
        with _open_zip(place) as archive:
            if member not in archive.members:
                raise SourceNotFoundError(f"there is no {member}", where=str(place), hint="is it the published zip?")
            yield archive
        return
    loose = _files(place)
    if member in loose:
        yield Archive(place, loose)
        return
    zips = sorted(place.rglob("*.zip"))
    for path in zips:
        with _open_zip(path) as archive:
            if member in archive.members:
                yield archive
                return
    looked = f"looked into {', '.join(path.name for path in zips)}" if zips else "there is no zip either"
    raise SourceNotFoundError(f"there is no {member} ({looked})", where=str(place), hint=_hint(place))


def _hint(place: Path) -> str:
    return f"wearcast datasets fetch {place.name}, or set WEARCAST_DATA_DIR to the folder that holds {place.name}/"


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _files(place: Path) -> dict[str, str]:
    files = sorted(path for path in place.rglob("*.txt") if path.is_file())
    return {path.name: str(path.relative_to(place)) for path in reversed(files)}


def _members(zipped: zipfile.ZipFile) -> dict[str, str]:
    names = [info.filename for info in zipped.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
    return {PurePosixPath(name).name: name for name in names}


@contextmanager
def _open_zip(path: Path) -> Iterator[Archive]:
    with _zip(path, str(path)) as outer:
        members = _members(outer)
        inner = [name for name in members if name.lower().endswith(".zip")]
        if not inner:
            yield Archive(path, members, outer)
            return
        data = Archive(path, members, outer).read(inner[0])
        with _zip(io.BytesIO(data), f"{path}: {inner[0]}") as nested:
            yield Archive(path, _members(nested), nested)


def _zip(file: Path | IO[bytes], where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise FormatError("truncated or not a zip", where=where, hint="fetch the zip again") from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=where) from error
