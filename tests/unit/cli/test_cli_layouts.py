"""`lookout:PATH` and `recordings:PATH` on the command line: check, train, evaluate and predict."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.unit.cli.conftest import Run

from wearcast.datasets import load_dataset, resolve_source
from wearcast.datasets.lookout import LookoutDataset
from wearcast.datasets.recordings import RecordingsDataset
from wearcast.errors import ConfigError, SourceNotFoundError, UsageError

TREES = ("--set", "backbone.n_trees=5", "--set", "backbone.folds=2", "--set", "backbone.min_leaf_rows=5")
START = datetime(2024, 1, 1)


def write_recordings(folder: Path) -> Path:
    """Four quiet recordings and four loud ones."""
    rng = np.random.default_rng(0)
    for label, size in (("normal", 0.1), ("inner", 1.0)):
        for i in range(4):
            file = folder / label / f"run_{i}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            pl.DataFrame({"t": np.arange(200) / 1000, "x": rng.normal(0, size, 200)}).write_csv(file)
    return folder


def write_pump(folder: Path) -> Path:
    """Six lives of 40 hours, the sensor rising towards each failure, and the ranges of the failures."""
    hours = np.arange(240)
    rows = [f"{START + timedelta(hours=int(h))},{(h % 40) / 40 + 0.01 * (h % 7)},{h % 5}" for h in hours]
    folder.mkdir(parents=True)
    (folder / "bearing.csv").write_text("\n".join(["Timestamp,vibration,load", *rows, ""]))
    ends = [START + timedelta(hours=40 * i - 2) for i in range(1, 7)]
    (folder / "labels.csv").write_text("".join(f"{end},{end + timedelta(hours=1)}\n" for end in ends))
    return folder


def test_recordings_are_checked_trained_on_and_forecast_by_the_name_of_their_folder(run: Run, tmp_path: Path):
    source = f"recordings:{write_recordings(tmp_path / 'plant')}?sampling_rate_hz=1000&time_column=t"
    checked = run("datasets", "check", source, "--json", "--fail-on", "never")
    assert (checked.code, json.loads(checked.out)["units"]) == (0, 8)
    assert json.loads(checked.out)["target"] == "fault"
    bundle = tmp_path / "bundle"
    target = ("--set", "target={kind: fault, label: fault}", "--set", "features.scales=[8, 32]")
    trained = run("train", "lightgbm", "--source", source, "--out", bundle, *target, *TREES, "--no-progress")
    assert trained.code == 0, trained.err
    new = tmp_path / "new"
    new.mkdir()
    for name in ("inner/run_0.csv", "normal/run_0.csv"):
        (tmp_path / "plant" / name).rename(new / name.replace("/", "_"))
    ran = run("predict", bundle, f"recordings:{new}?label_folder=none")
    assert ran.code == 0, ran.err
    forecast = pl.read_csv(io.StringIO(ran.out))
    assert forecast["unit"].to_list() == ["inner_run_0", "normal_run_0"], "the rate is that of the bundle's own"
    assert forecast["fault"].to_list() == ["inner", "normal"]


def test_an_asset_in_lookouts_layout_is_trained_on_and_a_new_one_without_labels_forecast(run: Run, tmp_path: Path):
    pump = write_pump(tmp_path / "pump-7")
    source = f"lookout:{pump}?labels=labels.csv&ranges=lives&test_share=0.4"
    assert json.loads(run("datasets", "check", source, "--json", "--fail-on", "never").out)["failed"] == 6
    bundle = tmp_path / "bundle"
    target = ("--set", "target={kind: failure, horizon: 8}", "--set", "features.scales=[4]")
    trained = run("train", "lightgbm", "--source", source, "--out", bundle, *target, *TREES, "--no-progress")
    assert trained.code == 0, trained.err
    own = run("predict", bundle, f"lookout:{pump}")
    assert [line.split(",")[0] for line in own.out.splitlines()[1:]] == [f"pump-7#{i}" for i in range(1, 7)]
    assert run("evaluate", bundle, "--source", f"lookout:{pump}", "--no-report", "--json").code == 0
    (pump / "labels.csv").unlink()
    ran = run("predict", bundle, f"lookout:{pump}")
    assert [line.split(",")[0] for line in ran.out.splitlines()[1:]] == ["pump-7"], "one history: no ranges are known"
    judged = run("evaluate", bundle, "--source", f"lookout:{pump}", "--no-report")
    assert judged.code != 0, "without ranges there is no truth"
    assert "no such file of ranges" in judged.err


def test_what_follows_the_question_mark_are_keys_of_the_data_set():
    found = resolve_source("lookout:a/pump-7?labels=labels.csv&ranges=lives&time_format=%m/%d/%Y %H:%M")
    assert found == LookoutDataset(source="a/pump-7", labels="labels.csv", ranges="lives", time_format="%m/%d/%Y %H:%M")
    found = resolve_source("recordings:b?sampling_rate_hz=12e3&channels=DE,FE")
    assert found == RecordingsDataset(source="b", sampling_rate_hz=12_000, channels=("DE", "FE"))


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        ("lookout:", UsageError, "the path is missing"),
        ("lookout:pump?labels", UsageError, "expected key=value"),
        ("lookout:pump?lables=x.csv", ConfigError, "did you mean 'labels'"),
        ("recordings:plant?sampling_rate_hz=fast", ConfigError, "a number"),
        ("recordings:plant", ConfigError, "sampling_rate_hz"),
        ("recording:plant", SourceNotFoundError, "did you mean 'recordings'"),
        ("lookout:nowhere", SourceNotFoundError, "no such folder"),
    ],
)
def test_a_source_that_is_wrong_says_what_would_be_right(source: str, error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        load_dataset(source)


def test_columns_of_a_layout_are_not_mapped(run: Run, tmp_path: Path):
    ran = run("datasets", "check", f"recordings:{tmp_path}?sampling_rate_hz=10", "--unit", "x")
    assert ran.code == 2
    assert "knows its columns" in ran.err
