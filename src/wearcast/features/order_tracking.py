"""Order tracking: a segment in equal steps of time becomes one in equal steps of shaft angle.

Lines that follow the shaft smear when its speed changes; over the angle they stand still. Source: K. R. Fyfe,
E. D. S. Munck, "Analysis of computed order tracking", MSSP 11 (1997): interpolation by a cubic, the phase from the
tachometer or the measured speed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wearcast.errors import FleetError, UsageError
from wearcast.features.envelope import band_pass
from wearcast.features.segments import Floats, check_rate, check_segments

__all__ = ["order_track", "tacho_speed_hz"]


def order_track(
    segments: ArrayLike, sampling_rate_hz: float, shaft_hz: ArrayLike, *, samples_per_revolution: int
) -> Floats:
    """Resample each segment to equal angle of the shaft; `power_spectrum` at that rate then has orders for Hz.

    The shaft's angle is the integral of its speed (trapezoids), the time of an angle is read off it linearly, the
    signal at that time by the cubic through four samples. Where the new steps are wider than the old ones, what they
    could not hold is filtered out first. All segments are as long as the one with the fewest turns, in whole turns.

    Args:
        segments: `(n, samples)`.
        sampling_rate_hz: of the samples.
        shaft_hz: turns a second: one number, one a segment `(n,)`, or one a sample `(n, samples)`.
        samples_per_revolution: of the result; orders up to half of it can be seen.

    Returns:
        `(n, turns * samples_per_revolution)`.

    Raises:
        UsageError: fewer than two samples a revolution, or speeds that do not fit the segments.
        FleetError: the shaft does not turn, or not once within a segment.
    """
    rate = check_rate(sampling_rate_hz)
    x = check_segments(segments, shortest=8)
    if samples_per_revolution < 2:
        raise UsageError(f"samples_per_revolution must be 2 or more, got {samples_per_revolution}")
    speed = _speed(shaft_hz, x.shape)
    if len(x) == 0:
        return np.empty((0, 0), dtype=x.dtype)
    angle = np.zeros(x.shape)
    np.cumsum((speed[:, 1:] + speed[:, :-1]) / (2 * rate), axis=1, out=angle[:, 1:])
    turns = int(angle[:, -1].min() + 1e-9)
    if turns < 1:
        raise FleetError(
            "the shaft does not turn once within a segment",
            where=f"segment {int(angle[:, -1].argmin())}",
            hint="take longer segments",
        )
    highest_hz = samples_per_revolution / 2 * float(speed.min())
    if highest_hz < rate / 2:
        x = band_pass(x, rate, (0.0, highest_hz))
    wanted = np.arange(turns * samples_per_revolution) / samples_per_revolution
    return _cubic(x, _when(angle, wanted))


def tacho_speed_hz(
    tacho: ArrayLike, sampling_rate_hz: float, *, threshold: float, pulses_per_revolution: int = 1
) -> NDArray[np.float64]:
    """Speed of the shaft at each sample, from a tachometer's pulses.

    A pulse is a crossing of the threshold upwards, placed between the two samples by a straight line. Speed is what
    the time between two pulses says at the middle of it, linear in between, constant before the first and after the
    last.

    Args:
        tacho: the tachometer's signal, `(n, samples)`.
        sampling_rate_hz: of the samples.
        threshold: level that a pulse crosses.
        pulses_per_revolution: of the tachometer.

    Raises:
        UsageError: no pulses a revolution.
        FleetError: a segment has fewer than two pulses.
    """
    rate = check_rate(sampling_rate_hz)
    x = check_segments(tacho)
    if pulses_per_revolution < 1:
        raise UsageError(f"pulses_per_revolution must be 1 or more, got {pulses_per_revolution}")
    speed = np.empty(x.shape)
    for i, signal in enumerate(x):
        before = np.flatnonzero((signal[:-1] < threshold) & (signal[1:] >= threshold))
        if len(before) < 2:
            raise FleetError(
                f"{len(before)} pulses cross the threshold {threshold:g}: a speed takes two",
                where=f"segment {i}",
                hint="check the threshold, or take longer segments",
            )
        pulses = before + (threshold - signal[before]) / (signal[before + 1] - signal[before])
        middle = (pulses[1:] + pulses[:-1]) / 2
        speed[i] = np.interp(np.arange(x.shape[1]), middle, rate / (np.diff(pulses) * pulses_per_revolution))
    return speed


def _speed(shaft_hz: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    speed = np.asarray(shaft_hz, dtype=np.float64)
    if speed.shape not in ((), shape[:1], shape):
        raise UsageError(
            f"shaft speeds of shape {speed.shape} do not fit segments of shape {shape}",
            hint="one number, one a segment, or one a sample",
        )
    speed = np.broadcast_to(speed[:, None] if speed.ndim == 1 else speed, shape)
    wrong = ~(np.isfinite(speed) & (speed > 0))
    if wrong.any():
        segment, sample = np.argwhere(wrong)[0]
        raise FleetError(
            f"the shaft must turn, its speed is {speed[segment, sample]:g} turns a second",
            where=f"segment {segment}, sample {sample}",
            hint="leave out standstill",
        )
    return speed


def _when(angle: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Position, in samples, at which each segment's shaft has each wanted angle; one look-up for all segments."""
    n, samples = angle.shape
    # Shifted apart, the segments' angles are one ascending line.
    shift = np.arange(n)[:, None] * (angle.max() + 1.0)
    position = np.interp((wanted + shift).ravel(), (angle + shift).ravel(), np.arange(n * samples, dtype=np.float64))
    return np.asarray(position.reshape(n, len(wanted)) - np.arange(n)[:, None] * samples)


def _cubic(x: Floats, position: NDArray[np.float64]) -> Floats:
    """Value of each row at fractional positions, by the cubic (Lagrange) through the four samples around."""
    first = np.clip(np.floor(position).astype(np.int64) - 1, 0, x.shape[1] - 4)
    t = (position - first).astype(x.dtype)  # 1 to 2 but at the ends
    p0, p1, p2, p3 = (np.take_along_axis(x, first + k, axis=1) for k in range(4))
    a, b, c = t - 1, t - 2, t - 3
    return np.asarray(-p0 * a * b * c / 6 + p1 * t * b * c / 2 - p2 * t * a * c / 2 + p3 * t * a * b / 6)
