"""From recordings of bearings to the fault of others, by one preprocessing in training, service and evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.fixtures.mat_files import write_faulty_recordings

from wearcast import Bundle, Experiment, Fleet, load_bundle, train
from wearcast.errors import FleetError
from wearcast.evaluation import evaluate, write_report
from wearcast.evaluation.classification import ClassEvaluation
from wearcast.forecast import ClassForecast

SMALL = (
    "features.segment=6000",
    "features.every=3000",
    "features.wavelets.families=[db4]",
    "features.wavelets.levels=[3]",
)
TREES = ("backbone={kind: lightgbm, folds: 2, n_trees: 20, min_leaf_rows: 2, threads: 1}",)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_faulty_recordings(folder / "skf")
    return folder


@pytest.fixture
def recordings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """The shipped recipe, smaller."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(home))
    return Experiment.from_yaml("skf-fault", SMALL)


@pytest.fixture
def bundle(recordings: Experiment, tmp_path: Path) -> Bundle:
    return train(recordings, out=tmp_path / "bundle")


def test_faults_of_an_unseen_size_at_another_load(recordings: Experiment, bundle: Bundle, tmp_path: Path):
    test = recordings.dataset.load("test")
    evaluation = evaluate(load_bundle(bundle.path), test)
    assert isinstance(evaluation, ClassEvaluation)
    assert evaluation.metrics["macro_f1"] > 0.9
    assert evaluation.n_windows == evaluation.fleet.n_rows == 3 * 7
    assert not evaluation.record.trained_on
    assert "Model card" in write_report(evaluation, bundle, tmp_path / "report.html").read_text()


def test_each_segment_is_forecast_once_and_the_last_is_the_same_alone(recordings: Experiment, bundle: Bundle):
    test = recordings.dataset.load("test")
    each, last = bundle.predict(test, every=1), bundle.predict(test)
    second = bundle.predict(test, every=2)
    assert isinstance(each, ClassForecast)
    assert isinstance(last, ClassForecast)
    assert each.time.to_list()[:7] == [5999, 8999, 11999, 14999, 17999, 20999, 23999]
    assert second.time.to_list()[:4] == [5999, 11999, 17999, 23999]
    np.testing.assert_allclose(last.probability, each.probability[6::7], rtol=1e-6)
    assert set(each.flags) == {()}


def test_trees_read_the_same_table(recordings: Experiment, tmp_path: Path):
    experiment = Experiment.from_yaml("skf-fault", (*SMALL, *TREES, "features.waveform=true"))
    evaluation = evaluate(train(experiment, out=tmp_path / "b"), experiment.dataset.load("test"))
    assert isinstance(evaluation, ClassEvaluation)
    assert evaluation.metrics["macro_f1"] > 0.5


def test_what_a_fleet_must_have(recordings: Experiment, bundle: Bundle):
    test = recordings.dataset.load("test")
    fast = replace(test, schema=test.schema.model_copy(update={"sampling_rate_hz": 48000.0}))
    with pytest.raises(FleetError, match="sampled at 48000 Hz, but the model was trained on 12000 Hz"):
        bundle.predict(fast)
    unknown = replace(test, schema=test.schema.model_copy(update={"sampling_rate_hz": None}))
    with pytest.raises(FleetError, match="sampling rate is not known"):
        bundle.predict(unknown)
    still = replace(test, frame=test.frame.with_columns(rpm=pl.lit(0.0, dtype=pl.Float32)))
    with pytest.raises(FleetError, match=rf"unit {test.units[0]}, 6000 samples.*positive"):
        bundle.predict(still)
    with pytest.raises(FleetError, match="column 'rpm' is missing"):
        bundle.predict(replace(test, frame=test.frame.drop("rpm")))


def test_a_short_recording_is_flagged_and_one_that_is_too_short_named(recordings: Experiment, bundle: Bundle):
    test = recordings.dataset.load("test")
    first = test.select(test.units[:2])

    def cut(n: int) -> Fleet:
        keep = (pl.col("unit") != test.units[0]) | (pl.col("time") < n)
        return replace(first, frame=first.frame.filter(keep))

    short = bundle.predict(cut(5000), every=1)
    assert len(short) == 1 + 7
    assert [flags for flags in short.flags if flags] == [("short_history",)]
    with pytest.raises(FleetError, match=f"unit {test.units[0]}, 150 samples"):
        bundle.predict(cut(150))


def test_missing_and_flat_signals_are_flagged(recordings: Experiment, bundle: Bundle):
    test = recordings.dataset.load("test").select(recordings.dataset.load("test").units[:1])
    signal = test.frame["DE"].to_numpy().copy()
    signal[7000] = np.nan
    signal[14000:] = 0.5
    marked = bundle.predict(replace(test, frame=test.frame.with_columns(DE=pl.Series(signal))), every=1)
    assert marked.flags == (
        (),
        ("missing_readings",),
        ("missing_readings",),
        (),
        (),
        ("flat_signal",),
        ("flat_signal",),
    )


def test_networks_read_raw_segments_at_the_same_step(recordings: Experiment, tmp_path: Path):
    raw = "{kind: sequence, every: 3000, deviation: false, age: false, statics: false}"
    experiment = Experiment.from_yaml(
        "skf-fault",
        (
            f"features={raw}",
            "window.context_length=64",
            "backbone={kind: cnn_bilstm, channels: 4, hidden: 4, kernel_size: 3}",
            "trainer.max_epochs=1",
        ),
    )
    bundle = train(experiment, out=tmp_path / "b")
    evaluation = evaluate(bundle, experiment.dataset.load("test"))
    assert isinstance(evaluation, ClassEvaluation)
    assert evaluation.n_windows == 3 * 8
    assert bundle.manifest.preprocessing.n_static == 0
