"""Derived columns: what they compute, what they refuse, and that serving derives them like training."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from wearcast import Fleet
from wearcast.errors import FleetError
from wearcast.features import Derived, SequenceFeatures, with_derived
from wearcast.features.derived import Limits
from wearcast.windows import Preprocessing


def make_fleet(**changes: object) -> Fleet:
    columns: dict[str, object] = {
        "unit": ["a"] * 3 + ["b"] * 2,
        "cycle": [1, 2, 3, 1, 2],
        "torque": [1.0, 2.0, 3.0, 4.0, 5.0],
        "speed": [10.0, 20.0, 0.0, 40.0, 50.0],
        "kind": ["L"] * 3 + ["H"] * 2,
    }
    return Fleet.from_frame(
        pl.DataFrame(columns | changes),
        unit="unit",
        cycle="cycle",
        sensors=["torque", "speed"],
        statics=["kind"],
        name="made",
    )


@pytest.mark.parametrize(
    ("derived", "expected"),
    [
        (Derived(name="x", operation="product", columns=("torque", "speed")), [10, 40, 0, 160, 250]),
        (Derived(name="x", operation="sum", columns=("torque", "speed", "torque")), [12, 24, 6, 48, 60]),
        (Derived(name="x", operation="maximum", columns=("torque", "speed")), [10, 20, 3, 40, 50]),
        (Derived(name="x", operation="difference", columns=("speed", "torque"), scale=2), [18, 36, -6, 72, 90]),
        (Derived(name="x", operation="ratio", columns=("torque", "speed")), [0.1, 0.1, np.nan, 0.1, 0.1]),
        (Derived(name="x", operation="change", columns=("torque",)), [np.nan, 1, 1, np.nan, 1]),
        (Derived(name="x", operation="change", columns=("speed",), steps=2), [np.nan, np.nan, -10, np.nan, np.nan]),
        (Derived(name="x", operation="sum", columns=("torque",), centre=3), [2, 1, 0, 1, 2]),
        (
            Derived(name="x", operation="sum", columns=("torque",), limits=Limits(column="kind", values={"L": 2})),
            [0.5, 1, 1.5, np.nan, np.nan],
        ),
    ],
    ids=lambda value: value.operation if isinstance(value, Derived) else "",
)
def test_a_derived_column_is_what_its_formula_says(derived: Derived, expected: list[float]):
    fleet = with_derived(make_fleet(), [derived])
    np.testing.assert_allclose(fleet.frame["x"].to_numpy(), np.array(expected, dtype=np.float32), rtol=1e-6)
    assert fleet.schema.sensors == ("torque", "speed", "x")


@pytest.mark.parametrize("operation", ["product", "sum", "difference", "maximum"])
def test_a_missing_reading_makes_a_missing_value(operation: str):
    fleet = make_fleet(torque=[1.0, None, 3.0, 4.0, 5.0])
    one = Derived.model_validate({"name": "x", "operation": operation, "columns": ("torque", "speed")})
    assert np.isnan(with_derived(fleet, [one]).frame["x"].to_numpy()).tolist() == [False, True, False, False, False]


def test_a_change_never_crosses_units_nor_looks_ahead():
    one = Derived(name="x", operation="change", columns=("torque",), steps=1)
    before = with_derived(make_fleet(), [one]).frame["x"].to_numpy()[:2]
    after = with_derived(make_fleet(torque=[1.0, 2.0, 99.0, 99.0, 5.0]), [one]).frame["x"].to_numpy()[:2]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("change", "say"),
    [
        ({"operation": "ratio", "columns": ["torque"]}, "a ratio is of 2 columns, not 1"),
        ({"operation": "change", "columns": ["torque", "speed"]}, "a change is of 1 columns, not 2"),
        ({"operation": "sum", "columns": ["torque"], "scale": 0}, "finite number other than 0"),
        ({"operation": "power", "columns": ["torque"]}, "operation"),
    ],
)
def test_a_formula_that_is_none_is_refused(change: dict[str, object], say: str):
    with pytest.raises(ValidationError, match=say):
        Derived.model_validate({"name": "x", **change})


def test_what_is_missing_or_there_already_is_named():
    with pytest.raises(FleetError, match="'volt' is missing, from which 'x' is derived; there are torque, speed"):
        with_derived(make_fleet(), [Derived(name="x", operation="sum", columns=("volt",))])
    with pytest.raises(FleetError, match="there is a column 'speed' already"):
        with_derived(make_fleet(), [Derived(name="speed", operation="sum", columns=("torque",))])


def test_serving_derives_like_training_and_needs_only_what_is_measured():
    one = Derived(name="power", operation="product", columns=("torque", "speed"))
    features = SequenceFeatures(derived=(one,), deviation=False, age=False)
    fitted = Preprocessing.fit(make_fleet(), features)
    assert fitted.names == ("torque", "speed", "power")
    assert "power" not in fitted.columns
    assert {"torque", "speed"} <= set(fitted.columns)
    channels = fitted.transform(make_fleet())
    assert np.isfinite(channels.values).all()
    hidden = fitted.transform(make_fleet(), without=["speed"])
    assert (hidden.values[:, 1:] == 0).all(), "what is derived from a hidden sensor is hidden with it"
