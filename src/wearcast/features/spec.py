"""The features of an experiment, as a discriminated union on `kind`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from wearcast.config import Strict
from wearcast.features.bearing import SKF_6203, SKF_6205, BearingGeometry, BearingMultipliers
from wearcast.features.calendar import CalendarMark
from wearcast.features.derived import Derived
from wearcast.features.statistics import MOMENTS, Statistic

__all__ = [
    "EnvelopeLines",
    "Features",
    "SequenceFeatures",
    "ShaftOrders",
    "SignalFeatures",
    "SpectralKurtosis",
    "StatisticsFeatures",
    "Tacho",
    "WaveletPackets",
]


class _Channels(Strict):
    """The channels of each time step, whatever the model makes of them."""

    deviation: bool = Field(True, description="Add each sensor's deviation from the unit's own healthy start.")
    healthy_steps: int = Field(20, ge=1, description="Readings that make a unit's healthy start.")
    age: bool = Field(True, description="Add the time since the unit's first reading.")
    settings: bool = Field(True, description="Add the operating settings themselves.")
    statics: bool = Field(True, description="Add the columns that never change within a unit.")
    every: int = Field(1, ge=1, description="Readings from one window to the next, counted back from a unit's last.")
    derived: tuple[Derived, ...] = Field((), description="Columns computed from others, which become sensors.")
    calendar: tuple[CalendarMark, ...] = Field(
        (), description="Add calendar time, known ahead: minute, hour, weekday, day, yearday, month; of a clock only."
    )

    missing_mask: Literal["auto", "missing", "all", "none"] = Field(
        "auto",
        description="Add a 0/1 channel 'the reading is there': 'auto' of sensors and settings that the mapping treats "
        "with missing: mask, 'missing' of any, both if readings are missing in training; 'all' of all.",
    )

    @field_validator("calendar")
    @classmethod
    def _each_mark_once(cls, value: tuple[CalendarMark, ...]) -> tuple[CalendarMark, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"calendar must name each mark once, got {list(value)}")
        return value


class SequenceFeatures(_Channels):
    """The channels of every step of the window, for models that read sequences."""

    kind: Literal["sequence"] = "sequence"


Steps = tuple[Annotated[int, Field(ge=1)], ...]


class StatisticsFeatures(_Channels):
    """Statistics of the window over several time scales, one row a window, for models that read tables."""

    kind: Literal["statistics"] = "statistics"
    scales: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (5, 15, 40, 100),
        description="Window lengths, in readings, of the statistics; none: the reading alone.",
    )
    statistics: tuple[Statistic, ...] = Field(
        MOMENTS, min_length=1, description="What of each window: mean, sd, slope, min, max, median."
    )
    lags: Steps = Field((), description="Add the reading so many readings before; the first one of a younger unit.")
    differences: Steps = Field((), description="Add the change since so many readings before; or since the first one.")

    @model_validator(mode="after")
    def _lists_fit(self) -> StatisticsFeatures:
        for name in ("scales", "lags", "differences"):
            found = list(getattr(self, name))
            if found != sorted(set(found)):
                raise ValueError(f"{name} must be an ascending list without repeats, got {found}")
        if len(set(self.statistics)) < len(self.statistics):
            raise ValueError(f"statistics must name each once, got {list(self.statistics)}")
        return self

    @property
    def recent_mean(self) -> int | None:
        """Which block of the statistics is the mean over the shortest window; None without one."""
        return self.statistics.index("mean") if self.scales and "mean" in self.statistics else None

    @property
    def reach(self) -> int:
        """Readings that a row looks at, its own the last of them."""
        return max((1, *self.scales, *(step + 1 for step in (*self.lags, *self.differences))))


BearingName = Literal["SKF 6205-2RS JEM", "SKF 6203-2RS JEM"]
LineName = Literal["bpfi", "bpfo", "ftf", "bsf", "2bsf"]

_BY_NAME: dict[BearingName, BearingMultipliers] = {"SKF 6205-2RS JEM": SKF_6205, "SKF 6203-2RS JEM": SKF_6203}


class EnvelopeLines(Strict):
    """How far the bearing's fault frequencies stand out of the envelope spectrum; see `features.envelope`."""

    bearing: BearingName | BearingGeometry | BearingMultipliers = Field(
        description="Name of a bearing that is known, its geometry, or its fault frequencies a turn of the shaft."
    )
    shaft_speed: str = Field(description="Column with the shaft's turns a minute: static, setting or sensor.")
    lines: tuple[LineName, ...] = Field(("bpfi", "bpfo", "2bsf"), min_length=1, description="Which fault frequencies.")
    harmonics: int = Field(3, ge=1, le=10, description="How many of each, the line itself the first.")
    tolerance: float = Field(0.012, gt=0, lt=0.5, description="Half the width to search, as a part of the frequency.")
    prewhitened: bool = Field(True, description="Give every line of the signal's spectrum one height first.")
    band_hz: tuple[float, float] | None = Field(
        None, description="Band to demodulate; from 2.5% to 47.5% of the sampling rate unless given."
    )
    samples_per_revolution: int | None = Field(
        None, ge=2, description="Track orders: resample the envelope to so many equal steps of angle a turn."
    )

    @property
    def multipliers(self) -> BearingMultipliers:
        """Fault frequencies a turn of the shaft."""
        if isinstance(self.bearing, str):
            return _BY_NAME[self.bearing]
        return self.bearing.multipliers() if isinstance(self.bearing, BearingGeometry) else self.bearing


