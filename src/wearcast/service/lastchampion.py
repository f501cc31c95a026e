"""Which bundle was served last, kept beside the bundles, for a start while the registry is down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from wearcast.logging import logger
from wearcast.service.served import Served
from wearcast.writing import replace_file

__all__ = ["LastChampion", "Remembered"]


@dataclass(frozen=True)
class Remembered:
    """A bundle on this machine, and what it was served as."""

    name: str
    version: str
    path: Path


class LastChampion:
    """The last champion of one reference.

    Args:
        cache: folder of the bundles.
        reference: such as `pumps@champion`.
    """

    def __init__(self, cache: Path, reference: str) -> None:
        digest = hashlib.sha256(reference.encode()).hexdigest()[:16]
        self._file = cache / f"last-{digest}.json"
        self._reference = reference
        self._kept: tuple[str, str] | None = None

    def remember(self, served: Served) -> None:
        """Keep it in mind; a disk that cannot be written is told of, and no reason not to serve."""
        kept = (served.reference, str(served.bundle.path))
        if kept == self._kept:
            return
        said = {"reference": self._reference, "name": served.name, "version": served.version, "path": kept[1]}
        try:
            replace_file(self._file, json.dumps(said).encode())
        except OSError as error:
            logger.warning("%s: the last champion cannot be noted: %s", self._file, error.strerror or error)
            return
        self._kept = kept

    def read(self) -> Remembered | None:
        """The last one; None if there was none, or it is there no more."""
        try:
            said = json.loads(self._file.read_text(encoding="utf-8"))
            last = Remembered(str(said["name"]), str(said["version"]), Path(said["path"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return last if said.get("reference") == self._reference and last.path.is_dir() else None
