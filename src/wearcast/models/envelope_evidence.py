"""Faults of a rolling-element bearing in two stages: the line in the envelope spectrum, and without one by colour.

1. Evidence. Of each race the mean logarithm of how far its fault frequency and the harmonics stand out of the envelope
   spectrum, over the channels. The threshold is that which a share `false_lines` of segments of other faults would
   pass if their evidence is normal, as a mean of logarithms nearly is; above it the larger of the two decides. This is
   envelope analysis as of R. B. Randall, J. Antoni, "Rolling element bearing diagnostics – a tutorial", MSSP 25 (2011),
   with a threshold instead of an eye.
2. Without a line: the remaining classes are told apart by the shares of energy in wavelet-packet nodes, one regularised
   softmax regression for each tree (wavelet and level), their probabilities averaged.

Limits. Some faults do not show their line: W. A. Smith, R. B. Randall, MSSP 64–65 (2015), list the records of the Case
Western rig that resist (most of its balls, and outer races of 0.014 in). What then decides is the colour of the
spectrum, that is the transfer path of the machine as much as the fault: it holds for the machine that it was learnt on
at most, and a class of which training has seen few bearings is a guess. Inner races are taken to show their line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import FleetError, require
from wearcast.features.envelope import line_names
from wearcast.features.spec import SignalFeatures
from wearcast.features.wavelet import wavelet_packet_names
from wearcast.models.folds import unit_folds
from wearcast.models.spec import EnvelopeEvidence
from wearcast.models.tree_graph import table_model

if TYPE_CHECKING:
    import onnx

__all__ = ["EvidenceFit", "EvidenceLayout", "cross_fit_evidence", "evidence_graph"]

Floats = NDArray[np.float64]
Table = NDArray[np.float32]

LINES = ("bpfi", "bpfo")
MOST_MARGIN = 5.0  # standard deviations above the threshold: more makes no answer surer


@dataclass(frozen=True)
class EvidenceLayout:
    """Where a table of signal features holds what the two stages read.

    Attributes:
        lines: columns of each race's line and harmonics, of all channels: two rows.
        trees: columns of each wavelet-packet tree, of all channels.
        classes: names of the classes.
        inner, outer: positions of the races' classes.
    """

    lines: NDArray[np.intp]
    trees: tuple[NDArray[np.intp], ...]
    classes: tuple[str, ...]
    inner: int
    outer: int

    @classmethod
    def of(
        cls, spec: EnvelopeEvidence, features: SignalFeatures, channels: Sequence[str], columns: Sequence[str],
        classes: Sequence[str],
    ) -> EvidenceLayout:  # fmt: skip
        """Of a table with these columns.

        Raises:
            FleetError: a race's class is not among the classes, or there is no other one.
        """
        missing = [name for name in (spec.inner, spec.outer) if name not in classes]
        if missing or len(classes) < 3:
            raise FleetError(
                f"envelope evidence tells {spec.inner!r} and {spec.outer!r} from others, not {', '.join(classes)}",
                hint="name the classes of the races as backbone.inner and backbone.outer",
            )
        assert features.envelope is not None  # noqa: S101 — the experiment's own validator
        assert features.wavelets is not None  # noqa: S101 — the experiment's own validator
        place = {name: i for i, name in enumerate(columns)}

        def found(names: Sequence[str]) -> NDArray[np.intp]:
            return np.array([place[f"{channel}_{name}"] for channel in channels for name in names], dtype=np.intp)

        return cls(
            lines=np.stack([found(line_names((line,), features.envelope.harmonics)) for line in LINES]),
            trees=tuple(
                found(wavelet_packet_names(family, level))
                for family in features.wavelets.families
                for level in features.wavelets.levels
            ),
            classes=tuple(classes),
            inner=list(classes).index(spec.inner),
            outer=list(classes).index(spec.outer),
        )

    @property
    def hidden(self) -> NDArray[np.intp]:
        """Classes that may be without a line: all but the inner race."""
        return np.array([i for i in range(len(self.classes)) if i != self.inner], dtype=np.intp)

    def evidence(self, table: Table) -> Floats:
        """Mean logarithm of how far each race's line stands out, `(n, 2)`; nothing known is no evidence."""
        known = np.nan_to_num(table, nan=0.0).astype(np.float64)
        return np.stack([known[:, columns].mean(axis=1) for columns in self.lines], axis=1)


