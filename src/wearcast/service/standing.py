"""Which model answers, as values: champion, challenger or shadow, and what there is to say of them.

What answers now is one immutable value, `Standing`. A request takes what it needs from it once and keeps that to its
end; a refresh builds the next one beside it and swaps the reference. So no answer can mix two versions, and an old
bundle is freed when the last request that holds it is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

from wearcast.schema import UnitId
from wearcast.service.logs import get_logger
from wearcast.service.served import Served
from wearcast.service.split import Split, position, salt_of

__all__ = ["Attempts", "Broken", "DeploymentStatus", "Source", "Standing"]

FIRST_RETRY_S, LONGEST_RETRY_S = 10.0, 900.0
"""When a version that could not be loaded is tried again: doubling."""

Source = Literal["none", "bundle", "registry", "cache"]

log = get_logger("wearcast.service.deployment")


@dataclass(frozen=True)
class Standing:
    """What answers now.

    Attributes:
        champion: answers, unless the split says otherwise.
        challenger: is tried beside it.
        split: how.
        salt: of the experiment.
        shadow: the challenger as it forecasts without being heard.
    """

    champion: Served
    challenger: Served | None = None
    split: Split = field(default_factory=Split)
    salt: bytes = field(default=b"", repr=False)
    shadow: Served | None = None

    @classmethod
    def of(cls, champion: Served, challenger: Served | None, split: Split) -> Standing:
        """With what follows from these."""
        if challenger is None:
            return cls(champion, None, split)
        salt = salt_of(challenger.name, challenger.version)
        shadow = challenger.as_arm("shadow") if split.shadow else None
        return cls(champion, challenger, split, salt, shadow)

    def choose(self, unit: UnitId) -> Served:
        """The arm of a unit."""
        if self.challenger is not None and self.split.share and position(self.salt, unit) < self.split.share:
            return self.challenger
        return self.champion


@dataclass(frozen=True)
class Broken:
    """A version that could not be loaded.

    Attributes:
        reference: `NAME/VERSION`.
        error: why.
        attempts: how often it was tried.
        retry_at: when it is tried again, on the clock of `time.monotonic`.
    """

    reference: str
    error: str
    attempts: int
    retry_at: float


class Attempts:
    """The versions that could not be loaded, and when each is tried again: doubling."""

    def __init__(self) -> None:
        self._broken: dict[str, Broken] = {}

    @property
    def broken(self) -> tuple[Broken, ...]:
        """Those that could not be loaded the last time."""
        return tuple(self._broken.values())

    def is_too_soon(self, reference: str) -> bool:
        """Whether it failed so lately that it is left alone for now."""
        broken = self._broken.get(reference)
        return broken is not None and monotonic() < broken.retry_at

    def failed(self, reference: str, error: Exception) -> None:
        """Note why it could not be loaded."""
        before = self._broken.get(reference)
        attempts = 1 if before is None else before.attempts + 1
        pause = min(FIRST_RETRY_S * 2 ** (attempts - 1), LONGEST_RETRY_S)
        said = str(error) or type(error).__name__
        self._broken[reference] = Broken(reference, said, attempts, monotonic() + pause)
        log.error("version cannot be loaded", model=reference, error=said, attempts=attempts, retry_in_s=pause)

    def worked(self, reference: str) -> None:
        """It was loaded after all."""
        self._broken.pop(reference, None)

    def only(self, references: Iterable[str]) -> None:
        """Forget all others: nobody asks for them any more."""
        wanted = set(references)
        self._broken = {reference: broken for reference, broken in self._broken.items() if reference in wanted}


@dataclass(frozen=True)
class DeploymentStatus:
    """What there is to say of the models, for health, metrics and people.

    Attributes:
        ready: whether a model answers.
        source: where the champion came from; `cache` if the registry was down when the service started.
        champion, challenger: what is loaded.
        split: how the units are shared.
        registry_error: why the registry could not be asked the last time; None if it could.
        refreshed_at: when it was last heard, in seconds since 1970.
        broken: versions that could not be loaded.
        swaps: how often what answers has changed.
    """

    ready: bool
    source: Source
    champion: Served | None
    challenger: Served | None
    split: Split
    registry_error: str | None
    refreshed_at: float | None
    broken: tuple[Broken, ...]
    swaps: int
