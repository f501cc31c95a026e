"""What a loaded model reads, so that a request can be held against it before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from wearcast.bundle import Bundle, ModelManifest
from wearcast.config import nearest
from wearcast.features import SignalFeatures, StatisticsFeatures
from wearcast.schema import TimeUnit, UnitId
from wearcast.service.problems import Fault, Problem

if TYPE_CHECKING:
    from wearcast.service.served import Served

__all__ = ["Accepted", "Layout", "Layouts", "UnitReadings"]

_FEW = 12


@dataclass(frozen=True, slots=True)
class UnitReadings:
    """Checked readings of one unit.

    Attributes:
        unit: its id.
        time: ascending, `(n,)`: cycles, or microseconds since 1970 for a clock.
        names: of the columns of numbers, `k`.
        values: their readings, float32 `(k, n)`, NaN where one is missing.
        texts: static columns that are text.
        fixed: those of `names` that were given as statics.
        place: where they stand in the request, for complaints.
    """

    unit: UnitId
    time: NDArray[Any]
    names: tuple[str, ...]
    values: NDArray[np.float32]
    texts: Mapping[str, str | None]
    fixed: tuple[str, ...] = ()
    place: str = "body"


@dataclass(frozen=True)
class Layout:
    """What one model reads.

    Attributes:
        columns: what a request must have.
        texts: those of them that are text.
        ignored: columns that were there in training and make no difference.
        time_unit: 'cycle', or the unit of age and RUL of a clock.
        sampling_rate_hz: of training.
        context: readings before the last that a forecast depends on, beside the healthy start; None if all.
        healthy_steps: first readings of a unit that a forecast depends on.
    """

    columns: tuple[str, ...]
    texts: frozenset[str]
    ignored: frozenset[str]
    time_unit: TimeUnit
    sampling_rate_hz: float | None
    context: int | None
    healthy_steps: int

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """As the bundle says; of an ensemble, what any of its models reads."""
        manifests = [model.manifest for model in bundle.models] or [bundle.manifest]
        known = [manifest for manifest in manifests if isinstance(manifest, ModelManifest)]
        models = [manifest.preprocessing for manifest in known]
        columns = bundle.columns
        contexts = [_context(manifest) for manifest in known]
        rates = (model.sampling_rate_hz for model in models)
        return cls(
            columns=columns,
            texts=bundle.text_columns,
            ignored=frozenset(name for model in models for name in model.constant).difference(columns),
            time_unit=bundle.time_unit,
            sampling_rate_hz=next((rate for rate in rates if rate is not None), None),
            context=None if None in contexts else max(one for one in contexts if one is not None),
            healthy_steps=max(model.features.healthy_steps if model.features.deviation else 1 for model in models),
        )

    @property
    def is_clock(self) -> bool:
        """Whether the time axis is timestamps."""
        return self.time_unit != "cycle"

    @cached_property
    def _needed(self) -> frozenset[str]:
        return frozenset(self.columns)

    def check(self, units: Iterable[UnitReadings], model: str) -> None:
        """Make sure that these readings have all that the model reads.

        Raises:
            Problem: `wrong-columns`, naming the first unit that lacks some.
        """
        for readings in units:
            if lacking := self._needed.difference(readings.names, readings.texts):
                names = sorted(lacking)
                there = sorted({*readings.names, *readings.texts} - self._needed)  # one of them may be meant
                raise Problem(
                    "wrong-columns",
                    f"{readings.place}: the model {model} reads {listed(self.columns)}; missing are {listed(names)}",
                    tuple(
                        Fault(f"{readings.place}.columns", f"column {name!r} is missing", _spelt(name, there))
                        for name in names
                    ),
                )


def _context(manifest: ModelManifest) -> int | None:
    """Readings up to the last that a forecast depends on, beside the first ones and the last known values."""
    features, window = manifest.preprocessing.features, manifest.window
    if features.calendar and manifest.preprocessing.sampling_rate_hz is None and window.prediction_length:
        return None  # how a unit goes on is its own median step
    reach = window.context_length
    if isinstance(features, SignalFeatures):
        reach = features.segment
    elif isinstance(features, StatisticsFeatures):
        reach = max(reach, features.reach)
    return reach + sum(one.steps for one in features.derived if one.operation == "change")


def _spelt(name: str, there: Sequence[str]) -> str:
    return nearest(name, there[:1000]) or "give null where a reading is missing"


def listed(names: Sequence[str]) -> str:
    """The first of many names."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more


@dataclass(frozen=True)
class Accepted:
    """What a request may hold: that which any of the loaded models knows.

    Attributes:
        columns: every column that is known.
        texts: those of them that are text.
        time_unit: of the time axis.
    """

    columns: frozenset[str]
    texts: frozenset[str]
    time_unit: TimeUnit

    @property
    def is_clock(self) -> bool:
        """Whether the time axis is timestamps."""
        return self.time_unit != "cycle"

    def refuse(self, unknown: Iterable[str], where: str) -> Problem:
        """What is answered to columns that no model knows."""
        names = sorted(unknown)
        known = sorted(self.columns)
        return Problem(
            "wrong-columns",
            f"{where}: unknown column{'s' if len(names) > 1 else ''} {listed(names)}; known are {listed(known)}",
            tuple(
                Fault(f"{where}.{name}", f"no model that is loaded knows a column {name[:80]!r}", nearest(name, known))
                for name in names[:20]
            ),
        )


class Layouts:
    """The layouts of the models that are loaded; each is made once."""

    def __init__(self) -> None:
        self._by_key: dict[str, Layout] = {}
        self._accepted: dict[tuple[str, ...], Accepted] = {}

    def of(self, served: Served) -> Layout:
        """What a served model reads."""
        found = self._by_key.get(served.key)
        if found is None:
            if len(self._by_key) > 32:  # those of versions long gone
                self._by_key.clear()
            found = self._by_key[served.key] = Layout.of(served.bundle)
        return found

    def accepted(self, arms: Sequence[Served]) -> Accepted:
        """What any of these models knows; the time axis is that of the first."""
        keys = tuple([served.key for served in arms])
        found = self._accepted.get(keys)
        if found is None:
            if not arms:
                raise Problem("no-model", "no model is loaded yet", retry_after_s=5)
            layouts = [self.of(served) for served in arms]
            if len(self._accepted) > 32:
                self._accepted.clear()
            found = self._accepted[keys] = Accepted(
                frozenset().union(*(layout.columns for layout in layouts), *(layout.ignored for layout in layouts)),
                frozenset().union(*(layout.texts for layout in layouts)),
                layouts[0].time_unit,
            )
        return found
