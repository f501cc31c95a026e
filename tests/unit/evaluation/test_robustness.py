"""Spoilt data: each disturbance does what it says, and the figures are those of the spoilt forecasts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.fixtures.bundles import Trained, TrainedByKind
from tests.fixtures.fleets import make_fleet
from tests.fixtures.forecasters import Oracle, make_judged_fleet

from wearcast import Fleet
from wearcast.errors import FleetError, UsageError
from wearcast.evaluation import evaluate
from wearcast.evaluation.robustness import DISTURBANCES, Robustness, _Scene, _Seen, measure_robustness
from wearcast.windows import OperatingConditions

SENSORS = [f"s{i}" for i in range(10)]


def make_wide_fleet(*, conditions: int = 1) -> Fleet:
    """Four units with ten sensors that vary and one that does not."""
    fleet = make_fleet(units=4, cycles=60, sensors=10, conditions=conditions)
    frame = fleet.frame.with_columns(flat=pl.lit(7.0, dtype=pl.Float32))
    schema = fleet.schema.model_copy(update={"sensors": (*fleet.schema.sensors, "flat")})
    return replace(fleet, frame=frame, schema=schema)


def spoilt(name: str, fleet: Fleet, level: float, *, draws: int = 1) -> list[Fleet]:
    """The fleets of a disturbance."""
    (one,) = (one for one in DISTURBANCES if one.name == name)
    rngs: Iterator[np.random.Generator] = (np.random.default_rng([0, draw]) for draw in range(draws))
    return list(one.spoil(_Scene.of(fleet), level, rngs))


def error_on(source: Trained, fleet: Fleet) -> float:
    """RMSE against capped labels, by `evaluate`."""
    error = evaluate(source.bundle, fleet).metrics["rmse_capped"]
    assert isinstance(error, float)
    return error


def changed(before: Fleet, after: Fleet) -> dict[str, np.ndarray]:
    """Rows that differ, of each sensor that does."""
    found = {name: ~before.frame[name].eq_missing(after.frame[name]).to_numpy() for name in before.schema.numeric}
    return {name: rows for name, rows in found.items() if rows.any()}


class TestDisturbances:
    def test_missing_sensors_are_missing_all_along_and_more_of_them_include_fewer(self) -> None:
        fleet = make_wide_fleet()
        sets = []
        for share, count in ((0.1, 1), (0.3, 3), (0.5, 5)):
            (bad,) = spoilt("missing", fleet, share)
            gone = {name for name in SENSORS if bad.frame[name].is_nan().all()}
            assert set(changed(fleet, bad)) == gone
            assert len(gone) == count
            sets.append(gone)
        assert sets[0] < sets[1] < sets[2]

    def test_lost_and_stuck_strike_the_same_sensors_at_the_same_moments(self) -> None:
        fleet = make_wide_fleet()
        (lost,), (stuck,) = spoilt("lost", fleet, 0.3), spoilt("stuck", fleet, 0.3)
        silent, same = changed(fleet, lost), changed(fleet, stuck)
        assert set(silent) == set(same)
        assert len(silent) == 3
        for name, rows in silent.items():
            assert lost.frame[name].is_nan().to_numpy()[rows].all()
            for first, stop in zip(fleet.offsets[:-1], fleet.offsets[1:], strict=True):
                moment = first + int((~rows[first:stop]).sum()) - 1
                assert not rows[first : moment + 1].any()  # up to it nothing is touched
                assert rows[moment + 1 : stop].all()
                held = stuck.frame[name].to_numpy()
                assert (held[moment + 1 : stop] == fleet.frame[name].to_numpy()[moment]).all()

    def test_noise_is_in_deviations_within_an_operating_condition(self) -> None:
        fleet = make_wide_fleet(conditions=3)
        (bad,) = spoilt("noise", fleet, 0.5)
        condition, _ = OperatingConditions.fit(fleet).assign(fleet)
        for name in SENSORS:
            column = fleet.frame[name].to_numpy()
            groups = [column[condition == i] - column[condition == i].mean() for i in range(3)]
            added = bad.frame[name].to_numpy() - column
            assert added.std() == pytest.approx(0.5 * np.concatenate(groups).std(), rel=0.2)
        assert bad.frame["flat"].equals(fleet.frame["flat"])

    @pytest.mark.parametrize("share", [0.25, 0.999])
    def test_a_lost_history_leaves_the_end_of_each_unit(self, share: float) -> None:
        fleet = make_wide_fleet()
        (bad,) = spoilt("history", fleet, share)
        for unit in fleet.units:
            whole, rest = fleet.unit_frame(unit), bad.unit_frame(unit)
            assert rest.height == max(whole.height - int(share * whole.height), 1)
            assert rest.equals(whole.tail(rest.height))

    def test_each_condition_becomes_unknown_in_turn(self) -> None:
        fleet = make_wide_fleet(conditions=3)
        known = OperatingConditions.fit(fleet)
        condition, _ = known.assign(fleet)
        struck = []
        for bad in spoilt("condition", fleet, 1.0):
            unseen = ~known.assign(bad)[1]
            (gone,) = set(condition[unseen].tolist())
            assert (unseen == (condition == gone)).all()
            assert set(changed(fleet, bad)) == {"load"}
            struck.append(gone)
        assert sorted(struck) == [0, 1, 2]

    def test_a_draw_is_the_same_every_time_and_unlike_another(self) -> None:
        fleet = make_wide_fleet()
        for name in ("missing", "lost", "stuck", "noise"):
            first, second = spoilt(name, fleet, 0.3, draws=2)
            assert first.fingerprint == spoilt(name, fleet, 0.3)[0].fingerprint
            assert first.fingerprint != second.fingerprint


class TestMeasuring:
    def test_a_model_that_reads_nothing_bears_everything(self) -> None:
        """An oracle's forecasts do not depend on readings: each figure is that of the good data."""
        fleet, lives = make_judged_fleet(units=6, life=80)
        oracle = Oracle(lives, sd=0.001, claimed=3.0)
        found = measure_robustness(oracle, fleet, draws=2)
        assert found.sensors == ("s0", "s2")
        assert found.n_forecasts == 6  # histories are cut: judged at the last readings
        for case in found.cases:
            if case.disturbance != "history":  # ages begin anew there, and the oracle goes by them
                assert case.mean == pytest.approx(found.undisturbed, abs=1e-6)
            assert case.worst >= case.mean
        assert found.not_measured == {"condition": "the fleet has one operating condition"}

    def test_figures_are_of_the_spoilt_readings_and_the_true_end(self, trained: TrainedByKind) -> None:
        """The case of the missing sensors, made by hand: blanked readings through `evaluate`."""
        source = trained("cnn_bilstm")
        found = measure_robustness(source.bundle, source.fleet, draws=2, most_windows=10**6)
        plain = error_on(source, source.fleet)
        assert found.undisturbed == pytest.approx(plain)
        cases = {(case.disturbance, case.level): case for case in found.cases}
        assert {case.disturbance for case in found.cases} == {one.name for one in DISTURBANCES}
        bad = [error_on(source, one) for one in spoilt("missing", source.fleet, 0.5, draws=2)]
        assert cases["missing", 0.5].mean == pytest.approx(np.mean(bad))
        assert cases["missing", 0.5].worst == pytest.approx(max(bad))
        assert (cases["condition", 1.0].draws, cases["missing", 0.5].draws) == (2, 2)
        assert cases["noise", 1.0].mean > cases["noise", 0.1].mean

    def test_a_lost_history_is_judged_beside_the_same_forecasts_on_the_whole(self, trained: TrainedByKind) -> None:
        source = trained("cnn_bilstm")
        found = measure_robustness(source.bundle, source.fleet, draws=1, most_windows=10**6)
        (cut,) = spoilt("history", source.fleet, 0.75)
        (case,) = (case for case in found.cases if (case.disturbance, case.level) == ("history", 0.75))
        assert case.mean == pytest.approx(error_on(source, cut))
        whole = evaluate(source.bundle, source.fleet)
        late = source.fleet.frame.with_row_index().join(cut.frame.select("unit", "time"), on=["unit", "time"])["index"]
        rows = np.intersect1d(late.to_numpy(), np.flatnonzero(whole.known))
        error = whole.forecast.rul[rows] - np.minimum(whole.true_rul[rows], 30.0)
        assert case.undisturbed == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)

    def test_fewer_windows_are_every_so_many_from_the_last(self, trained: TrainedByKind) -> None:
        source = trained("cnn_bilstm")
        seen = _Seen(source.bundle, source.fleet, 7)
        rows = seen.rows(source.fleet)
        expected = [row for stop, size in zip(source.fleet.offsets[1:], np.diff(source.fleet.offsets), strict=True)
                    for row in range(int(stop) - 1, int(stop) - 1 - int(size), -7)]  # fmt: skip
        assert rows.tolist() == sorted(expected)
        assert seen.predict(source.fleet).time.to_list() == source.fleet.frame["time"].gather(rows).to_list()

    def test_it_is_written_as_json_and_as_a_table(self) -> None:
        found = small_result()
        record = json.loads(json.dumps(found.to_dict()))
        assert record["metric"] == "rmse_capped"
        assert [case["level"] for case in record["cases"][:4]] == [0.1, 0.2, 0.3, 0.5]
        assert set(record["cases"][0]) == {"disturbance", "level", "mean", "worst", "undisturbed", "draws"}
        assert found.table().row_count == len(found.cases) + 1

    def test_what_cannot_be_measured_is_refused(self) -> None:
        fleet, lives = make_judged_fleet(units=3)
        oracle = Oracle(lives)
        with pytest.raises(UsageError, match="at least 1"):
            measure_robustness(oracle, fleet, draws=0)
        with pytest.raises(FleetError, match="truth is not known"):
            measure_robustness(oracle, replace(fleet, events=fleet.events.clear()), draws=1)
        still = fleet.frame.with_columns(s0=pl.lit(1.0, dtype=pl.Float32), s2=pl.lit(1.0, dtype=pl.Float32))
        with pytest.raises(FleetError, match="nothing to spoil"):
            measure_robustness(oracle, replace(fleet, frame=still), draws=1)


def small_result() -> Robustness:
    """Of an oracle."""
    fleet, lives = make_judged_fleet(units=3, life=60)
    return measure_robustness(Oracle(lives, sd=0.1), fleet, draws=1)
