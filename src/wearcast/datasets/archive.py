"""The files of a data set, wherever they lie: loose, in a folder, in a zip, or in a zip within a zip.

A zip is input from outside: nothing of it is trusted. Names that lead out of it, links, encrypted members and members
that would unpack to far more than they weigh are refused before anything is read.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from wearcast.errors import DataError, FormatError, SourceNotFoundError

__all__ = ["MAX_RATIO", "MAX_TOTAL_BYTES", "Archive", "open_archive"]

MAX_TOTAL_BYTES = 16 << 30
"""Most that one zip may unpack to."""

MAX_RATIO = 200
"""Most bytes that a large member may unpack to for each byte in the zip; tables of sensors reach 20."""

_MAX_MEMBERS = 100_000
_SMALL = 16 << 20  # members up to this size may be compressed as well as they like
_MAX_NESTED = 2 << 30  # a zip within a zip is held in memory
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)


@dataclass(frozen=True)
class Archive:
    """Files by their plain name.

    Attributes:
        path: the folder or the zip.
        members: plain name of a file to its path in the folder or in the zip; of two files with one name, the one
            that lies less deep.
        paths: every file, as its path in the folder or in the zip.
        zipped: the opened zip, None for a folder.
    """

    path: Path
    members: dict[str, str]
    paths: tuple[str, ...] = ()
    zipped: zipfile.ZipFile | None = None

    def where(self, member: str) -> str:
        """How errors call a file."""
        return f"{self.path}: {member}" if self.zipped else str(self.path / self.members.get(member, member))

    def find(self, *patterns: str) -> tuple[str, ...]:
        """The paths of all files whose plain name is like one of the patterns, in order."""
        names = ((PurePosixPath(path).name, path) for path in self.paths)
        return tuple(path for name, path in names if any(fnmatch.fnmatchcase(name, like) for like in patterns))

    def file(self, member: str) -> Path | None:
        """Where a file lies on the disk, by plain name or path; None in a zip."""
        return None if self.zipped else self.path / self._path(member)

    def size(self, member: str) -> int:
        """Bytes of a file, by plain name or path."""
        path = self._path(member)
        return self.zipped.getinfo(path).file_size if self.zipped else (self.path / path).stat().st_size

    def read(self, member: str) -> bytes:
        """The bytes of a file, by plain name or path.

        Raises:
            SourceNotFoundError: there is no such file.
            FormatError: the zip is damaged.
        """
        try:
            with self.open(member) as stream:
                return stream.read()
        except OSError as error:
            raise self._unreadable(member, error) from error

    def sha256(self, member: str) -> str:
        """SHA-256 of a file, by plain name or path; see `read`."""
        digest = hashlib.sha256()
        with self.open(member) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    @contextmanager
    def open(self, member: str) -> Iterator[IO[bytes]]:
        """A file as a stream of bytes, by plain name or path; see `read`."""
        path = self._path(member)
        try:
            stream = (self.path / path).open("rb") if self.zipped is None else self.zipped.open(path)
        except (*_DAMAGE, NotImplementedError, RuntimeError) as error:
            raise self._damaged(member, error) from error
        except OSError as error:
            raise self._unreadable(member, error) from error
        with stream:
            try:
                yield stream
            except _DAMAGE as error:
                raise self._damaged(member, error) from error

    def _damaged(self, member: str, error: Exception) -> FormatError:
        return FormatError(f"damaged: {error}", where=self.where(member), hint="fetch the zip again")

    def _unreadable(self, member: str, error: OSError) -> DataError:
        return DataError(f"cannot be read: {error.strerror or error}", where=self.where(member))

    def _path(self, member: str) -> str:
        path = self.members.get(member, member)
        if path not in self.paths:
            raise SourceNotFoundError(f"there is no {member}", where=str(self.path))
        return path


@contextmanager
def open_archive(place: Path, *patterns: str) -> Iterator[Archive]:
    """Open the folder or zip at `place`, or the one under the folder `place`, that holds a file like one of these.

    Args:
        place: a folder or a zip.
        patterns: plain names of files; `*` and `?` stand for any letters and any letter.

    Raises:
        SourceNotFoundError: nothing at `place` holds any.
        FormatError: a zip is damaged, or holds what no published set holds.
    """
    wanted = " or ".join(patterns)
    if not place.exists():
        raise SourceNotFoundError("there is no such data set here", where=str(place), hint=_hint(place))
    if place.is_file():
        with _open_zip(place, *patterns) as archive:
            if not archive.find(*patterns):
                raise SourceNotFoundError(f"there is no {wanted}", where=str(place), hint="is it the published zip?")
            yield archive
        return
    loose = _folder(place)
    if loose.find(*patterns):
        yield loose
        return
    zips = [place / path for path in loose.find("*.zip")]
    for path in zips:
        with _open_zip(path, *patterns) as archive:
            if archive.find(*patterns):
                yield archive
                return
    looked = f"looked into {', '.join(path.name for path in zips)}" if zips else "there is no zip either"
    raise SourceNotFoundError(f"there is no {wanted} ({looked})", where=str(place), hint=_hint(place))


def _hint(place: Path) -> str:
    return f"wearcast datasets fetch {place.name}, or set WEARCAST_DATA_DIR to the folder that holds {place.name}/"


def _folder(place: Path) -> Archive:
    try:
        found = [path.relative_to(place) for path in place.rglob("*") if path.is_file()]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(place)) from error
    paths = sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
    return Archive(place, _by_name(paths), tuple(paths))


def _by_name(paths: list[str]) -> dict[str, str]:
    best_last = sorted(paths, key=lambda path: (path.count("/"), path), reverse=True)
    return {PurePosixPath(path).name: path for path in best_last}


def _members(zipped: zipfile.ZipFile, where: str) -> list[str]:
    """The paths of the files of a zip, after a look at what they claim to be."""
    infos = [info for info in zipped.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
    if len(infos) > _MAX_MEMBERS:
        raise FormatError(f"{len(infos)} files are too many", where=where, hint="is it the published zip?")
    seen: set[str] = set()
    for info in infos:
        reason = "is there twice" if info.filename in seen else _suspicious(info)
        seen.add(info.filename)
        if reason:
            raise FormatError(
                f"{info.filename!r} {reason}", where=where, hint="this is not the published zip; nothing was unpacked"
            )
    total = sum(info.file_size for info in infos)
    if total > MAX_TOTAL_BYTES:
        raise FormatError(
            f"it would unpack to {total / 1e9:.1f} GB, and {MAX_TOTAL_BYTES / 1e9:.1f} GB is the limit",
            where=where,
            hint="unpack it by hand if you trust it, then fetch --from the folder",
        )
    return [info.filename for info in infos]


def _suspicious(info: zipfile.ZipInfo) -> str | None:
    name = info.orig_filename.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/") or "\0" in name:
        return "leads out of the zip"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.file_size > max(_SMALL, MAX_RATIO * info.compress_size):
        return f"would unpack to {info.file_size / max(info.compress_size, 1):.0f} times its size"
    return None


@contextmanager
def _open_zip(path: Path, *patterns: str) -> Iterator[Archive]:
    """A zip, or the first zip within it that holds what the zip itself does not."""
    with _zip(path, str(path)) as outer:
        paths = _members(outer, str(path))
        archive = Archive(path, _by_name(paths), tuple(paths), outer)
        inner = [] if archive.find(*patterns) else [name for name in paths if name.lower().endswith(".zip")]
        for name in inner:
            with _open_nested(archive, name) as nested:
                if nested.find(*patterns):
                    yield nested
                    return
        yield archive


@contextmanager
def _open_nested(archive: Archive, name: str) -> Iterator[Archive]:
    where = f"{archive.path}: {PurePosixPath(name).name}"
    if archive.size(name) > _MAX_NESTED:
        raise FormatError("the zip within the zip is too large", where=where, hint="unpack it by hand")
    with _zip(io.BytesIO(archive.read(name)), where) as nested:
        paths = _members(nested, where)
        yield Archive(archive.path, _by_name(paths), tuple(paths), nested)


def _zip(file: Path | IO[bytes], where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError) as error:
        raise FormatError("truncated or not a zip", where=where, hint="fetch the zip again") from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=where) from error
