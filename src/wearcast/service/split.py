"""Which unit is answered by which arm, and what an operator decided about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from time import time
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Double, Engine, String, Table, Text

from wearcast.schema import UnitId
from wearcast.service.database import metadata, reading, writing

__all__ = ["MemorySplits", "Split", "Splits", "StoredSplits", "position", "salt_of"]

_splits = Table(
    "splits",
    metadata,
    Column("name", String(256), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("share", Double, nullable=False),
    Column("shadow", Boolean, nullable=False),
    Column("stopped", Text),
    Column("decided", Double, nullable=False),
)


@dataclass(frozen=True)
class Split:
    """What share of the units the challenger answers.

    Attributes:
        share: of the units, from 0 to 1.
        shadow: whether the challenger forecasts what the champion answers, too, without being heard.
        stopped: why the challenger answers no more; None if it was not stopped.
    """

    share: float = 0.0
    shadow: bool = False
    stopped: str | None = None


class Splits(Protocol):
    """Where decisions about challengers are kept. May be used by several threads at once."""

    def read(self, name: str, version: str) -> Split | None:
        """What was decided about this challenger; None if nothing was."""

    def write(self, name: str, version: str, split: Split) -> None:
        """Decide."""


class MemorySplits:
    """Decisions that are forgotten with the process."""

    def __init__(self) -> None:
        self._decided: dict[tuple[str, str], Split] = {}

    def read(self, name: str, version: str) -> Split | None:
        """What was decided about this challenger."""
        return self._decided.get((name, version))

    def write(self, name: str, version: str, split: Split) -> None:
        """Decide."""
        self._decided[name, version] = split


class StoredSplits:
    """Decisions in the database, for all processes of the service and after a restart."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, name: str, version: str) -> Split | None:
        """What was decided about this challenger."""
        query = sa.select(_splits.c.share, _splits.c.shadow, _splits.c.stopped)
        with reading(self._engine) as connection:
            found = connection.execute(query.where(_splits.c.name == name, _splits.c.version == version)).first()
        return None if found is None else Split(*found)

    def write(self, name: str, version: str, split: Split) -> None:
        """Decide."""
        said = {"share": split.share, "shadow": split.shadow, "stopped": split.stopped, "decided": time()}
        with writing(self._engine, alone=True) as connection:
            changed = connection.execute(
                _splits.update().where(_splits.c.name == name, _splits.c.version == version).values(said)
            )
            if not changed.rowcount:
                connection.execute(_splits.insert().values(name=name, version=version, **said))


def salt_of(name: str, version: str) -> bytes:
    """The salt of an experiment, which is a challenger: the next challenger is tried on other units."""
    return hashlib.sha256(f"{name}/{version}".encode()).digest()


def position(salt: bytes, unit: UnitId) -> float:
    """Where a unit stands between 0 and 1, evenly spread; the challenger answers those below its share.

    So the same unit always has the same arm, and a larger share only moves units from champion to challenger.

    Example:
        >>> position(salt_of("pumps", "3"), 7) == position(salt_of("pumps", "3"), "7")
        True
    """
    digest = hashlib.blake2b(str(unit).encode(), key=salt, digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