class WaveletPackets(Strict):
    """Shares of the energy in the nodes of wavelet-packet trees, as logarithms; see `features.wavelet`."""

    families: tuple[str, ...] = Field(("db4",), min_length=1, description="Orthogonal wavelets: 'db4', 'sym8' …")
    levels: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field((4,), min_length=1, description="Depths of the tree.")


class ShaftOrders(Strict):
    """Shares of the power in bands of orders, multiples of the shaft's speed, as logarithms; see `order_tracking`."""

    shaft_speed: str = Field(description="Column with the shaft's turns a minute: static, setting or sensor.")
    edges: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        min_length=2, description="Edges of the bands, in orders, such as 0.5, 1.5, 2.5."
    )
    samples_per_revolution: int = Field(64, ge=4, description="Orders up to half of it can be seen.")

    @model_validator(mode="after")
    def _seen(self) -> ShaftOrders:
        _check_edges("orders.edges", self.edges)
        if self.edges[-1] > self.samples_per_revolution / 2:
            raise ValueError(
                f"orders up to {self.edges[-1]:g} take samples_per_revolution of {2 * self.edges[-1]:g} or more"
            )
        return self


class SpectralKurtosis(Strict):
    """How impulsive a signal is in bands, the greatest spectral kurtosis of each; see `features.spectrum`."""

    bands_hz: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=2, description="Edges of the bands.")
    frame: int = Field(ge=8, description="Samples: longer than an impulse rings, shorter than the time between two.")

    @model_validator(mode="after")
    def _bands_ascend(self) -> SpectralKurtosis:
        _check_edges("spectral_kurtosis.bands_hz", self.bands_hz)
        return self


class Tacho(Strict):
    """How a tachometer's signal is read: a pulse is a crossing of the threshold upwards."""

    threshold: float = Field(description="Level that a pulse crosses.")
    pulses_per_revolution: int = Field(1, ge=1)


class SignalFeatures(Strict):
    """What segments of fast signals look like, one row a segment, for models that read tables."""

    kind: Literal["signal"] = "signal"
    segment: int = Field(ge=64, description="Samples that a row is computed from; the last of them is its time.")
    every: int = Field(ge=1, description="Samples from one segment to the next, counted back from a unit's last.")
    channels: tuple[str, ...] = Field((), description="Sensors that are signals; all but the shaft's speed.")
    sampling_rate_hz: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Where the fleet does not know it; checked where it does."
    )
    waveform: bool = Field(True, description="Add level and shape of the waveform.")
    bands_hz: tuple[float, ...] = Field((), description="Edges of bands; add the logarithm of each band's share.")
    spectrum: bool = Field(False, description="Add the shape of the spectrum: centroid, spread … entropy.")
    peaks: int = Field(0, ge=0, le=20, description="Add frequency and amplitude of so many strongest lines.")
    envelope: EnvelopeLines | None = Field(None, description="Add the lines of a bearing's envelope spectrum.")
    wavelets: WaveletPackets | None = Field(None, description="Add wavelet-packet energies.")
    spectral_kurtosis: SpectralKurtosis | None = Field(None, description="Add how impulsive the signal is in bands.")
    orders: ShaftOrders | None = Field(None, description="Add the power in bands of orders of the shaft.")
    tacho: Tacho | None = Field(
        None, description="Read the column of the shaft's speed as a tachometer's pulses, not as turns a minute."
    )
    settings: bool = Field(False, description="Add the operating settings themselves.")
    statics: bool = Field(False, description="Add the columns that never change: they may name the recording.")
    derived: tuple[Derived, ...] = Field((), description="Columns computed from others, which become sensors.")
    deviation: ClassVar[bool] = False
    healthy_steps: ClassVar[int] = 1
    age: ClassVar[bool] = False
    calendar: ClassVar[tuple[CalendarMark, ...]] = ()
    missing_mask: ClassVar[Literal["none"]] = "none"

    @model_validator(mode="after")
    def _something(self) -> SignalFeatures:
        frequency = self.bands_hz or self.spectrum or self.peaks or self.spectral_kurtosis
        if not (self.waveform or frequency or self.envelope or self.wavelets or self.orders):
            raise ValueError("no features: ask for waveform, bands_hz, envelope, wavelets, orders …")
        if self.bands_hz:
            _check_edges("bands_hz", self.bands_hz)
        if self.spectral_kurtosis is not None and 8 * self.spectral_kurtosis.frame > self.segment:
            raise ValueError(
                f"a kurtosis over few frames says nothing: segment must be 8 of spectral_kurtosis.frame "
                f"or more, {8 * self.spectral_kurtosis.frame}"
            )
        if len({one.shaft_speed for one in (self.envelope, self.orders) if one is not None}) > 1:
            raise ValueError("envelope and orders name two columns of the shaft's speed: there is one shaft")
        if self.tacho is not None and self.shaft_speed is None:
            raise ValueError("tacho says how the column of the shaft's speed is read, and nothing here reads one")
        return self

    @property
    def shaft_speed(self) -> str | None:
        """Column with the shaft's speed, if a feature reads it."""
        return next((one.shaft_speed for one in (self.envelope, self.orders) if one is not None), None)


def _check_edges(name: str, edges: tuple[float, ...]) -> None:
    if len(edges) < 2 or list(edges) != sorted(set(edges)):
        raise ValueError(f"{name} must be two or more ascending edges, got {list(edges)}")


Features = Annotated[SequenceFeatures | StatisticsFeatures | SignalFeatures, Field(discriminator="kind")]
