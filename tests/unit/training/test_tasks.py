"""Tasks: the scale and the weight of answers, and the refusal of fleets that have none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.fixtures.targets import STEPS, TARGETS, make_answered_fleet, make_target_experiment

from wearcast import Fleet
from wearcast.errors import FleetError
from wearcast.inference import ProbabilityOutput, QuantileOutput
from wearcast.labels import FutureLabels
from wearcast.target import FailureTarget, FalseAlarmRate
from wearcast.training.tasks import ClassTask, ScaledFuture, SensorTask, task_for


def make_sensor_task(fleet: Fleet, *, relative: bool) -> SensorTask:
    """The task of forecasting `s0` and `s1`."""
    experiment = make_target_experiment("sensor")
    target = TARGETS["sensor"].model_copy(update={"relative": relative})
    found = task_for(experiment.model_copy(update={"target": target}), fleet)
    assert isinstance(found, SensorTask)
    return found


class TestClasses:
    def make(self, **changes: object) -> ClassTask:
        """The task of telling failures apart."""
        experiment = make_target_experiment("failure")
        target = TARGETS["failure"].model_copy(update=changes)
        found = task_for(experiment.model_copy(update={"target": target}), make_answered_fleet())
        assert isinstance(found, ClassTask)
        return found

    def test_balanced_classes_weigh_alike_and_rows_weigh_one_on_average(self) -> None:
        task = self.make(class_weight="balanced")
        weighed = task.share * task.weight
        np.testing.assert_allclose(weighed, [0.5, 0.5])
        assert weighed.sum() == pytest.approx(1.0)
        assert (self.make().weight == 1).all()

    def test_a_class_that_is_not_there_has_no_weight(self) -> None:
        task = replace(self.make(class_weight="balanced"), share=np.array([0.25, 0.0, 0.75]))
        np.testing.assert_allclose(task.weight, [2.0, 0.0, 2 / 3])

    def test_the_alarm_threshold_keeps_the_promise_of_its_rule_on_held_out_rows(self) -> None:
        fleet = make_answered_fleet()
        task = self.make(threshold=FalseAlarmRate(at_most=0.1))
        rows = task.answers(fleet).rows
        answer, _ = task.answers(fleet).at(rows)
        noise = np.random.default_rng(0).normal(size=len(rows))
        raw = np.column_stack([np.zeros(len(rows)), answer + noise]).astype(np.float32)
        output = task.output(raw, fleet, rows)
        assert isinstance(output, ProbabilityOutput)
        assert output.threshold is not None
        alarm = output.probability(raw)[:, 1] >= output.threshold
        assert 0.08 < alarm[answer == 0].mean() <= 0.1

    def test_a_fleet_without_an_answer_is_refused(self) -> None:
        fleet = make_answered_fleet()
        running = replace(fleet, events=fleet.events.clear())
        task = replace(self.make(), target=FailureTarget(horizon=1e3))
        with pytest.raises(FleetError, match="no reading has a known class"):
            task.answers(running)


class TestSensors:
    @pytest.mark.parametrize("relative", [True, False])
    def test_what_is_learnt_has_unit_scale_and_comes_back_as_it_was(self, relative: bool) -> None:
        fleet = make_answered_fleet()
        task = make_sensor_task(fleet, relative=relative)
        labels = task.answers(fleet)
        scaled, known = labels.at(labels.rows)
        assert known.all()
        root = np.sqrt((scaled.astype(np.float64) ** 2).mean(axis=(0, 1)))
        np.testing.assert_allclose(root, 1.0, atol=0.1)
        value, _ = task.target.labels(fleet, STEPS).at(labels.rows)
        last = fleet.values(task.target.columns)[labels.rows]
        output = task.plain
        assert isinstance(output, QuantileOutput)
        raw = np.repeat(scaled[..., None], 5, axis=3)
        np.testing.assert_allclose(output.quantiles(raw, last)[..., 2], value, atol=1e-5)

    def test_a_constant_column_has_a_scale(self) -> None:
        fleet = make_answered_fleet()
        constant = replace(fleet, frame=fleet.frame.with_columns(s0=pl.lit(3.0, dtype=pl.Float32)))
        task = make_sensor_task(constant, relative=True)
        scaled, _ = task.answers(constant).at(np.arange(20))
        assert (scaled[..., 0] == 0).all()
        assert (task.sd > 0).all()

    def test_histories_shorter_than_the_horizon_are_refused(self) -> None:
        fleet = make_answered_fleet(units=3)
        short = replace(fleet, frame=fleet.frame.group_by("unit", maintain_order=True).head(STEPS))
        with pytest.raises(FleetError, match="no reading has 4 readings after it"):
            make_sensor_task(short, relative=False).answers(short)

    def test_what_comes_after_an_unknown_base_is_not_known(self) -> None:
        values = np.arange(6, dtype=np.float32)[:, None]
        labels = FutureLabels.of(values, np.array([0, 6]), 2)
        base = np.array([[np.nan], [1.0], [2.0], [3.0], [4.0], [5.0]], dtype=np.float32)
        scaled, known = ScaledFuture(labels, base, np.array([2.0], dtype=np.float32)).at(np.arange(6))
        assert known[..., 0].tolist() == [[False, False]] + [[True, True]] * 3 + [[True, False], [False, False]]
        assert scaled[1, :, 0].tolist() == [0.5, 1.0]
        assert np.isfinite(scaled).all()
