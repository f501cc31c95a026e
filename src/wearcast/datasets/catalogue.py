"""The declared data sets and what is here of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wearcast.config import nearest
from wearcast.datasets import cmapss
from wearcast.datasets.archive import open_archive
from wearcast.datasets.card import DatasetCard
from wearcast.datasets.location import dataset_dir
from wearcast.errors import DataError, SourceNotFoundError

__all__ = ["CARDS", "Entry", "catalogue", "entry"]

SIMULATED = DatasetCard(
    name="simulated",
    title="Simulated run-to-failure fleet",
    summary="Turbofan engines that wear until they fail, made on the spot from a seed; not measured on real machines.",
    licence="Apache-2.0, as Wearcast",
    citation=(
        "Damage propagation after A. Saxena, K. Goebel, D. Simon, N. Eklund: Damage propagation modeling for aircraft "
        "engine run-to-failure simulation. PHM 2008."
    ),
)

CARDS: tuple[DatasetCard, ...] = (SIMULATED, cmapss.CARD)

State = Literal["built in", "here", "damaged", "absent"]


@dataclass(frozen=True)
class Entry:
    """A declared data set and its state on this machine.

    Attributes:
        card: what the set says about itself.
        state: built in (nothing to fetch), here, damaged, or absent.
        path: where it is, or would be; None if built in.
    """

    card: DatasetCard
    state: State
    path: Path | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            **self.card.model_dump(mode="json"),
            "state": self.state,
            "path": None if self.path is None else str(self.path),
        }


def catalogue() -> tuple[Entry, ...]:
    """All declared data sets."""
    return tuple(_entry(card) for card in CARDS)


def entry(name: str) -> Entry:
    """One declared data set; `cmapss/FD001` is answered with `cmapss`.

    Raises:
        SourceNotFoundError: there is no such set; the nearest name is offered.
    """
    wanted = name.split("/", maxsplit=1)[0]
    for card in CARDS:
        if card.name == wanted:
            return _entry(card)
    known = [card.name for card in CARDS]
    raise SourceNotFoundError(
        f"no data set is called {name!r}", hint=nearest(wanted, known) or f"known are {', '.join(known)}"
    )


def _entry(card: DatasetCard) -> Entry:
    if card.url is None:
        return Entry(card, "built in", None)
    place = dataset_dir(card.name)
    try:
        with open_archive(place, "train_FD001.txt") as archive:
            return Entry(card, "here", archive.path)
    except SourceNotFoundError:
        return Entry(card, "absent", place)
    except DataError:
        return Entry(card, "damaged", place)
