"""Windows by index: the fleet stays one contiguous array, a window is the row at which it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wearcast.config import Strict
from wearcast.windows.channels import Channels

__all__ = ["WindowBatch", "WindowSpec", "Windows"]


class WindowSpec(Strict):
    """Length of a window, in readings."""

    context_length: int = Field(96, ge=1, description="Readings that the model sees; shorter histories are padded.")
    prediction_length: int = Field(0, ge=0, description="Steps ahead for which known-future columns are given.")
    whole: bool = Field(
        False,
        description="Forecast only where the whole context is there, and judge future values only where all steps "
        "came, as benchmarks do. A unit that is shorter is forecast at its last reading.",
    )


class WindowBatch(NamedTuple):
    """What a model reads of `n` windows."""

    past: NDArray[np.float32]
    """Channels, `(n, context_length, n_channels)`; 0 where padded."""
    mask: NDArray[np.bool_]
    """True where a step is real, `(n, context_length)`; padding is on the left, the last step is always real."""
    static: NDArray[np.float32] | None
    """Static features, `(n, n_static)`."""
    known_future: NDArray[np.float32] | None
    """Known-future channels, `(n, prediction_length, n_known_future)`.

    Beyond the end of the unit's rows a column is 0, and calendar marks go on.
    """


@dataclass(frozen=True)
class Windows:
    """Windows of a fleet's channels, ending at `rows`, never crossing a unit."""

    channels: Channels
    spec: WindowSpec
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: NDArray[np.intp] | slice) -> WindowBatch:
        """Gather the windows at these positions of `rows`."""
        rows = self.rows[index]
        steps = np.arange(1 - self.spec.context_length, 1)
        at = rows[:, None] + steps
        unit = self.channels.unit_of(rows)
        first = self.channels.offsets[unit, None]
        mask = at >= first
        past = self._with_deviation(self.channels.values.take(np.maximum(at, first), axis=0), rows)
        if not mask[:, 0].all():
            past[~mask] = 0.0
        static = self.channels.static[unit] if self.channels.static.shape[1] else None
        return WindowBatch(past, mask, static, self._future(rows, unit))

    def batches(self, size: int) -> Iterator[WindowBatch]:
        """All windows in order, `size` at a time."""
        for at in range(0, len(self), size):
            yield self.batch(slice(at, at + size))

    def _with_deviation(self, values: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Put each sensor's deviation from the healthy start behind the sensors.

        The healthy start is that known at the window's end, for all of the window's steps: one reference a window.
        """
        home = self.channels.home_at(rows)
        if home is None:
            return values
        n = self.channels.n_sensors
        wide = np.empty((*values.shape[:2], values.shape[2] + n), dtype=np.float32)
        wide[:, :, :n] = values[:, :, :n]
        np.subtract(values[:, :, :n], home[:, None], out=wide[:, :, n : 2 * n])
        wide[:, :, 2 * n :] = values[:, :, n:]
        return wide

    def _future(self, rows: NDArray[np.int64], unit: NDArray[np.int64]) -> NDArray[np.float32] | None:
        columns = self.channels.known_future
        if not columns or self.spec.prediction_length == 0:
            return None
        at = rows[:, None] + np.arange(1, self.spec.prediction_length + 1)
        last = self.channels.offsets[unit + 1, None] - 1
        future: NDArray[np.float32] = self.channels.values.take(np.minimum(at, last), axis=0)[:, :, columns]
        over = at > last
        future[over] = 0.0
        if self.channels.calendar is not None and over.any():
            marks = self.channels.calendar.beyond(unit[np.nonzero(over)[0]], (at - last)[over])
            future[over, -marks.shape[1] :] = marks
        return future
