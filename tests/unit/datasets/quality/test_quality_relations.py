"""Between columns, units and answers: repeats, correlation, drift, class balance, leaks."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from wearcast import Fleet
from wearcast.datasets.quality import Finding, check
from wearcast.datasets.quality import relations as relations_module
from wearcast.datasets.quality.histories import ks_distance, ranks
from wearcast.schema import Outcome

UNITS, ROWS = 30, 60


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _lives(
    events: Outcome = "last_row", *, settings: tuple[str, ...] = (), labels: tuple[str, ...] = (),
    statics: tuple[str, ...] = (), **columns: np.ndarray,
) -> Fleet:  # fmt: skip
    """Thirty units of 60 to 89 readings."""
    sizes = ROWS + np.arange(UNITS)
    table = {
        "u": np.repeat(np.arange(UNITS), sizes),
        "c": np.concatenate([np.arange(n) for n in sizes]),
        "s": _rng().normal(size=sizes.sum()),
        **columns,
    }
    sensors = ["s", *(name for name in columns if name not in (*settings, *labels, *statics))]
    return Fleet.from_frame(
        pl.DataFrame(table), unit="u", cycle="c", sensors=sensors, settings=settings, labels=labels, statics=statics,
        events=events,
    )  # fmt: skip


SIZES = ROWS + np.arange(UNITS)
N = int(SIZES.sum())
UNIT = np.repeat(np.arange(UNITS), SIZES)
AGE = np.concatenate([np.arange(n) for n in SIZES]).astype(float)
LEFT = np.concatenate([np.arange(n)[::-1] for n in SIZES]).astype(float)


def _found(fleet: Fleet, kind: str) -> list[Finding]:
    return [finding for finding in check(fleet).findings if finding.kind == kind]


# ------------------------------------------------------------------ oracles


def test_the_distance_is_that_of_the_distribution_functions():
    one, other = _rng(1).integers(0, 5, 40).astype(float), _rng(2).integers(1, 6, 30).astype(float)
    slow = max(abs((one <= x).mean() - (other <= x).mean()) for x in range(-1, 7))
    assert ks_distance(one, np.append(other, np.nan)) == pytest.approx(slow)
    assert ks_distance(one, np.array([np.nan])) is None


def test_equal_values_share_their_rank():
    assert ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


# ------------------------------------------------------------------ repeats


def test_units_with_one_history_are_found(monkeypatch):
    values = _rng().normal(size=12 * 40)
    values[7 * 40 : 8 * 40] = values[2 * 40 : 3 * 40]
    values[8 * 40 : 9 * 40] = values[3 * 40 : 4 * 40][::-1]  # the same readings in another order are another history
    table = pl.DataFrame({"u": np.repeat(np.arange(12), 40), "c": np.tile(np.arange(40), 12), "s": values})
    fleet = Fleet.from_frame(table, unit="u", cycle="c", sensors=["s"], events="last_row")
    for block in (1 << 20, 7, 64):
        monkeypatch.setattr(relations_module, "BLOCK", block)
        found = _found(fleet, "repeated_units")
        assert [(f.where, f.count) for f in found] == [("units 7 as 2", 1)]


def test_rows_that_repeat_the_row_before_are_counted():
    twice = np.concatenate([np.repeat(_rng(u).normal(size=(n + 1) // 2), 2)[:n] for u, n in enumerate(SIZES)])
    fleet = _lives(a=twice).frame.with_columns(s=pl.col("a") * 3)
    again = Fleet.from_frame(fleet, unit="unit", cycle="time", sensors=["s", "a"], events="last_row")
    assert check(again).repeated_rows == sum(n // 2 for n in SIZES)
    assert _found(again, "repeated_rows")[0].severity == "warning"
    assert not _found(_lives(a=twice), "repeated_rows")


def test_sensors_that_say_the_same_are_one_group():
    base = _rng(3).normal(size=N)
    found = _found(_lives(a=base, b=-2 * base + 1e-3 * _rng(4).normal(size=N), psi=base * 14.5), "correlated")
    assert [finding.columns for finding in found] == [("a", "b", "psi")]


def test_what_the_settings_explain_is_no_correlation():
    load = _rng(5).normal(size=N)
    a, b = (load**2 + 0.01 * _rng(seed).normal(size=N) for seed in (6, 7))
    assert _found(_lives(a=a, b=b), "correlated")
    assert not _found(_lives(a=a, b=b, load=load, settings=("load",)), "correlated")


def test_cases_with_the_same_readings_are_counted():
    cases = pl.DataFrame({"u": range(40), "c": [1] * 40, "s": np.arange(40) % 39})
    fleet = Fleet.from_frame(cases, unit="u", cycle="c", sensors=["s"])
    assert [(f.severity, f.count) for f in _found(fleet, "repeated_units")] == [("info", 1)]


def test_what_many_columns_share_is_one_finding():
    fleet = _lives(**{f"dead{i}": np.full(N, float(i)) for i in range(5)})  # type: ignore[arg-type]
    found = _found(fleet, "constant")
    assert [(f.what, f.count) for f in found] == [("5 columns never change", 5)]
    assert found[0].columns == ("dead0", "dead1", "dead2", "dead3", "dead4")


# ------------------------------------------------------------------ drift


def test_wear_is_no_drift():
    report = check(_lives(wear=AGE**2))
    assert report.columns[1].drift == pytest.approx(1.0, abs=0.1)
    assert not [f for f in report.findings if f.kind == "drift"]


def test_drift_of_units_that_do_not_fail_is_a_warning():
    found = _found(_lives("censored", ageing=AGE / 10 + _rng(8).normal(size=N)), "drift")
    assert [(f.columns, f.severity) for f in found] == [(("ageing",), "warning")]
    assert "in 30 of 30 units" in found[0].what


def test_drift_of_each_unit_its_own_way_is_told():
    sign = np.where(UNIT % 2, 1.0, -1.0)
    found = _found(_lives("censored", own=sign * (AGE - 30) / 10 + _rng(8).normal(size=N)), "drift")
    assert [(f.columns, f.severity) for f in found] == [(("own",), "info")]


def test_new_units_of_late_that_start_differently_are_found():
    shifted = _rng(9).normal(size=N) + 3 * (UNIT >= 20)
    found = _found(_lives(shifted=shifted), "drift")
    assert [f.columns for f in found] == [("shifted",)]
    assert "healthy starts differ" in found[0].what


def test_what_is_not_looked_at_is_said():
    few = check(_lives().select([0, 1, 2]))
    assert {item.what for item in few.unassessed} == {"drift between early and late units", "leakage of the answer"}
    cases = pl.DataFrame({"u": range(40), "c": [1] * 40, "s": _rng().normal(size=40)})
    report = check(Fleet.from_frame(cases, unit="u", cycle="c", sensors=["s"]), target="sensor")
    assert "drift along time" in {item.what for item in report.unassessed}


# ------------------------------------------------------------------ labels


def test_classes_are_counted_and_rare_ones_named():
    label = np.where(UNIT == 3, "bent", np.where(AGE < 2, "new", "fine"))
    label[:5] = "odd"
    report = check(_lives("censored", kind=label, labels=("kind",)))
    assert report.target == "fault"
    assert {name: units for name, _, units in report.labels[0].classes}["bent"] == 1
    rare = [f for f in report.findings if f.kind == "rare_class"]
    assert [f.severity for f in rare] == ["warning"]
    assert "'odd' (5)" in rare[0].what


def test_a_label_that_never_varies_or_is_missing():
    half = np.where(AGE % 2, 1.0, np.nan)
    kinds = {f.kind for f in check(_lives("censored", y=half, labels=("y",))).findings}
    assert kinds >= {"one_class", "label_missing"}
    few = check(_lives("censored", y=(UNIT == 3).astype(float), labels=("y",)))
    assert "leakage of the answer" in {item.what for item in few.unassessed}
    rest = check(_lives("censored", y=(UNIT > 1).astype(float), labels=("y",)))
    assert "leakage of the answer" in {item.what for item in rest.unassessed}
    many = check(_lives("censored", y=AGE, labels=("y",)))
    assert (many.labels[0].distinct, len(many.labels[0].classes)) == (89, 20)
    assert "many_classes" in {f.kind for f in many.findings}


# ------------------------------------------------------------------ leaks


def test_a_sensor_that_tells_the_class_is_a_suspect():
    y = (_rng(10).random(N) < 0.1).astype(float)
    fleet = _lives("censored", leak=-y + 0.1 * _rng(11).normal(size=N), good=y + _rng(12).normal(size=N), y=y,
                   labels=("y",))  # fmt: skip
    found = _found(fleet, "leak")
    assert [(f.columns, f.severity) for f in found] == [(("leak",), "warning")]
    assert "y = 1" in found[0].what


def test_a_code_that_only_failures_have_is_a_suspect():
    """It misses most failures, so the area under the ROC curve stays low, as with the modes of AI4I."""
    y = (_rng(10).random(N) < 0.1).astype(float)
    code = y * (_rng(14).random(N) < 0.3)
    found = _found(_lives("censored", code=code, mixed=code + (_rng(15).random(N) < 0.1), y=y, labels=("y",)), "leak")
    assert [f.columns for f in found] == [("code",)]
    assert "1 means y = 1" in found[0].what


def test_a_static_that_tells_the_class_is_a_suspect_too():
    fleet = _lives("censored", site=(UNIT % 3).astype(float), y=np.where(UNIT % 3, "good", "bad"), statics=("site",),
                   labels=("y",))  # fmt: skip
    assert [f.columns for f in _found(fleet, "leak")] == [("site",)]


@pytest.mark.parametrize(
    ("values", "say"),
    [
        (LEFT, "tells the remaining life"),
        (np.sqrt(LEFT) * -3, "tells the remaining life"),
        (np.repeat(SIZES, SIZES).astype(float) * 2, "how long a unit will live"),
        (np.where(UNIT % 2, LEFT * 60, LEFT), "counts down"),
    ],
    ids=["left", "bent", "life", "counter"],
)
def test_a_column_that_knows_the_life_is_an_error(values, say):
    found = _found(_lives(x=values), "leak")
    assert [(f.columns, f.severity) for f in found] == [(("x",), "error")]
    assert say in found[0].what


def test_a_counter_of_the_age_is_no_leak():
    fleet = _lives(hours=AGE * 3 + 1)
    assert not _found(fleet, "leak")
    assert [f.columns for f in _found(fleet, "counter")] == [("hours",)]


@pytest.mark.parametrize(
    ("name", "suspect"),
    [("RUL", True), ("time_to_failure", True), ("fault_code", True), ("label", True), ("default_speed", False),
     ("target_speed", False), ("flow", False)],
)  # fmt: skip
def test_names_of_answers(name, suspect):
    fleet = _lives(x=_rng(13).normal(size=N))
    schema = fleet.schema.model_copy(update={"sensors": ("s", name)})
    renamed = Fleet(fleet.frame.rename({"x": name}), schema, fleet.events)
    assert bool(_found(renamed, "leak_by_name")) == suspect
