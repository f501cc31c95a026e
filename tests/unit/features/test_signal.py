"""The table of a fast signal's segments."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from tests.fixtures.mat_files import fault_signal

from wearcast.errors import FleetError
from wearcast.features import EnvelopeLines, SignalFeatures, WaveletPackets, signal_features, signal_names
from wearcast.features.bearing import SKF_6205, BearingGeometry
from wearcast.features.signal import channel_names

RATE, SHAFT = 12000.0, 29.95
LINES = EnvelopeLines(bearing="SKF 6205-2RS JEM", shaft_speed="rpm")
ALL = SignalFeatures(
    segment=6000, every=3000, bands_hz=(0, 3000, 6000), envelope=LINES, wavelets=WaveletPackets(levels=(2, 3))
)


def segments(line: float | None, n: int = 3) -> np.ndarray:
    return np.stack([fault_signal(RATE, 6000, line_hz=line, resonance_hz=3000, seed=seed) for seed in range(n)]).astype(
        np.float32
    )


def shaft(n: int = 3, speed: float = SHAFT) -> np.ndarray:
    return np.full((n, 6000), speed)


def test_every_column_has_a_name():
    table = signal_features(segments(None), ALL, RATE, shaft())
    names = channel_names(ALL)
    assert table.shape == (3, len(names))
    assert table.dtype == np.float32
    assert len(set(names)) == len(names) == 11 + 2 + 9 + 4 + 8
    assert signal_names(ALL, ("DE", "FE"))[len(names)] == "FE_rms"


def test_a_row_depends_on_its_own_segment_alone():
    x = segments(100.0)
    for spec in (ALL, ALL.model_copy(update={"envelope": LINES.model_copy(update={"samples_per_revolution": 256})})):
        whole = signal_features(x, spec, RATE, shaft())
        np.testing.assert_array_equal(whole[1:2], signal_features(x[1:2], spec, RATE, shaft(1)))


@pytest.mark.parametrize("steps", [None, 256])
def test_a_fault_raises_its_own_line(steps):
    spec = ALL.model_copy(update={"envelope": LINES.model_copy(update={"samples_per_revolution": steps})})
    table = signal_features(segments(SKF_6205.bpfo * SHAFT), spec, RATE, shaft())
    at = {name: i for i, name in enumerate(channel_names(spec))}
    assert table[:, at["bpfo_x1"]].min() > 2
    assert table[:, at["bpfi_x1"]].max() < 2


def test_the_shares_of_a_tree_add_up():
    table = signal_features(segments(None), ALL, RATE, shaft())
    names = np.array(channel_names(ALL))
    tree = np.char.startswith(names, "wavelet_db4_3_")
    np.testing.assert_allclose(np.exp(table[:, tree]).sum(axis=1), 1.0, rtol=1e-5)


def test_a_bearing_is_a_name_a_geometry_or_a_table():
    geometry = BearingGeometry(n_rolling_elements=9, ball_diameter=0.3126, pitch_diameter=1.537)
    for bearing in ("SKF 6205-2RS JEM", geometry, SKF_6205):
        spec = EnvelopeLines(bearing=bearing, shaft_speed="rpm")
        assert EnvelopeLines.model_validate(spec.model_dump()) == spec
        np.testing.assert_allclose(spec.multipliers.bpfo, 3.5848, rtol=1e-3)


def test_without_a_speed_there_are_no_lines():
    with pytest.raises(FleetError, match="speed of the shaft is not known"):
        signal_features(segments(None), ALL, RATE, None)
    with pytest.raises(FleetError, match="positive"):
        signal_features(segments(None), ALL, RATE, shaft(speed=0.0))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValidationError, match="no features"):
        SignalFeatures(segment=100, every=10, waveform=False)
    with pytest.raises(ValidationError, match="ascending"):
        SignalFeatures(segment=100, every=10, bands_hz=(3, 2))
    with pytest.raises(ValidationError, match="bearing"):
        EnvelopeLines(bearing="SKF 1", shaft_speed="rpm")
