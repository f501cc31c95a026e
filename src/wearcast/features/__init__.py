"""What a model sees of a reading: its own value, its deviation from the unit's healthy start, window statistics."""

from wearcast.features.blocks import row_blocks
from wearcast.features.calendar import CalendarMark, calendar_marks
from wearcast.features.derived import Derived, with_derived
from wearcast.features.healthy_start import healthy_start
from wearcast.features.hold import hold_last
from wearcast.features.signal import signal_features, signal_names
from wearcast.features.spec import (
    EnvelopeLines,
    Features,
    SequenceFeatures,
    ShaftOrders,
    SignalFeatures,
    SpectralKurtosis,
    StatisticsFeatures,
    Tacho,
    WaveletPackets,
)
from wearcast.features.statistics import share_names, statistic_names, window_shares, window_statistics

__all__ = [
    "CalendarMark",
    "Derived",
    "EnvelopeLines",
    "Features",
    "SequenceFeatures",
    "ShaftOrders",
    "SignalFeatures",
    "SpectralKurtosis",
    "StatisticsFeatures",
    "Tacho",
    "WaveletPackets",
    "calendar_marks",
    "healthy_start",
    "hold_last",
    "row_blocks",
    "share_names",
    "signal_features",
    "signal_names",
    "statistic_names",
    "window_shares",
    "window_statistics",
    "with_derived",
]
