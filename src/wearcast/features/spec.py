"""The features of an experiment, as a discriminated union on `kind`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from wearcast.config import Strict
from wearcast.features.bearing import SKF_6203, SKF_6205, BearingGeometry, BearingMultipliers
from wearcast.features.calendar import CalendarMark
from wearcast.features.derived import Derived
from wearcast.features.statistics import MOMENTS, Statistic

__all__ = ["EnvelopeLines", "Features", "SequenceFeatures", "SignalFeatures", "StatisticsFeatures", "WaveletPackets"]


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
    envelope: EnvelopeLines | None = Field(None, description="Add the lines of a bearing's envelope spectrum.")
    wavelets: WaveletPackets | None = Field(None, description="Add wavelet-packet energies.")
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
        if not (self.waveform or self.bands_hz or self.envelope or self.wavelets):
            raise ValueError("no features: ask for waveform, bands_hz, envelope or wavelets")
        if self.bands_hz and (len(self.bands_hz) < 2 or list(self.bands_hz) != sorted(set(self.bands_hz))):
            raise ValueError(f"bands_hz must be two or more ascending edges, got {list(self.bands_hz)}")
        return self


Features = Annotated[SequenceFeatures | StatisticsFeatures | SignalFeatures, Field(discriminator="kind")]
