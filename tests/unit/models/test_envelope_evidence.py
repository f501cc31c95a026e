"""Faults by the line in the envelope spectrum, and without one by colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wearcast.errors import FleetError
from wearcast.features import EnvelopeLines, SignalFeatures, WaveletPackets
from wearcast.features.signal import signal_names
from wearcast.inference import OnnxSession
from wearcast.models import EnvelopeEvidence
from wearcast.models.envelope_evidence import EvidenceFit, EvidenceLayout, cross_fit_evidence, evidence_graph

CLASSES = ("ball", "inner", "outer")
FEATURES = SignalFeatures(
    segment=1024,
    every=512,
    waveform=False,
    envelope=EnvelopeLines(bearing="SKF 6205-2RS JEM", shaft_speed="rpm", lines=("bpfi", "bpfo"), harmonics=2),
    wavelets=WaveletPackets(levels=(1, 2)),
)
COLUMNS = signal_names(FEATURES, ("DE",))
SPEC = EnvelopeEvidence(folds=3)


def layout(classes: tuple[str, ...] = CLASSES) -> EvidenceLayout:
    return EvidenceLayout.of(SPEC, FEATURES, ("DE",), COLUMNS, classes)


def make_table(n: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six units: two of each fault; one outer race hides its line, its colour tells it from balls."""
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 0.3, (6 * n, len(COLUMNS))).astype(np.float32)
    unit = np.repeat(np.arange(6, dtype=np.int32), n)
    answer = unit.astype(np.int64) // 2
    table[answer == 1, 0:2] += 3
    table[unit == 4, 2:4] += 3
    table[answer == 2, 4] += 2
    return table, answer, unit


def fit(seed: int = 0, weight: tuple[float, ...] = (1, 1, 1)) -> EvidenceFit:
    table, answer, unit = make_table(seed=seed)
    return cross_fit_evidence(SPEC, layout(), table, answer, unit, weight=np.array(weight, dtype=float), seed=0)


def test_lines_decide_and_colour_decides_without_one():
    fitted = fit()
    table, answer, _ = make_table(seed=1)
    assert (fitted.scores(table).argmax(axis=1) == answer).mean() > 0.85
    assert fitted.out_of_fold.shape == (len(table), 3)
    assert 0.5 < fitted.threshold < 2


def test_the_threshold_passes_the_stated_share_of_noise():
    table, answer, unit = make_table()
    loose = SPEC.model_copy(update={"false_lines": 0.2})
    fitted = cross_fit_evidence(loose, layout(), table, answer, unit, weight=np.ones(3), seed=0)
    noise = layout().evidence(make_table(n=400, seed=2)[0][:400])
    assert (noise > fitted.threshold).mean() == pytest.approx(0.2, abs=0.05)


def test_a_louder_line_is_surer():
    fitted = fit()
    row = np.zeros((3, len(COLUMNS)), dtype=np.float32)
    row[:, 0:2] = np.array([[1.5], [2.0], [20.0]])
    scores = fitted.scores(row)
    ahead = scores[:, 1] - scores[:, [0, 2]].max(axis=1)
    assert (ahead > 0).all()
    assert ahead[0] < ahead[1] <= ahead[2]


def test_the_graph_says_the_same_and_takes_unknown_values(tmp_path: Path):
    fitted = fit()
    table, _, _ = make_table(seed=3)
    table[5] = np.nan
    path = tmp_path / "model.onnx"
    path.write_bytes(evidence_graph(fitted, len(COLUMNS)).SerializeToString())
    found = OnnxSession(path).run({"table": table})
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, fitted.scores(table), atol=1e-4)


def test_a_fourth_class_is_told_by_colour():
    table, answer, unit = make_table()
    table = np.concatenate([table, make_table(seed=5)[0][:20]])
    table[-20:, 5] += 4
    answer, unit = np.append(answer, [3] * 20), np.append(unit, [6] * 20).astype(np.int32)
    four = EvidenceLayout.of(SPEC, FEATURES, ("DE",), COLUMNS, (*CLASSES, "normal"))
    fitted = cross_fit_evidence(SPEC, four, table, answer, unit, weight=np.ones(4), seed=0)
    assert (fitted.scores(table).argmax(axis=1) == answer).mean() > 0.8


def test_the_classes_of_the_races_must_be_there():
    with pytest.raises(FleetError, match=r"backbone\.inner"):
        layout(("ball", "inner_race", "outer"))
    with pytest.raises(FleetError, match="from others"):
        layout(("inner", "outer"))


def test_races_alone_give_no_threshold():
    table, answer, unit = make_table()
    kept = answer > 0
    with pytest.raises(FleetError, match="races only"):
        cross_fit_evidence(SPEC, layout(), table[kept], answer[kept], unit[kept], weight=np.ones(3), seed=0)
