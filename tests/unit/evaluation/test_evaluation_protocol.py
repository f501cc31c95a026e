"""Which forecasts are scored against which truth, and what is said when there is none."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from tests.fixtures.forecasters import Oracle, SimpleManifest, make_judged_fleet

from wearcast.bundle import Bundle, DataRecord
from wearcast.distribution import TimeToEvent
from wearcast.errors import FleetError, ModelError
from wearcast.evaluation import Evaluation, Forecaster
from wearcast.evaluation.metrics import nasa_score
from wearcast.evaluation.protocol import evaluate_rul as evaluate
from wearcast.forecast import RulForecast

NAMES = {
    "rmse_capped",
    "rmse",
    "mae_capped",
    "nasa_score_capped",
    "nasa_score",
    "coverage_90",
    "width_90",
    "crps",
    "relative_accuracy",
    "alpha_lambda",
    "horizon_first_hit",
    "horizon_sustained",
    "worst_unit",
}
KEYS = {"bundle", "dataset", "split", "target", "n_units", "n_windows", "seed", "metrics"}


def judged(**kwargs) -> tuple[Evaluation, Oracle]:
    """An honest oracle, evaluated."""
    fleet, lives = make_judged_fleet(**kwargs)
    oracle = Oracle(lives)
    return evaluate(oracle, fleet), oracle


def test_the_json_has_the_agreed_shape():
    """Names of `evaluate --json`; strict JSON without NaN."""
    evaluation, _ = judged(units=20)
    data = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert data.keys() >= KEYS
    assert data["metrics"].keys() >= NAMES
    assert (data["target"], data["split"], data["seed"], data["n_units"]) == ("rul", "test", 1, 20)
    assert data["n_windows"] == evaluation.fleet.n_rows


def test_truncated_histories_are_scored_at_their_last_reading():
    """RMSE over one reading a unit, against labels worked out here."""
    evaluation, oracle = judged(units=20)
    last = oracle.predict(evaluation.fleet, every=None)
    truth = np.array([oracle.lives[u] for u in evaluation.fleet.units]) - evaluation.fleet.age[evaluation.last]
    rul = evaluation.forecast.rul[evaluation.last]
    assert evaluation.protocol == "last"
    assert len(evaluation.scored) == 20 == len(last)
    assert evaluation.metrics["rmse"] == pytest.approx(np.sqrt(np.mean((rul - truth) ** 2)))
    assert evaluation.metrics["rmse_capped"] == pytest.approx(np.sqrt(np.mean((rul - truth.clip(max=125)) ** 2)))


def test_whole_lives_are_pooled_over_all_readings():
    """Windows are pooled; the NASA score is still over the last cycle of each unit."""
    evaluation, _ = judged(units=5, seen=1.0)
    assert evaluation.protocol == "trajectory"
    assert len(evaluation.scored) == evaluation.fleet.n_rows
    last = evaluation.last
    expected = nasa_score(evaluation.forecast.rul[last], np.zeros(5))
    assert evaluation.metrics["nasa_score"] == pytest.approx(expected)
    assert "pooled" in evaluation.protocol_note


def test_an_honest_forecaster_is_found_honest():
    """Coverage near 90 % overall, in each condition and for the median unit; the noise is found again as RMSE."""
    fleet, lives = make_judged_fleet(units=40, seen=0.6)
    evaluation = evaluate(Oracle(lives, sd=5.0), fleet)
    assert evaluation.metrics["rmse"] == pytest.approx(5.0, rel=0.35)
    assert all(c.coverage_90 == pytest.approx(0.9, abs=0.05) for c in evaluation.conditions)
    assert [c.condition for c in evaluation.conditions] == [0, 1]
    assert evaluation.unit_coverage is not None
    assert evaluation.unit_coverage.to_dict()["median"] == pytest.approx(0.9, abs=0.05)


def test_coverage_of_each_unit_against_a_loop():
    """The grouped sum against one unit at a time."""
    evaluation, _ = judged(units=6, unknown=2)
    lower, upper = evaluation.forecast.interval(0.9)
    offsets, truth = evaluation.fleet.offsets, evaluation.true_rul
    slow = [np.mean([lower[i] <= truth[i] <= upper[i] for i in range(offsets[u], offsets[u + 1])]) for u in range(4)]
    assert evaluation.unit_coverage is not None
    assert evaluation.unit_coverage.units == evaluation.fleet.units[:4]
    assert evaluation.unit_coverage.coverage_90 == pytest.approx(slow)


def test_unknown_truth_is_said_and_nothing_is_scored():
    """Every metric is None, the forecasts are there."""
    evaluation, _ = judged(units=4, unknown=4)
    data = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert data["truth"] == "unknown"
    assert data["metrics"].keys() >= NAMES
    assert all(value is None for value in data["metrics"].values())
    assert "none of the 4 units" in data["truth_note"]
    assert data["n_units_scored"] == data["n_windows_scored"] == 0
    assert len(evaluation.forecast) == evaluation.fleet.n_rows


def test_partly_known_truth_scores_the_known_units_and_counts_both():
    """The metrics equal those of the known units alone."""
    fleet, lives = make_judged_fleet(units=8, unknown=3)
    oracle = Oracle(lives, sd=0.001, claimed=5.0)
    whole, known = evaluate(oracle, fleet), evaluate(oracle, fleet.select(fleet.units[:5]))
    assert whole.truth == "partial"
    assert whole.to_dict()["n_units_scored"] == 5
    assert "5 of 8" in whole.truth_note
    assert whole.metrics["crps"] == pytest.approx(known.metrics["crps"], abs=0.01)


def test_rows_are_matched_by_unit_and_time():
    """A bundle that answers in another order gets the same marks."""

    @dataclass
    class Shuffled(Oracle):
        """The oracle with its rows turned round."""

        def predict(self, fleet, *, every=None, without=()) -> RulForecast:
            """Last row first."""
            forecast = super().predict(fleet, every=every, without=without)
            return forecast.select(np.arange(len(forecast))[::-1])

    fleet, lives = make_judged_fleet()
    assert evaluate(Shuffled(lives), fleet).metrics == evaluate(Oracle(lives), fleet).metrics


def test_a_forecast_that_misses_readings_is_refused():
    """Every reading must be forecast once."""

    @dataclass
    class Lazy(Oracle):
        """Leaves out the first row."""

        def predict(self, fleet, *, every=None, without=()) -> RulForecast:
            """One row too few."""
            forecast = super().predict(fleet, every=every, without=without)
            return forecast.select(np.arange(1, len(forecast)))

    fleet, lives = make_judged_fleet()
    with pytest.raises(ModelError, match="forecasts for"):
        evaluate(Lazy(lives), fleet)


def test_a_forecast_that_is_not_a_number_is_refused():
    """NaN never becomes a metric."""

    @dataclass
    class Broken(Oracle):
        """Has lost its mind."""

        def predict(self, fleet, *, every=None, without=()) -> RulForecast:
            """Survival of NaN."""
            forecast = super().predict(fleet, every=every, without=without)
            survival = np.full_like(forecast.distribution.survival, np.nan)
            return replace(forecast, distribution=TimeToEvent(forecast.distribution.grid, survival))

    fleet, lives = make_judged_fleet()
    with pytest.raises(ModelError, match="not numbers"):
        evaluate(Broken(lives), fleet)


def test_an_empty_fleet_is_refused():
    """There is nothing to evaluate."""
    fleet, lives = make_judged_fleet()
    with pytest.raises(FleetError, match="no unit"):
        evaluate(Oracle(lives), fleet.select([]))


def test_training_data_are_recognised():
    """An evaluation on units that were trained on says so, be it all of them or one."""
    fleet, lives = make_judged_fleet()
    one = fleet.select(fleet.units[:1])
    for learnt in (fleet, one):
        data = DataRecord.of(learnt, train=learnt.units, validation=(), rows=learnt.n_rows)
        seen = Oracle(lives, manifest=SimpleManifest(data=data))
        told = evaluate(seen, fleet).to_dict()
        assert (told["trained_on_this_data"], told["units_trained_on"]) == (True, list(learnt.units))
        assert evaluate(seen, fleet.select(fleet.units[1:])).to_dict()["trained_on_this_data"] is (learnt is fleet)
    assert evaluate(Oracle(lives), fleet).to_dict()["trained_on_this_data"] is False


def test_the_fleet_is_forecast_once():
    """One pass, all metrics."""
    _, oracle = judged()
    assert oracle.calls == [()]


def test_seed_is_recorded():
    """The bundle's, or the one given."""
    fleet, lives = make_judged_fleet()
    assert evaluate(Oracle(lives), fleet).seed == 1
    assert evaluate(Oracle(lives), fleet, seed=7).seed == 7


def test_the_table_names_each_metric_and_escapes_markup():
    """Units called like markup stay text."""
    from rich.console import Console

    fleet, lives = make_judged_fleet(units=2, names=["[red]x", "[/]y"])
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(evaluate(Oracle(lives), fleet).table())
    text = console.export_text()
    assert all(name in text for name in NAMES)
    assert "[red]x" in text or "[/]y" in text


def test_a_bundle_is_a_forecaster():
    """The real bundle offers what the protocol asks for (mypy checks the signature)."""

    def accepts(bundle: Bundle) -> Forecaster:
        return bundle

    assert accepts.__annotations__["bundle"] == "Bundle"
    assert {"predict", "engine"} <= set(dir(Bundle))