@dataclass(frozen=True)
class EvidenceFit:
    """The fitted detector.

    Attributes:
        layout: of the table that it reads.
        threshold: evidence above which a line decides.
        spread: standard deviation of the evidence without a line: the unit of a margin.
        doubt: how likely the first stage errs with a line, and an inner race hides without one.
        weights: of each tree, `(n_columns of the tree + 1, n_hidden)`, for columns as they are; the last is a constant.
        out_of_fold: scores of each row by the model that had not seen its unit, `(n, n_classes)`.
    """

    layout: EvidenceLayout
    threshold: float
    spread: float
    doubt: tuple[float, float]
    weights: tuple[Floats, ...]
    out_of_fold: Floats

    def scores(self, table: Table) -> Floats:
        """Logarithm of each class's probability, up to a constant: `(n, n_classes)`."""
        layout = self.layout
        margin = (layout.evidence(table) - self.threshold) / self.spread
        known = np.nan_to_num(table, nan=0.0).astype(np.float64)
        each = [known[:, tree] @ w[:-1] + w[-1] for tree, w in zip(layout.trees, self.weights, strict=True)]
        colour = np.mean([_softmax(score) for score in each], axis=0)
        decided, hidden = self._decided, self._undecided
        score = np.full((len(table), len(layout.classes)), hidden[0])
        score[:, layout.hidden] = np.log(np.maximum(colour, 1e-9)) + hidden[1]
        line = margin.max(axis=1) > 0
        winner = np.where(margin[:, 0] > margin[:, 1], layout.inner, layout.outer)
        score[line] = decided[0]
        score[line, winner[line]] = decided[1] + np.minimum(margin.max(axis=1), MOST_MARGIN)[line]
        return score

    @property
    def _decided(self) -> tuple[float, float]:
        """Scores with a line: of the others, and of the winner."""
        return float(np.log(self.doubt[0] / (len(self.layout.classes) - 1))), float(np.log1p(-self.doubt[0]))

    @property
    def _undecided(self) -> tuple[float, float]:
        """Scores without a line: of the inner race, and what the logarithms of the others begin with."""
        return float(np.log(self.doubt[1])), float(np.log1p(-self.doubt[1]))


def cross_fit_evidence(
    spec: EnvelopeEvidence,
    layout: EvidenceLayout,
    table: Table,
    answer: NDArray[np.int64],
    row_unit: NDArray[np.int32],
    *,
    weight: Floats,
    seed: int,
) -> EvidenceFit:
    """Fit on all rows, and once a fold of units for the scores that calibration reads.

    Args:
        spec: penalty and folds.
        layout: of the table.
        table: features of each segment, `(n, n_columns)`.
        answer: class of each row, `(n,)`.
        row_unit: unit of each row, `(n,)`.
        weight: of each class, `(n_classes,)`.
        seed: of the folds.
    """
    fold = unit_folds(row_unit, spec.folds, seed, strata=answer)
    out_of_fold = np.empty((len(table), len(layout.classes)))
    for k in range(int(fold.max()) + 1):
        seen = fold != k
        part = _fit(spec, layout, table[seen], answer[seen], row_unit[seen], weight)
        out_of_fold[~seen] = part.scores(table[~seen])
    whole = _fit(spec, layout, table, answer, row_unit, weight)
    return EvidenceFit(whole.layout, whole.threshold, whole.spread, whole.doubt, whole.weights, out_of_fold)


def _fit(
    spec: EnvelopeEvidence, layout: EvidenceLayout, table: Table, answer: NDArray[np.int64],
    row_unit: NDArray[np.int32], weight: Floats,
) -> EvidenceFit:  # fmt: skip
    evidence = layout.evidence(table)
    others = evidence[(answer != layout.inner) & (answer != layout.outer)]
    if not len(others):
        raise FleetError("a fold of units has races only", hint="give recordings of further faults, or fewer folds")
    spread = max(float(others.std()), 1e-6)
    threshold = float(others.mean()) + NormalDist().inv_cdf(1 - spec.false_lines) * spread
    line = evidence.max(axis=1) > threshold
    # Segments of a recording are no independent witnesses: doubt is by unit (Laplace's rule of succession).
    hiding = len(np.unique(row_unit[~line & (answer == layout.inner)]))
    doubt = (
        1.0 / (len(np.unique(row_unit[line])) + 2.0),
        min((hiding + 1.0) / (len(np.unique(row_unit[~line])) + 2.0), 0.25),
    )
    colour = answer != layout.inner
    label = np.searchsorted(layout.hidden, answer[colour])
    known = np.nan_to_num(table[colour], nan=0.0).astype(np.float64)
    weights = tuple(
        _regression(known[:, tree], label, weight[answer[colour]], len(layout.hidden), spec.penalty)
        for tree in layout.trees
    )
    return EvidenceFit(layout, threshold, spread, doubt, weights, np.empty((0, 0)))


