"""The declared data sets and what is here of them.

A set is added by one `DeclaredSet` in `SETS`: its card and what it is loaded as. Fetching, checking, listing and
Croissant follow from that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from wearcast.config import nearest
from wearcast.datasets import ai4i, cmapss, elevator, etth1, metropt, simulated, skf
from wearcast.datasets.archive import Archive, open_archive
from wearcast.datasets.card import DatasetCard
from wearcast.datasets.location import dataset_dir
from wearcast.errors import DataError, SourceNotFoundError
from wearcast.fleet import Fleet

__all__ = ["SETS", "DeclaredSet", "Entry", "Variant", "catalogue", "content_of", "declared", "entry"]

State = Literal["built in", "here", "incomplete", "damaged", "absent"]


class Variant(Protocol):
    """What a set, or a part of it, is loaded as: one of the models of `wearcast.datasets.Dataset`."""

    @property
    def name(self) -> str:
        """What a user types for it."""

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """Read it from `dataset_dir` of its set."""


@dataclass(frozen=True)
class DeclaredSet:
    """A published data set, or one that is made here.

    Attributes:
        card: what the set says about itself.
        variants: what it is loaded as. Fetching loads each that is there, so that whatever loading refuses never
            takes its place.
    """

    card: DatasetCard
    variants: tuple[Variant, ...]


SETS: tuple[DeclaredSet, ...] = (
    DeclaredSet(simulated.CARD, (simulated.SimulatedDataset(),)),
    DeclaredSet(cmapss.CARD, tuple(cmapss.CmapssDataset(subset=subset) for subset in get_args(cmapss.Subset))),
    DeclaredSet(ai4i.CARD, (ai4i.Ai4iDataset(),)),
    DeclaredSet(elevator.CARD, (elevator.ElevatorDataset(),)),
    DeclaredSet(metropt.CARD, tuple(metropt.MetroptDataset(version=version) for version in get_args(metropt.Version))),
    DeclaredSet(skf.CARD, (skf.SkfDataset(),)),
    DeclaredSet(etth1.CARD, (etth1.Etth1Dataset(),)),
)


@dataclass(frozen=True)
class Entry:
    """A declared data set and its state on this machine.

    Attributes:
        declared: the set.
        state: built in (nothing to fetch), here, incomplete (some of its files), damaged, or absent.
        path: the folder or zip where it is, or would be; None if built in.
        missing: the files that are not there.
    """

    declared: DeclaredSet
    state: State
    path: Path | None
    missing: tuple[str, ...] = ()

    @property
    def card(self) -> DatasetCard:
        """What the set says about itself."""
        return self.declared.card

    @cached_property
    def content(self) -> tuple[tuple[str, int, str], ...]:
        """Path, size and SHA-256 of each file that is here; every byte is read."""
        if self.path is None or self.state not in ("here", "incomplete"):
            return ()
        with open_archive(self.path, *self.card.patterns) as archive:
            return content_of(archive, self.card)

    def fingerprint(self) -> str | None:
        """SHA-256 over names and contents of the files that are here; loose or zipped files with one content agree."""
        found = self.content
        if not found:
            return None
        return hashlib.sha256("\n".join(f"{sha256}  {name}" for name, _, sha256 in found).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            **self.card.model_dump(mode="json"),
            "state": self.state,
            "path": None if self.path is None else str(self.path),
            "missing": list(self.missing),
            "fingerprint": self.fingerprint(),
        }


def catalogue() -> tuple[Entry, ...]:
    """All declared data sets."""
    return tuple(_entry(one) for one in SETS)


def declared(name: str) -> DeclaredSet:
    """One declared data set; `cmapss/FD001` is answered with `cmapss`.

    Raises:
        SourceNotFoundError: there is no such set; the nearest name is offered.
    """
    wanted = name.split("/", maxsplit=1)[0]
    for one in SETS:
        if one.card.name == wanted:
            return one
    known = [one.card.name for one in SETS]
    raise SourceNotFoundError(
        f"no data set is called {name!r}", hint=nearest(wanted, known) or f"known are {', '.join(known)}"
    )


def entry(name: str) -> Entry:
    """One declared data set and its state here; see `declared`."""
    return _entry(declared(name))


def content_of(archive: Archive, card: DatasetCard) -> tuple[tuple[str, int, str], ...]:
    """Path, size and SHA-256 of each file of the set in an opened folder or zip."""
    paths = archive.find(*card.patterns)
    found = ((name, archive.size(path), archive.sha256(path)) for path, name in zip(paths, plain(paths), strict=True))
    return tuple(sorted(found))


def plain(paths: Sequence[str]) -> list[str]:
    """The paths without the folders that all of them share."""
    shared = os.path.commonpath([os.path.dirname(path) or "." for path in paths]) if paths else ""  # noqa: PTH120
    depth = 0 if shared in ("", ".") else shared.count("/") + 1
    return ["/".join(path.split("/")[depth:]) for path in paths]


def _entry(one: DeclaredSet) -> Entry:
    card = one.card
    if card.built_in:
        return Entry(one, "built in", None)
    place = dataset_dir(card.name)
    try:
        with open_archive(place, *card.patterns) as archive:
            missing = tuple(file.pattern for file in card.files if file.required and not archive.find(file.pattern))
            return Entry(one, "incomplete" if missing else "here", archive.path, missing)
    except SourceNotFoundError:
        return Entry(one, "absent", place)
    except DataError:
        return Entry(one, "damaged", place)
