"""Bundles of the registry that are kept on this machine: which is served, and which may go.

<cache>/<checksum>/          a bundle, as `registry.artifacts` puts it there
       served-<…>.json       which of them are served by one reference, and which was before

Other references, other services and the command line may share the folder. What a service has fetched is deleted when
it serves it no more and no other reference does; what somebody else has fetched is left alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from secrets import token_hex

from wearcast.service.logs import get_logger
from wearcast.service.served import Served
from wearcast.writing import replace_file

__all__ = ["KeptBundles", "Remembered"]

log = get_logger("wearcast.service.deployment")

GONE = ".gone"


@dataclass(frozen=True)
class Remembered:
    """A bundle on this machine, and what it was served as."""

    name: str
    version: str
    path: Path


@dataclass(frozen=True)
class _Record:
    """What is served by one reference. Paths are those of bundles, wherever they lie."""

    reference: str
    name: str
    version: str
    path: str
    previous: str | None = None
    challenger: str | None = None

    @property
    def paths(self) -> set[str]:
        return {path for path in (self.path, self.previous, self.challenger) if path is not None}


class KeptBundles:
    """The bundles of one reference.

    Args:
        cache: folder of the bundles.
        reference: such as `pumps@champion`.
    """

    def __init__(self, cache: Path, reference: str) -> None:
        digest = hashlib.sha256(reference.encode()).hexdigest()[:16]
        self._cache = cache
        self._file = cache / f"served-{digest}.json"
        self._reference = reference
        self._kept: _Record | None = None

    def keep(self, champion: Served, challenger: Served | None) -> None:
        """Note what is served now, and delete what was served before the previous champion.

        A disk that cannot be written is told of, and no reason not to serve.
        """
        before = self._kept or _read(self._file)
        path = str(champion.bundle.path)
        now = _Record(self._reference, champion.name, champion.version, path, None, _path(challenger))
        if before is not None:
            now = replace(now, previous=before.previous if before.path == path else before.path)
        if now == self._kept:
            return
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            replace_file(self._file, json.dumps(asdict(now)).encode())
            self._kept = now
            for old in (before.paths if before is not None else set()) - now.paths:
                self._delete(Path(old))
            for left in self._cache.glob(f".*{GONE}"):  # of a deletion that was killed
                shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            log.warning("what is served cannot be noted", path=str(self._file), error=error.strerror or str(error))

    def last(self) -> Remembered | None:
        """The last champion; None if there was none, or it is there no more."""
        found = _read(self._file)
        if found is None or found.reference != self._reference or not Path(found.path).is_dir():
            return None
        return Remembered(found.name, found.version, Path(found.path))

    def _delete(self, bundle: Path) -> None:
        """Delete a bundle of this cache, unless another reference serves it; whoever looks sees all of it or nothing.

        A registry whose files lie on this machine serves them where they are: those are not ours.
        """
        ours = bundle.parent == self._cache and re.fullmatch(r"[0-9a-f]{64}", bundle.name)
        if not ours or any(str(bundle) in other.paths for other in self._others()):
            return
        gone = self._cache / f".{bundle.name}.{token_hex(4)}{GONE}"
        try:
            bundle.rename(gone)
        except FileNotFoundError:  # another process of this service was faster
            return
        shutil.rmtree(gone, ignore_errors=True)
        log.info("a bundle that is served no more was deleted from the cache", bundle=bundle.name[:12])

    def _others(self) -> Iterator[_Record]:
        for file in self._cache.glob("served-*.json"):
            if file != self._file and (found := _read(file)) is not None:
                yield found


def _path(served: Served | None) -> str | None:
    return None if served is None else str(served.bundle.path)


def _read(file: Path) -> _Record | None:
    """What is noted; None where nothing is, or nothing that can be read."""
    try:
        return _Record(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
