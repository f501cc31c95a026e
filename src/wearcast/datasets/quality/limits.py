"""What a reading can possibly be: from the schema, from physics through the unit of measure, or from the user."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from wearcast.config import nearest
from wearcast.errors import UsageError
from wearcast.schema import FleetSchema

__all__ = ["Limits", "decimal", "limits_of", "outlier_limits", "parse_ranges"]

Limits = tuple[float | None, float | None]
"""Lowest and highest possible value; None where there is no bound."""

FAR = 8.0  # robust standard deviations
_SIGMA = 1.4826  # standard deviations of a normal distribution in one median absolute deviation
_IQR = 0.7413  # and in one interquartile range

# Pressures may be gauge: then the vacuum lies one atmosphere below zero, and nothing lies below the vacuum.
_BY_UNIT: dict[str, Limits] = {
    **dict.fromkeys(("K", "°R", "degR", "kelvin"), (0.0, None)),
    **dict.fromkeys(("°C", "degC", "celsius"), (-273.15, None)),
    **dict.fromkeys(("°F", "degF", "fahrenheit"), (-459.67, None)),
    **dict.fromkeys(("psia", "bara", "bar(a)", "kPa(a)"), (0.0, None)),
    "bar": (-1.01325, None), "mbar": (-1013.25, None), "hPa": (-1013.25, None), "kPa": (-101.325, None),
    "MPa": (-0.101325, None), "Pa": (-101325.0, None), "psi": (-14.696, None), "psig": (-14.696, None),
    **dict.fromkeys(("rpm", "1/min", "r/min", "min-1", "km/h", "mph", "kn", "knots"), (0.0, None)),
    **dict.fromkeys(("Hz", "kHz", "kg", "g/m3", "kg/m3", "lx", "ppm", "ppb", "Ohm", "Ω"), (0.0, None)),
    **dict.fromkeys(("%RH", "%rH", "% RH"), (0.0, 100.0)),
    **dict.fromkeys(("on/off", "bool", "boolean"), (0.0, 1.0)),
    "pH": (-2.0, 16.0),
}  # fmt: skip


def limits_of(schema: FleetSchema, ranges: Mapping[str, Limits] | None = None) -> dict[str, Limits]:
    """The limits of each numeric column that has any.

    Args:
        schema: its `ranges` win over what its units of measure say.
        ranges: what the user says; wins over both.

    Raises:
        UsageError: a range of a column that is not there.
    """
    unknown = next((column for column in ranges or () if column not in schema.numeric), None)
    if unknown is not None:
        hint = nearest(unknown, schema.numeric) or f"there are {', '.join(schema.numeric)}"
        raise UsageError(f"there is no column {unknown!r} to have a range", hint=hint)
    physical = {name: _BY_UNIT.get(schema.units_of_measure.get(name, "").strip()) for name in schema.numeric}
    found = {name: limits for name, limits in physical.items() if limits is not None}
    return {**found, **schema.ranges, **(ranges or {})}


def parse_ranges(texts: Iterable[str]) -> dict[str, Limits]:
    """Ranges as they are typed: `flow=0:120`, `flow=0:` or `flow=:120`.

    Raises:
        UsageError: a text is none, or its ends are the wrong way round.
    """
    found: dict[str, Limits] = {}
    for text in texts:
        column, _, span = text.rpartition("=")
        ends = [part.strip() for part in span.split(":")]
        if not column or len(ends) != 2 or not any(ends):
            raise UsageError(f"{text!r} is no range", where="--range", hint="write COLUMN=LOW:HIGH; an end may be open")
        try:
            low, high = (float(end) if end else None for end in ends)
        except ValueError as error:
            raise UsageError(f"{text!r}: {span!r} is not two numbers", where="--range", hint="such as 0:120") from error
        if any(end is not None and not math.isfinite(end) for end in (low, high)):
            raise UsageError(f"{text!r}: an end is not finite", where="--range", hint="leave an open end empty")
        if low is not None and high is not None and low > high:
            raise UsageError(f"{text!r}: the low end is above the high end", where="--range")
        found[column.strip()] = (low, high)
    return found


def outlier_limits(sample: NDArray[np.float32]) -> tuple[float, float] | None:
    """Between which values a reading is no outlier: the median ± eight robust standard deviations.

    The deviation is the greater one of the median absolute deviation and the interquartile range, each scaled to a
    normal distribution (Rousseeuw and Croux, "Alternatives to the median absolute deviation", JASA 1993). None where
    both are 0: more than half of the readings are one and the same value, and nothing says how far is far.

    Args:
        sample: readings without missing ones.
    """
    if not len(sample):
        return None
    low, middle, high = (float(q) for q in np.quantile(sample, (0.25, 0.5, 0.75)))
    deviation = max(_SIGMA * float(np.median(np.abs(sample - np.float32(middle)))), _IQR * (high - low))
    return (middle - FAR * deviation, middle + FAR * deviation) if deviation > 0 else None


def decimal(value: float) -> str:
    """A number for a sentence."""
    return re.sub(r"^-", "−", f"{value:.5g}")
