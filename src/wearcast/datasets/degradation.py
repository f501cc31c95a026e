"""The physics of the simulator: how an engine wears, when its life ends and what its sensors then read.

Damage propagates after Saxena, Goebel, Simon and Eklund, "Damage Propagation Modeling for Aircraft Engine
Run-to-Failure Simulation", PHM 2008:

    loss of efficiency or flow   d + A (exp(∫ a b t^(b−1) r(t) dt) − 1)    random initial wear d, rates a, b
    health                       h = min over the operational margins      stall of compressor and fan, exhaust heat
    end of life                  the first cycle at which h ≤ 0

Deviations from the paper: a response table of twelve sensors stands in for the C-MAPSS engine model; the losses are
measured from the initial wear (the −1); `a` and `b` are drawn from narrower ranges, so that lives are those of
its data sets; the rate noise r(t), which stands for the paper's maintenance between flights, is positive and slow,
so that wear never heals; the modules without the fault age slowly and evenly.

Each unit draws from a random stream of its own, in an order that a shorter history only cuts short.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONDITIONS", "FAULT_MODES", "SENSORS", "SETTINGS", "Histories", "Sensor", "Setting", "Stop", "simulate"]

Array = NDArray[np.float64]
Stop = Literal["failure", "censored", "truncated"]

FAULT_MODES = ("compressor", "fan", "turbine")
"""The module that wears out; each one moves the sensors in its own pattern."""

CONDITIONS = (
    (0.0, 0.0, 100.0),
    (10.7, 0.84, 100.0),
    (6.1, 0.7, 100.0),
    (3.0, 0.25, 100.0),
    (7.6, 0.62, 60.0),
    (12.8, 0.8, 90.0),
)
"""Operating conditions as altitude in km, Mach number and throttle in percent; a flight takes one of them."""

TYPICAL_LIFE = 200.0  # cycles; the life for which the rates below are stated
INITIAL_WEAR = 0.005  # greatest loss of a new engine
WEAR_SCALE = 0.006  # A
RATE = (0.00045, 0.0012)  # a
SHAPE = (1.45, 1.55)  # b
AGEING = 0.004  # greatest loss of a module without the fault over a typical life
MEMORY = 0.95  # of the rate noise from cycle to cycle
OUTLIER = 1.96  # a standard normal beyond this (5%) makes a reading an outlier
OUTLIER_SCALE = 2.5

# Share of each margin used up per unit of loss of (efficiency, flow), of the modules in the order of FAULT_MODES.
MARGINS = {
    "compressor_stall": ((13.0, 9.0), (1.0, 1.0), (0.0, 0.0)),
    "fan_stall": ((0.0, 0.0), (12.0, 10.0), (0.0, 0.0)),
    "exhaust_temperature": ((9.0, 3.0), (4.0, 1.0), (15.0, 7.0)),
}


@dataclass(frozen=True)
class Setting:
    """An operating setting: column, unit of measure and its standard deviation about its condition."""

    name: str
    unit: str
    jitter: float


SETTINGS = (
    Setting("altitude", "km", 0.001),
    Setting("mach", "-", 0.0005),
    Setting("throttle", "%", 0.02),
)
"""The operating settings, in the order of `CONDITIONS`."""


@dataclass(frozen=True)
class Sensor:
    """How a sensor answers to the flight and to wear.

    Attributes:
        name, unit: column and unit of measure.
        base: reading of a perfect engine at sea level and full throttle.
        flight: exponents of the total temperature ratio, total pressure ratio and throttle.
        wear: relative change per unit of loss of (efficiency, flow) of each module, in the order of `FAULT_MODES`.
        noise: relative standard deviation of a reading.
        drift: relative standard deviation over units of a trend over a typical life that has nothing to do with wear.
    """

    name: str
    unit: str
    base: float
    flight: tuple[float, float, float]
    wear: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = ((0, 0), (0, 0), (0, 0))
    noise: float = 0.0
    drift: float = 0.0


SENSORS = (
    Sensor("inlet_temperature", "K", 288.15, (1, 0, 0)),  # dead within a condition
    Sensor("fan_outlet_temperature", "K", 361, (1, 0, 0.1), ((0, 0), (0.2, 0.05), (0.01, 0)), 0.0007),
    Sensor("compressor_temperature", "K", 881, (1, 0, 0.2), ((0.25, 0.05), (0.05, 0), (0.03, 0.02)), 0.0014),
    Sensor("compressor_pressure", "kPa", 3820, (0, 1, 0.9), ((-0.3, -0.35), (-0.05, -0.2), (-0.05, 0.05)), 0.0022),
    Sensor("exhaust_temperature", "K", 783, (1, 0, 0.4), ((0.35, 0.1), (0.1, 0.05), (0.45, 0.05)), 0.0022),
    Sensor("fan_speed", "rpm", 2388, (0.5, 0, 0.5), ((0.01, 0.01), (0.12, -0.15), (0.02, 0)), 0.0007),
    Sensor("core_speed", "rpm", 9050, (0.5, 0, 0.3), ((0.12, -0.15), (0.01, 0), (-0.1, 0.1)), 0.0009),
    Sensor("bypass_ratio", "-", 8.42, (0, 0, -0.2), ((0.25, 0.3), (-0.2, -0.35), (0.1, 0.05)), 0.0018),
    Sensor("fuel_ratio", "kg/(s MPa)", 0.92, (0.5, 0, 0.6), ((0.35, 0.1), (0.2, 0.05), (0.4, 0)), 0.0022),
    Sensor("vibration", "mm/s", 2.4, (0, 0.1, 1), ((1.5, 0.5), (6, 4), (1, 0.5)), 0.036),
    Sensor("oil_pressure", "kPa", 420, (0, 0, 0.3), noise=0.01, drift=0.03),  # moves, but not with wear
    Sensor("bleed_valve", "-", 1, (0, 0, 0)),  # dead
)
"""The sensors: most of them informative, one that drifts for reasons of its own, two that are dead."""


@dataclass(frozen=True)
class Histories:
    """The histories of consecutive units, one after the other.

    Attributes:
        index: index of each unit in its stream, `(n_units,)`.
        mode: index of its fault into `FAULT_MODES`, `(n_units,)`.
        life: cycle at which its life ends, `(n_units,)`.
        stop: cycle of its last reading, `(n_units,)`.
        cycle: cycle of each row, from 1, `(n_rows,)`.
        health: margin left at each row, 1 for a perfect engine, 0 at the end of life, `(n_rows,)`.
        values: settings, then sensors, `(n_rows, n_columns)`.
    """

    index: NDArray[np.int64]
    mode: NDArray[np.int64]
    life: NDArray[np.int64]
    stop: NDArray[np.int64]
    cycle: NDArray[np.int32]
    health: NDArray[np.float32]
    values: NDArray[np.float32]

    @property
    def row_index(self) -> NDArray[np.int64]:
        """Index of the unit of each row, `(n_rows,)`."""
        return np.repeat(self.index, self.stop)


@dataclass(frozen=True)
class _Draws:
    """The random numbers of units that do not depend on the length of their histories; one row a unit."""

    uniform: Array  # (n, 15) between 0 and 1
    rate: Array  # (n, 2, horizon) standard normal
    condition: Array  # (n, horizon) between 0 and 1
    bias: Array  # (n, 2, n_sensors) standard normal: offset and drift of the sensors


def simulate(
    units: range,
    *,
    stream: tuple[int, ...],
    stop: Stop = "failure",
    stop_share: float = 1.0,
    conditions: int = 1,
    fault_modes: int = 2,
    noise: float = 1.0,
    wear_noise: float = 0.1,
    typical_life: float = TYPICAL_LIFE,
) -> Histories:
    """Simulate some units of an endless fleet.

    Args:
        units: their indices; the history of a unit depends on its index and the stream, not on the others.
        stream: names the endless fleet, such as a seed and a split.
        stop: whether histories run to failure, are censored at a random age, or are truncated as a test set is.
        stop_share: share of the units to which `stop` applies; the others run to failure.
        conditions: how many of `CONDITIONS` are flown.
        fault_modes: how many of `FAULT_MODES` occur.
        noise: scale of the measurement noise.
        wear_noise: standard deviation of the logarithm of the rate of wear.
        typical_life: median life in cycles, roughly.
    """
    horizon = int(np.ceil(3.0 * typical_life))
    generators = [np.random.Generator(np.random.PCG64(np.random.SeedSequence((*stream, i)))) for i in units]
    draws = _draw(generators, horizon)
    mode = np.minimum((draws.uniform[:, 0] * fault_modes).astype(np.int64), fault_modes - 1)
    losses = _losses(draws, mode, wear_noise, typical_life)
    health = _health(losses)
    life = (health <= 0.0).argmax(axis=1) + 1
    end = _stops(draws, life, stop, stop_share)

    rows = np.arange(horizon) < end[:, None]
    unit, column = np.nonzero(rows)
    flown = np.minimum((draws.condition[rows] * conditions).astype(np.int64), conditions - 1)
    normal = np.concatenate(
        [
            g.standard_normal((n, len(SETTINGS) + 2 * len(SENSORS)), dtype=np.float32)
            for g, n in zip(generators, end, strict=True)
        ]
    )
    worn = losses.transpose(0, 3, 1, 2)[rows].reshape(len(unit), -1)
    offsets = draws.bias[:, 0] * 0.4 * _table("noise") * noise
    drifts = draws.bias[:, 1] * _table("drift") / typical_life
    bias = offsets[unit] + drifts[unit] * (column + 1.0)[:, None]
    margin = health[rows]
    values = _readings(
        nominal=np.array(CONDITIONS)[flown], worn=worn, margin=margin, bias=bias, normal=normal, noise=noise
    )
    return Histories(
        index=np.asarray(units, dtype=np.int64),
        mode=mode,
        life=life,
        stop=end,
        cycle=(column + 1).astype(np.int32),
        health=margin.astype(np.float32),
        values=values,
    )


def _draw(generators: list[np.random.Generator], horizon: int) -> _Draws:
    count = len(generators)
    draws = _Draws(
        uniform=np.empty((count, 15)),
        rate=np.empty((count, 2, horizon)),
        condition=np.empty((count, horizon)),
        bias=np.empty((count, 2, len(SENSORS))),
    )
    for i, generator in enumerate(generators):
        generator.random(out=draws.uniform[i])
        generator.standard_normal(out=draws.rate[i])
        generator.random(out=draws.condition[i])
        generator.standard_normal(out=draws.bias[i])
    return draws


def _losses(draws: _Draws, mode: NDArray[np.int64], wear_noise: float, typical_life: float) -> Array:
    """Loss of efficiency and flow of each module at each cycle, `(n, n_modules, 2, horizon)`."""
    count, _, horizon = draws.rate.shape
    modules = len(FAULT_MODES)
    initial = INITIAL_WEAR * draws.uniform[:, 1:7].reshape(count, modules, 2)
    ageing = AGEING * draws.uniform[:, 7:10].reshape(count, modules, 1) * np.ones(2)
    time = np.arange(1, horizon + 1) * (TYPICAL_LIFE / typical_life)
    losses = initial[..., None] + ageing[..., None] * (time / TYPICAL_LIFE)

    a = RATE[0] * (RATE[1] / RATE[0]) ** draws.uniform[:, 10:11, None]
    spread = np.exp(0.3 * (draws.uniform[:, 11:13, None] - 0.5))  # efficiency and flow wear at similar rates
    b = SHAPE[0] + (SHAPE[1] - SHAPE[0]) * draws.uniform[:, 13:14, None]
    growth = np.diff(a * spread * time**b, axis=-1, prepend=0.0)
    exponent = np.cumsum(growth * _slow_noise(draws.rate, wear_noise), axis=-1)
    wear = WEAR_SCALE * np.expm1(np.minimum(exponent, 10.0))
    losses[np.arange(count), mode] += wear
    return losses


def _health(losses: Array) -> Array:
    """Least margin at each cycle, `(n, horizon)`."""
    count, modules, _, horizon = losses.shape
    worst = np.full((count, horizon), -np.inf)
    for margin in MARGINS.values():
        used = np.zeros((count, horizon))
        for m in range(modules):
            used += margin[m][0] * losses[:, m, 0] + margin[m][1] * losses[:, m, 1]
        worst = np.maximum(worst, used)
    return 1.0 - worst


def _slow_noise(normal: Array, scale: float) -> Array:
    """Positive noise of mean 1 along the last axis, a lognormal autoregression."""
    level = np.empty_like(normal)
    level[..., 0] = normal[..., 0]
    fresh = np.sqrt(1.0 - MEMORY**2) * normal
    for before, now in pairwise(range(normal.shape[-1])):
        level[..., now] = MEMORY * level[..., before] + fresh[..., now]
    return np.exp(scale * level - 0.5 * scale**2)


def _stops(draws: _Draws, life: NDArray[np.int64], stop: Stop, share: float) -> NDArray[np.int64]:
    """Cycle of the last reading: 1 ≤ stop ≤ life, and stop < life where the history is cut."""
    if stop == "failure":
        return life
    youngest, oldest = (0.2, 0.9) if stop == "censored" else (0.25, 0.97)
    age = youngest + (oldest - youngest) * draws.uniform[:, 14]
    cut = np.clip((age * life).astype(np.int64), 1, life - 1)
    chosen = draws.condition[:, -1] < share  # a draw of a cycle that no engine reaches
    return np.where(chosen, cut, life)


@cache
def _table(field: Literal["base", "flight", "wear", "noise", "drift"]) -> Array:
    """One field of all sensors."""
    return np.array([getattr(sensor, field) for sensor in SENSORS], dtype=np.float64)


def _readings(
    *, nominal: Array, worn: Array, margin: Array, bias: Array, normal: NDArray[np.float32], noise: float
) -> NDArray[np.float32]:
    """Settings and sensors of each row, `(n_rows, n_columns)`, given its condition and losses."""
    count, sensors = len(SETTINGS), len(SENSORS)
    settings = nominal + normal[:, :count] * np.array([setting.jitter for setting in SETTINGS])
    alive = _table("noise") > 0.0
    healthy = np.where(alive, _flight(settings), _flight(nominal))
    relative = _combine(worn, _table("wear").reshape(sensors, -1)) + bias
    outlier = np.where(np.abs(normal[:, count + sensors :]) > OUTLIER, OUTLIER_SCALE, 1.0)
    spread = noise * _table("noise") * (1.5 - 0.5 * np.clip(margin, 0.0, 1.0))[:, None]  # a worn engine is rougher
    relative += normal[:, count : count + sensors] * spread * outlier
    return np.concatenate([settings, healthy * (1.0 + relative)], axis=1).astype(np.float32)


def _flight(settings: Array) -> Array:
    """Readings of a perfect engine, `(n_rows, n_sensors)`: standard atmosphere, total temperature and pressure."""
    altitude, mach, throttle = settings.T
    stagnation = 1.0 + 0.2 * mach**2
    ambient = 1.0 - 6.5 * np.minimum(altitude, 11.0) / 288.15
    above = np.exp(-np.maximum(altitude - 11.0, 0.0) / 6.34)
    theta = ambient * stagnation
    delta = ambient**5.256 * above * stagnation**3.5
    logs = np.log(np.stack([theta, delta, throttle / 100.0], axis=1))
    return _table("base") * np.exp(_combine(logs, _table("flight")))


def _combine(rows: Array, weights: Array) -> Array:
    """`rows @ weights.T` in an order of summation that does not depend on the number of rows, as BLAS's does."""
    total = np.zeros((len(rows), len(weights)))
    for row, weight in zip(rows.T, weights.T, strict=True):
        total += row[:, None] * weight
    return total
