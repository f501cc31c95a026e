"""Orders of the shaft, tachometers, kurtosis and shape of spectra: from the recipe to the table of segments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from wearcast.errors import FleetError
from wearcast.features import SignalFeatures
from wearcast.features.spectrum import band_kurtosis, spectral_kurtosis
from wearcast.fleet import Fleet
from wearcast.inference.tables import table_columns, table_of
from wearcast.windows import Preprocessing

RATE, SAMPLES = 2000.0, 6000
T = np.arange(SAMPLES) / RATE
SPEED_HZ = 20 + 8 * T  # runs up from 20 to 44 turns a second
ANGLE = np.cumsum(SPEED_HZ) / RATE


def make_run_up(**columns: Any) -> Fleet:
    """A machine that runs up, with a line at three times the shaft's speed."""
    rng = np.random.default_rng(0)
    vibration = np.sin(2 * np.pi * 3 * ANGLE) + rng.normal(0, 0.05, SAMPLES)
    pulses = (ANGLE * 2 % 1 < 0.2).astype(float)  # two a turn
    readings = {"unit": ["A"] * SAMPLES, "n": np.arange(SAMPLES), "vib": vibration, "rpm": SPEED_HZ * 60, **columns}
    table = pl.DataFrame({**readings, "pulses": pulses})
    fleet = Fleet.from_frame(table, unit="unit", cycle="n", sensors=("vib", "rpm", "pulses"), events="last_row")
    return replace(fleet, schema=fleet.schema.model_copy(update={"sampling_rate_hz": RATE}))


def asked(**features: Any) -> SignalFeatures:
    common = {"segment": 1500, "every": 1500, "channels": ["vib"], "waveform": False}
    return SignalFeatures.model_validate({**common, **features})


def described(fleet: Fleet, features: SignalFeatures, rows: list[int]) -> dict[str, np.ndarray]:
    preprocessing = Preprocessing.fit(fleet, features)
    table = table_of(preprocessing.transform(fleet), np.array(rows), features)
    return dict(zip(table_columns(preprocessing, features), table.T, strict=True))


ORDERS = {"shaft_speed": "rpm", "edges": [0.5, 2.5, 3.5, 6], "samples_per_revolution": 32}


@pytest.mark.parametrize(
    "features",
    [
        {"orders": ORDERS},
        {"orders": ORDERS | {"shaft_speed": "pulses"}, "tacho": {"threshold": 0.5, "pulses_per_revolution": 2}},
    ],
    ids=["turns a minute", "pulses"],
)
def test_a_line_that_follows_the_shaft_stands_still_over_orders_whatever_says_the_speed(features: dict[str, Any]):
    fleet = make_run_up()
    table = described(fleet, asked(**features, bands_hz=[0, 70, 1000]), [1499, 2999, 5999])
    assert np.exp(table["vib_order_2.5_3.5"]).min() > 0.95
    assert np.exp(table["vib_order_0.5_2.5"]).max() < 0.03
    moved = np.exp(table["vib_band_0_70_hz"])
    assert moved[0] > 0.2
    assert moved[2] < 0.05, "over Hz it has left the band"


def test_what_comes_after_a_segment_changes_nothing_in_it():
    tacho = {"threshold": 0.5, "pulses_per_revolution": 2}
    features = asked(orders=ORDERS | {"shaft_speed": "pulses"}, tacho=tacho)
    fleet = make_run_up()
    preprocessing = Preprocessing.fit(fleet, features)
    later = fleet.frame.with_columns(
        pl.when(pl.col("time") > 2999).then(0.0).otherwise(pl.col(c)).cast(pl.Float32).alias(c)
        for c in ("vib", "pulses")
    )
    rows = np.array([1499, 2999])
    whole, cut = (
        table_of(preprocessing.transform(one), rows, features) for one in (fleet, replace(fleet, frame=later))
    )
    np.testing.assert_array_equal(whole, cut)


def test_a_tachometer_without_pulses_is_named_with_its_unit():
    features = asked(orders=ORDERS | {"shaft_speed": "pulses"}, tacho={"threshold": 5.0})
    with pytest.raises(FleetError, match=r"unit A.*0 pulses cross the threshold 5"):
        described(make_run_up(), features, [1499])


def test_shape_peaks_and_kurtosis_have_a_name_for_every_column():
    features = asked(spectrum=True, peaks=2, spectral_kurtosis={"bands_hz": [0, 400, 1000], "frame": 100})
    table = described(make_run_up(), features, [1499, 2999])
    assert list(table)[:5] == [
        "vib_spectral_centroid_hz", "vib_spectral_spread_hz", "vib_spectral_skewness", "vib_spectral_shape_kurtosis",
        "vib_spectral_entropy",
    ]  # fmt: skip
    assert table["vib_peak_1_hz"][1] == pytest.approx(3 * SPEED_HZ[1500:3000].mean(), rel=0.1)
    assert {"vib_peak_2_amplitude", "vib_spectral_kurtosis_400_1000_hz"} <= set(table)


def test_the_kurtosis_of_a_band_is_the_greatest_in_it_by_a_plain_loop():
    x = np.random.default_rng(1).normal(size=(3, 800))
    x[1, 300:310] += 20  # an impulse
    frequencies, kurtosis = spectral_kurtosis(x, RATE, frame=64)
    edges = (0.0, 250.0, 1000.0)
    expected = [
        [max(k for k, f in zip(row, frequencies, strict=True) if low <= f < high or f == high == 1000.0)
         for low, high in ((0.0, 250.0), (250.0, 1000.0))]
        for row in kurtosis
    ]  # fmt: skip
    np.testing.assert_array_equal(band_kurtosis(x, RATE, edges, frame=64), expected)
    assert band_kurtosis(x, RATE, edges, frame=64)[1].min() > 2
    assert np.isnan(band_kurtosis(np.zeros((1, 800)), RATE, edges, frame=64)).all()


@pytest.mark.parametrize(
    ("features", "match"),
    [
        ({"tacho": {"threshold": 1}, "waveform": True}, "nothing here reads one"),
        ({"orders": {"shaft_speed": "rpm", "edges": [1, 40]}}, "samples_per_revolution of 80"),
        ({"orders": {"shaft_speed": "rpm", "edges": [3, 1]}}, "ascending edges"),
        ({"spectral_kurtosis": {"bands_hz": [0, 10], "frame": 1000}}, "8000"),
        ({"orders": ORDERS, "envelope": {"bearing": "SKF 6205-2RS JEM", "shaft_speed": "n"}}, "there is one shaft"),
        ({}, "no features"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(features: dict[str, Any], match: str):
    with pytest.raises(ValidationError, match=match):
        asked(**features)
