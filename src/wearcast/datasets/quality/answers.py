"""Label columns and ends of life: how often each class comes, and sensors that know the answer too well."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast.datasets.quality.findings import Finding, LabelQuality, Unassessed, some
from wearcast.datasets.quality.histories import Histories, evenly, ranks

__all__ = ["AnswerKey", "label_findings", "label_quality"]

Values = NDArray[np.float32]

MOST_CLASSES = 20
RARE_SHARE = 0.01
RARE_ROWS = 20
TELLS = 0.99  # area under the ROC curve, rank correlation
LEAST_CASES = 20  # readings of a class
LEAST_UNITS = 3  # units of a class, and of the rest
LEAST_LIVES = 10
SAME_END = 0.01  # of how differently units start
CASES = 50_000
_ANSWER = re.compile(
    r"target|label|(.*_)?(rul|ttf|failure|failed|fault|remaining_(useful_)?life|time_to_failure)(_.*)?"
)


def label_quality(histories: Histories, name: str) -> LabelQuality:
    """How many readings and units each class of a label column has."""
    fleet = histories.fleet
    column = _text(fleet.frame[name]).alias("class")
    counted = (
        fleet.frame.select(pl.col("unit"), column)
        .group_by("class")
        .agg(pl.len().alias("rows"), pl.col("unit").n_unique().alias("units"))
        .sort("rows", "class", descending=[True, False])
    )
    missing = int(counted.filter(pl.col("class").is_null())["rows"].sum())
    there = counted.filter(pl.col("class").is_not_null())
    values = fleet.frame[name]
    values = values.fill_nan(None) if values.dtype.is_float() else values
    return LabelQuality(name, tuple(there.head(MOST_CLASSES).rows()), missing, values.drop_nulls().n_unique())


def _text(column: pl.Series) -> pl.Series:
    """Classes as text: whole numbers without their point."""
    if not column.dtype.is_numeric():
        return column.cast(pl.String)
    column = column.fill_nan(None) if column.dtype.is_float() else column
    different = column.drop_nulls().unique()
    names = {None: None, **{value: f"{value:.6g}" for value in different.head(10_000).to_list()}}
    return column.replace_strict(names, default="other", return_dtype=pl.String)


def label_findings(label: LabelQuality) -> Iterator[Finding]:
    """What a person should know about the classes of a label."""
    where, names = f"label {label.name!r}", (label.name,)
    rows = sum(n for _, n, _ in label.classes) + label.missing
    if label.missing:
        what = f"{label.missing:,} readings have no {label.name}"
        yield Finding("info", what, where, "nothing is learnt from them", "label_missing", names, label.missing)
    if label.distinct < 2:
        what = "the label is always the same" if label.distinct else "the label is empty"
        yield Finding("warning", what, where, "it cannot be learnt: choose another", "one_class", names)
        return
    if label.distinct > MOST_CLASSES:
        what = f"the label has {label.distinct:,} different values"
        yield Finding("info", what, where, "is it a measurement? then it is a sensor target", "many_classes", names)
        return
    for severity, least, most, hint in (
        ("warning", 0, RARE_ROWS, "too few to learn and to judge by: join classes"),
        ("info", RARE_ROWS, RARE_SHARE * rows, "weigh the classes; judge by PR-AUC"),
    ):
        rare = [f"{name!r} ({n:,})" for name, n, _ in label.classes if least <= n < most]
        if rare:
            what = f"rare among {rows:,} readings: {'class' if len(rare) == 1 else 'classes'} {some(rare, 8)}"
            yield Finding(severity, what, where, hint, "rare_class", names, len(rare))  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Case:
    """A class against the rest: rows of both, which are of the class, and its share of all rows."""

    name: str
    rows: NDArray[np.int64]
    truth: NDArray[np.bool_]
    share: float


class AnswerKey:
    """The answers of a fleet, against which each column is held."""

    def __init__(self, histories: Histories, labels: tuple[LabelQuality, ...]) -> None:
        self._histories = histories
        self._classes = [case for label in labels for case in self._cases(label)]
        self._lives = self._known_lives()

    def _cases(self, label: LabelQuality) -> Iterator[_Case]:
        """For each class, rows evenly chosen of it and of the rest."""
        if not 2 <= label.distinct <= MOST_CLASSES:
            return
        column = _text(self._histories.fleet.frame[label.name])
        sides = label.classes[1:] if label.distinct == 2 else label.classes
        for name, rows, units in sides:
            others = self._histories.fleet.n_rows - label.missing - rows
            if min(rows, others) < LEAST_CASES or units < LEAST_UNITS:
                continue
            mine = (column == name).fill_null(False)
            inside = mine.arg_true().to_numpy().astype(np.int64)
            outside = (~mine & column.is_not_null()).arg_true().to_numpy().astype(np.int64)
            if len(np.unique(self._histories.fleet.row_unit[outside])) < LEAST_UNITS:
                continue
            chosen = [side[evenly(0, len(side), CASES)] for side in (inside, outside)]
            truth = np.repeat(np.array([True, False]), [len(side) for side in chosen])
            yield _Case(f"{label.name} = {name}", np.concatenate(chosen), truth, rows / (rows + others))

    def _known_lives(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]] | None:
        """Sampled rows of failed units with their remaining life and their age; None with too few lives."""
        fleet = self._histories.fleet
        end = fleet.end_of_life_age
        failed = np.isfinite(end)
        if int(failed.sum()) < LEAST_LIVES:
            return None
        rows = self._histories.sample[:: max(1, len(self._histories.sample) // CASES)]
        unit = np.searchsorted(fleet.offsets, rows, side="right") - 1
        rows, unit = rows[failed[unit]], unit[failed[unit]]
        age = fleet.age_at(rows)
        return rows, end[unit] - age, age

    def unassessed(self) -> Iterator[Unassessed]:
        """Why leakage was not looked at, if it was not."""
        if not self._classes and self._lives is None:
            why = f"it needs {LEAST_LIVES} units that failed, or a label with {LEAST_UNITS} units in a class"
            yield Unassessed("leakage of the answer", why)

    def findings(self, name: str, values: Values, *, named: bool = True) -> Iterator[Finding]:
        """Whether a column knows the answer too well, or is called like one."""
        where, names = f"column {name!r}", (name,)
        hint = "is it known before the answer is? if not, leave it out or make it a label"
        told = [(area, case) for area, case in self._told(values) if area > TELLS]
        if told:
            best = max(area for area, _ in told)
            cases = some([case for _, case in told])
            what = f"the column alone tells {cases} (area under the ROC curve {best:.4f}): a leak?"
            yield Finding("warning", what, where, hint, "leak", names, len(told))
        elif certain := list(self._certain(values)):
            what = f"one value of the column is enough: {some(certain, 3)}: a leak?"
            yield Finding("warning", what, where, hint, "leak", names, len(certain))
        elif named and _ANSWER.fullmatch(name.lower()):
            what = "by its name the column is an answer, not a measurement"
            yield Finding("warning", what, where, hint, "leak_by_name", names)
        yield from self._tells_life(name, values)

    def _told(self, values: Values) -> Iterator[tuple[float, str]]:
        for case in self._classes:
            sampled = values[case.rows]
            there = ~np.isnan(sampled)
            truth = case.truth[there]
            inside, outside = int(truth.sum()), int((~truth).sum())
            if min(inside, outside) >= LEAST_CASES:
                rank = ranks(sampled[there])[truth].sum()
                area = (rank - inside * (inside + 1) / 2) / (inside * outside)
                yield max(area, 1 - area), case.name

    def _certain(self, values: Values) -> Iterator[str]:
        """Values of a column with few of them after which a rarer class is all but certain, such as a failure code."""
        for case in self._classes:
            sampled = values[case.rows]
            levels = np.unique(sampled[~np.isnan(sampled)])
            if case.share >= 0.5 or not 2 <= len(levels) <= MOST_CLASSES:
                continue
            for level in levels:
                at = sampled == level
                inside, outside = int(at[case.truth].sum()), int(at[~case.truth].sum())
                mine = case.share * inside / int(case.truth.sum())
                rest = (1 - case.share) * outside / int((~case.truth).sum())
                enough = inside >= LEAST_CASES and mine > TELLS * (mine + rest)
                if enough and len(np.unique(self._histories.fleet.row_unit[case.rows[at]])) >= LEAST_UNITS:
                    yield f"{level:g} means {case.name}"

    def _tells_life(self, name: str, values: Values) -> Iterator[Finding]:
        if self._lives is None:
            return
        where, names = f"column {name!r}", (name,)
        rows, left, age = self._lives
        hint = "a column that is known only afterwards: leave it out"
        by_left, by_age = _spearman(values[rows], left), _spearman(values[rows], age)
        if by_left > TELLS and by_age <= TELLS:
            what = f"the column alone tells the remaining life (rank correlation {by_left:.4f}): a leak"
            yield Finding("error", what, where, hint, "leak", names)
            return
        if by_age > TELLS:
            what = f"the column counts the age (rank correlation {by_age:.4f})"
            yield Finding("info", what, where, "fine if it is known in service", "counter", names)
        fleet = self._histories.fleet
        failed = np.flatnonzero(np.isfinite(fleet.end_of_life_age))
        first, last = values[fleet.offsets[failed]], values[fleet.offsets[failed + 1] - 1]
        by_first = _spearman(first, fleet.end_of_life_age[failed])
        if by_first > TELLS:
            what = (
                f"the first reading already tells how long a unit will live (rank correlation {by_first:.4f}): a leak"
            )
            yield Finding("error", what, where, hint, "leak", names)
        elif _spread(last) < SAME_END * _spread(first) and len(np.unique(first)) >= LEAST_LIVES // 2:
            what = (
                "the column counts down: it starts differently in each unit and ends the same at every failure: a leak"
            )
            yield Finding("error", what, where, hint, "leak", names)


def _spread(values: Values) -> float:
    """Between the least and the greatest value; infinite where any is missing."""
    return float("inf") if np.isnan(values).any() else float(values.max() - values.min())


def _spearman(values: NDArray[np.floating], truth: NDArray[np.float64]) -> float:
    """Absolute rank correlation (Spearman 1904) over what is there; 0 with too few or constant values."""
    there = ~np.isnan(values)
    if int(there.sum()) < LEAST_LIVES:
        return 0.0
    one, other = ranks(values[there]), ranks(truth[there])
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return abs(float((one * other).sum())) / norm if norm > 0 else 0.0
