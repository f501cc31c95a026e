"""Fault frequencies of rolling-element bearings from their geometry, or from a maker's table.

Source: R. B. Randall, J. Antoni, "Rolling element bearing diagnostics – a tutorial", Mechanical Systems and Signal
Processing 25 (2011), eqs. 1–4. Real bearings slip by one or two per cent, so look for the lines within a tolerance.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from wearcast.config import Strict
from wearcast.errors import FleetError

__all__ = ["FAULT_NAMES", "SKF_6203", "SKF_6205", "BearingGeometry", "BearingMultipliers"]

FAULT_NAMES: Final = ("bpfi", "bpfo", "ftf", "bsf", "2bsf")
"""Inner race, outer race, cage, rolling element's spin, and twice that: a ball's fault strikes both races a turn."""


class BearingMultipliers(Strict):
    """Fault frequencies as multiples of the shaft's speed, as makers' tables give them."""

    bpfi: float = Field(gt=0, allow_inf_nan=False, description="Ball pass frequency, inner race.")
    bpfo: float = Field(gt=0, allow_inf_nan=False, description="Ball pass frequency, outer race.")
    ftf: float = Field(gt=0, lt=1, description="Fundamental train frequency: the cage.")
    bsf: float = Field(gt=0, allow_inf_nan=False, description="Ball spin frequency; some tables give twice this.")

    def orders(self) -> NDArray[np.float64]:
        """The multiples in the order of `FAULT_NAMES`, `(5,)`."""
        return np.array([self.bpfi, self.bpfo, self.ftf, self.bsf, 2 * self.bsf])

    def fault_frequencies(self, shaft_hz: ArrayLike) -> NDArray[np.float64]:
        """Fault frequencies in Hz, `(*shaft.shape, 5)`, last axis as `FAULT_NAMES`.

        Args:
            shaft_hz: turns a second of the inner race against the outer one; a number or one a segment.

        Raises:
            FleetError: a speed is not a positive number.
        """
        return _positive_speed(shaft_hz)[..., None] * self.orders()


class BearingGeometry(Strict):
    """A bearing with a fixed outer race, lengths in any one unit."""

    n_rolling_elements: int = Field(ge=2, description="Balls or rollers in one row.")
    ball_diameter: float = Field(gt=0, allow_inf_nan=False, description="Diameter d of a ball or roller.")
    pitch_diameter: float = Field(gt=0, allow_inf_nan=False, description="Diameter D of the circle of ball centres.")
    contact_angle: float = Field(0.0, ge=0, lt=90, description="Angle φ of the load from the radial plane, degrees.")

    @model_validator(mode="after")
    def _balls_fit(self) -> BearingGeometry:
        if self.ball_diameter >= self.pitch_diameter:
            raise ValueError(
                f"ball_diameter {self.ball_diameter:g} must be smaller than pitch_diameter {self.pitch_diameter:g}"
            )
        return self

    def multipliers(self) -> BearingMultipliers:
        """Fault frequencies a turn of the shaft, by kinematics without slip.

        With r = (d/D) cos φ and n balls: BPFI = n/2 (1 + r), BPFO = n/2 (1 − r), FTF = (1 − r)/2,
        BSF = D/(2d) (1 − r²).
        """
        r = self.ball_diameter / self.pitch_diameter * math.cos(math.radians(self.contact_angle))
        n = self.n_rolling_elements
        return BearingMultipliers(
            bpfi=n / 2 * (1 + r),
            bpfo=n / 2 * (1 - r),
            ftf=(1 - r) / 2,
            bsf=self.pitch_diameter / (2 * self.ball_diameter) * (1 - r * r),
        )

    def fault_frequencies(self, shaft_hz: ArrayLike) -> NDArray[np.float64]:
        """Fault frequencies in Hz, `(*shaft.shape, 5)`, last axis as `FAULT_NAMES`; see `BearingMultipliers`."""
        return self.multipliers().fault_frequencies(shaft_hz)


SKF_6205: Final = BearingMultipliers(bpfi=5.4152, bpfo=3.5848, ftf=0.39828, bsf=4.7135 / 2)
"""SKF 6205-2RS JEM, the drive end of the Case Western rig (9 balls of 0.3126 in on 1.537 in), by its table."""

SKF_6203: Final = BearingMultipliers(bpfi=4.9469, bpfo=3.0530, ftf=0.3817, bsf=3.9874 / 2)
"""SKF 6203-2RS JEM, the fan end of the Case Western rig (8 balls of 0.2656 in on 1.122 in), by its table."""


def _positive_speed(shaft_hz: ArrayLike) -> NDArray[np.float64]:
    speed: NDArray[Any] = np.asarray(shaft_hz, dtype=np.float64)
    wrong = ~(np.isfinite(speed) & (speed > 0))
    if wrong.any():
        index = np.argwhere(wrong)[0]
        raise FleetError(
            f"a shaft speed must be a positive number of turns a second, got {float(speed[tuple(index)])}",
            where=f"segment {index[0]}" if speed.ndim else None,
            hint="rpm / 60; without a speed there are no fault frequencies",
        )
    return speed
