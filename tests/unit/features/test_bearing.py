"""Fault frequencies against the published tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from wearcast.errors import FleetError
from wearcast.features.bearing import FAULT_NAMES, SKF_6203, SKF_6205, BearingGeometry, BearingMultipliers

GEOMETRY_6205 = BearingGeometry(n_rolling_elements=9, ball_diameter=0.3126, pitch_diameter=1.537)
GEOMETRY_6203 = BearingGeometry(n_rolling_elements=8, ball_diameter=0.2656, pitch_diameter=1.122)


@pytest.mark.parametrize(
    ("geometry", "table", "published"),
    [
        (GEOMETRY_6205, SKF_6205, [5.4152, 3.5848, 0.39828, 4.7135]),
        (GEOMETRY_6203, SKF_6203, [4.9469, 3.0530, 0.3817, 3.9874]),
    ],
)
def test_geometry_gives_the_published_multipliers(geometry, table, published):
    columns = [FAULT_NAMES.index(name) for name in ("bpfi", "bpfo", "ftf", "2bsf")]
    np.testing.assert_allclose(geometry.multipliers().orders()[columns], published, atol=1e-3)
    np.testing.assert_allclose(table.orders()[columns], published, atol=1e-9)


@given(st.integers(2, 40), st.floats(0.01, 0.9), st.floats(0, 60), st.floats(0.1, 500))
def test_the_races_share_the_balls(n, ratio, angle, shaft):
    """BPFI + BPFO = n shaft, BPFO = n FTF."""
    geometry = BearingGeometry(n_rolling_elements=n, ball_diameter=ratio, pitch_diameter=1.0, contact_angle=angle)
    bpfi, bpfo, ftf, bsf, twice = geometry.fault_frequencies(shaft)
    assert bpfi + bpfo == pytest.approx(n * shaft)
    assert bpfo == pytest.approx(n * ftf)
    assert twice == 2 * bsf


def test_each_segment_has_its_own_speed():
    found = SKF_6205.fault_frequencies([29.95, 29.2])
    assert found.shape == (2, len(FAULT_NAMES))
    np.testing.assert_allclose(found[:, 0], [162.19, 158.12], atol=0.01)


@pytest.mark.parametrize("shaft", [0.0, -30.0, np.nan, [29.0, np.inf]])
def test_a_shaft_that_does_not_turn_is_refused(shaft):
    with pytest.raises(FleetError, match="shaft speed"):
        SKF_6205.fault_frequencies(shaft)


def test_a_geometry_that_cannot_be_is_refused():
    with pytest.raises(ValidationError, match="smaller than pitch_diameter"):
        BearingGeometry(n_rolling_elements=9, ball_diameter=2.0, pitch_diameter=1.5)
    with pytest.raises(ValidationError, match="bpfi"):
        BearingMultipliers(bpfi=-1, bpfo=3, ftf=0.4, bsf=2)