def _regression(x: Floats, label: NDArray[np.intp], weight: Floats, k: int, penalty: float) -> Floats:
    """Softmax regression with squared weights penalised, on standardised columns, by Newton's method.

    Returns:
        Weights for the columns as they are and a constant, `(n_columns + 1, k)`.
    """
    mean, sd = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    z = np.column_stack([(x - mean) / sd, np.ones(len(x))])
    d = z.shape[1]
    truth = np.eye(k)[label]
    ridge = np.append(np.full(d - 1, 2.0 * penalty), 1e-3)  # Σ_k |w_k|²: for two classes |w₁ − w₂|² / 2
    w = np.zeros((d, k))
    for _ in range(100):
        p = _softmax(z @ w)
        gradient = z.T @ (weight[:, None] * (p - truth)) + ridge[:, None] * w
        hessian = np.zeros((d, k, d, k))
        for a in range(k):
            for b in range(k):
                curvature = weight * p[:, a] * ((a == b) - p[:, b])
                hessian[:, a, :, b] = (z * curvature[:, None]).T @ z + (a == b) * np.diag(ridge)
        step = np.linalg.solve(hessian.reshape(d * k, d * k), gradient.ravel()).reshape(d, k)
        w -= step
        if np.abs(step).max() < 1e-9:
            break
    own = w[:-1] / sd[:, None]
    return np.vstack([own, w[-1] - mean @ own])


def _softmax(score: Floats) -> Floats:
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def evidence_graph(fitted: EvidenceFit, n_columns: int) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `scores (n, n_classes)`."""
    package = require("onnx", extra="train")
    make = package.helper.make_node
    layout, k = fitted.layout, len(fitted.layout.classes)
    n_trees, n_hidden = len(layout.trees), len(layout.hidden)
    mean = np.zeros((n_columns, 2))
    for race, columns in enumerate(layout.lines):
        mean[columns, race] = 1 / len(columns)
    regress, constant = np.zeros((n_columns, n_trees, n_hidden)), np.zeros((n_trees, n_hidden))
    for i, (tree, w) in enumerate(zip(layout.trees, fitted.weights, strict=True)):
        regress[tree, i], constant[i] = w[:-1], w[-1]
    (others, winner), (inner, rest) = fitted._decided, fitted._undecided
    place = np.zeros((n_hidden, k))
    place[np.arange(n_hidden), layout.hidden] = 1.0
    of_race = np.zeros((2, k))
    of_race[0, layout.inner] = of_race[1, layout.outer] = 1.0
    constants = {
        "zero": np.zeros(1),
        "whole": np.ones(1),
        "mean": mean,
        "threshold": np.array([fitted.threshold]),
        "spread": np.array([fitted.spread]),
        "regress": regress.reshape(n_columns, -1),
        "constant": constant.reshape(-1),
        "place": place,
        "start": np.where(np.arange(k) == layout.inner, inner, rest),
        "least": np.array([1e-9]),
        "most": np.array([MOST_MARGIN]),
        "of_race": of_race,
        "others": np.array([others]),
        "gain": np.array([winner - others]),
        "first": np.array([[1.0], [0.0]]),
        "second": np.array([[0.0], [1.0]]),
    }
    shape = package.numpy_helper.from_array(np.array([-1, n_trees, n_hidden], dtype=np.int64), "shape")
    axis = package.numpy_helper.from_array(np.array([1], dtype=np.int64), "columns")
    nodes = [
        make("IsNaN", ["table"], ["unknown"]),
        make("Where", ["unknown", "zero", "table"], ["known"]),
        make("MatMul", ["known", "mean"], ["evidence"]),
        make("Sub", ["evidence", "threshold"], ["above"]),
        make("Div", ["above", "spread"], ["margin"]),
        # without a line
        make("MatMul", ["known", "regress"], ["sums"]),
        make("Add", ["sums", "constant"], ["flat"]),
        make("Reshape", ["flat", "shape"], ["each"]),
        make("Softmax", ["each"], ["shares"], axis=2),
        make("ReduceMean", ["shares", "columns"], ["colour"], keepdims=0),
        make("Max", ["colour", "least"], ["likely"]),
        make("Log", ["likely"], ["logs"]),
        make("MatMul", ["logs", "place"], ["placed"]),
        make("Add", ["placed", "start"], ["without_line"]),
        # with a line
        make("ReduceMax", ["margin", "columns"], ["best"], keepdims=1),
        make("Greater", ["best", "zero"], ["line"]),
        make("MatMul", ["margin", "first"], ["of_inner"]),
        make("MatMul", ["margin", "second"], ["of_outer"]),
        make("Greater", ["of_inner", "of_outer"], ["inner_wins"]),
        make("Cast", ["inner_wins"], ["one"], to=package.TensorProto.FLOAT),
        make("Sub", ["whole", "one"], ["other"]),
        make("Concat", ["one", "other"], ["winner"], axis=1),
        make("MatMul", ["winner", "of_race"], ["chosen"]),
        make("Min", ["best", "most"], ["sure"]),
        make("Add", ["sure", "gain"], ["more"]),
        make("Mul", ["chosen", "more"], ["risen"]),
        make("Add", ["risen", "others"], ["with_line"]),
        make("Where", ["line", "with_line", "without_line"], ["scores"]),
    ]
    return table_model(package, nodes, n_columns, ("scores", k), constants, [shape, axis])
