"""Every backbone that reads tables with every target: from a fleet to a forecast, or refused with what would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from tests.fixtures.experiments import SMALL, make_experiment
from tests.fixtures.fleets import make_fleet
from tests.fixtures.targets import STEPS, TARGETS, make_answered_fleet, make_target_experiment

from wearcast import Bundle, Experiment, load_bundle, train
from wearcast.bundle import ModelManifest
from wearcast.evaluation import evaluate
from wearcast.forecast import ClassForecast, RulForecast, SensorForecast
from wearcast.models import Tabular

KINDS = ("lightgbm", "ridge", "survival", "persistence")
LEARNT = [
    (target, kind)
    for kind in KINDS
    for target in TARGETS
    if not (kind in ("survival", "persistence") and target in ("failure_label", "fault"))
    and (kind, target) != ("survival", "sensor")
]


def parity(bundle: Bundle) -> float:
    """How far the exported graph is from the model."""
    assert isinstance(bundle.manifest, ModelManifest)
    return bundle.manifest.parity.max_abs_difference


def test_every_backbone_that_reads_tables_is_held_here():
    found = {spec.model_fields["kind"].default for spec in get_args(Tabular)}
    assert found == {*KINDS, "envelope_evidence"}  # which needs signals, and has tests of its own


@pytest.mark.parametrize(("target", "kind"), LEARNT)
def test_what_can_be_learnt_is_learnt_and_forecast(target: str, kind: str, tmp_path: Path):
    bundle = train(make_target_experiment(target, kind), make_answered_fleet(), out=tmp_path / "b")
    assert parity(bundle) <= 1e-4
    other = make_answered_fleet(units=6, seed=1)
    forecast = load_bundle(tmp_path / "b").predict(other, every=1)
    metrics = evaluate(bundle, other).to_dict()["metrics"]
    if target == "sensor":
        assert isinstance(forecast, SensorForecast)
        assert forecast.quantiles.shape == (other.n_rows, STEPS, 2, 5)
        assert (np.diff(forecast.quantiles, axis=3) >= 0).all()
        if kind == "persistence":
            assert metrics["mae"] == pytest.approx(metrics["mae_persistence"], rel=1e-4)
        else:
            assert metrics["mae"] < 0.95 * metrics["mae_persistence"]
    else:
        assert isinstance(forecast, ClassForecast)
        np.testing.assert_allclose(forecast.probability.sum(axis=1), 1.0)
        # Persistence knows the age alone, but all of these lives are of one length.
        assert metrics["macro_f1" if target == "fault" else "pr_auc"] > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_lives_are_forecast_running_units_among_them(kind: str, tmp_path: Path):
    fleet = make_fleet(units=10, cycles=40, conditions=2, censored=3)
    bundle = train(make_experiment(kind), fleet, out=tmp_path / "b")
    forecast = bundle.predict(fleet, every=1)
    assert isinstance(forecast, RulForecast)
    survival = forecast.distribution.survival
    assert (np.diff(survival, axis=1) <= 1e-6).all()
    duration, known = fleet.rul()
    truth = np.minimum(duration, 30)[known]
    error = np.sqrt(np.mean((forecast.rul[known] - truth) ** 2))
    assert error < (1.05 if kind == "persistence" else 0.9) * truth.std()


@pytest.mark.parametrize("kind", KINDS)
def test_one_unit_is_divided_by_time(kind: str, tmp_path: Path):
    """There are no other units to hold out, so blocks of its history are."""
    target = "sensor" if kind != "survival" else "failure"
    fleet = make_answered_fleet(units=1, cycles=300)
    experiment = make_target_experiment(target, kind)
    by_time = experiment.model_copy(update={"split": experiment.split.model_copy(update={"by": "time"})})
    bundle = train(by_time, fleet, out=tmp_path / "b")
    assert parity(bundle) <= 1e-4
    assert len(bundle.predict(fleet, every=1)) == fleet.n_rows


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "sensor" in SMALL[kind].targets])
def test_missing_readings_ahead_and_behind_are_no_answers(kind: str, tmp_path: Path):
    fleet = make_answered_fleet()
    holes = fleet.frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 7 == 3).then(None).otherwise(pl.col("s0")).alias("s0")
    )
    dirty = replace(fleet, frame=holes.with_columns(pl.col("s0").fill_null(float("nan"))))
    bundle = train(make_target_experiment("sensor", kind), dirty, out=tmp_path / "b")
    forecast = bundle.predict(dirty, every=1)
    assert isinstance(forecast, SensorForecast)
    assert np.isfinite(forecast.quantiles).all()


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("survival", {"target": TARGETS["sensor"]}, "only rul, failure; for 'sensor' take lightgbm, ridge, persistence"),
    ("survival", {"target": TARGETS["fault"]}, "for 'fault' take lightgbm, envelope_evidence, ridge or a network"),
    ("persistence", {"target": TARGETS["fault"]}, "does not learn target 'fault'"),
    ("survival", {"target": TARGETS["failure_label"]}, "give target.horizon instead of target.label"),
    ("persistence", {"target": TARGETS["failure_label"]}, "or take 'ridge' or 'lightgbm'"),
    ("persistence", {"features": {"kind": "statistics", "age": False}}, "reads the age"),
    ("persistence", {"target": TARGETS["sensor"].model_copy(update={"relative": False})}, "leave target.relative"),
    ("ridge", {"features": {"kind": "sequence"}}, "needs features.kind 'statistics' or 'signal'"),
]


@pytest.mark.parametrize(("kind", "changes", "said"), REFUSED)
def test_what_cannot_be_is_refused_with_what_would_do(kind: str, changes: dict[str, Any], said: str):
    record = make_target_experiment("sensor", "lightgbm").record() | {
        "target": {"kind": "rul"},
        "backbone": SMALL[kind].model_dump(),
    }
    plain = {key: value if isinstance(value, dict) else value.model_dump() for key, value in changes.items()}
    assert Experiment.model_validate(record).backbone.kind == kind
    with pytest.raises(ValidationError, match=said):
        Experiment.model_validate(record | plain)


def test_a_model_of_faults_is_refused_for_its_target_before_its_features():
    """Else the user mends features for a model that could not learn the target with any."""
    record = make_target_experiment("sensor", "lightgbm").record() | {"backbone": {"kind": "envelope_evidence"}}
    with pytest.raises(ValidationError, match="only fault; for 'sensor' take lightgbm, ridge, persistence or"):
        Experiment.model_validate(record)
