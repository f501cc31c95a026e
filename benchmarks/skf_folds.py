"""Macro-F1 on bearings with a fault size and a load that training has not seen, and the same models where windows leak.

    WEARCAST_DATA_DIR=… python benchmarks/skf_folds.py [--only evidence trees network leak] [--json FILE]

Each fold leaves one fault size out: training is on the two other sizes at one load, the test on the third at the other
load, each segment judged by itself. The last rows divide the segments of all sizes at one load by chance, as much of
the literature does: segments of one recording are on both sides, and the figure says how well a recording is known
again, not how well a fault is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from wearcast import Experiment, Fleet, train
from wearcast.evaluation import evaluate
from wearcast.evaluation.classification import ClassEvaluation

SIZES = (0.007, 0.014, 0.021)
DIRECTIONS = ((0, 2), (2, 0))
TREES = (
    "backbone={kind: lightgbm, threads: 1, min_leaf_rows: 10}",
    "features.waveform=true",
    "features.envelope.lines=[bpfi, bpfo, 2bsf]",
)
NETWORK = (
    "features={kind: sequence, every: 1024, deviation: false, age: false, statics: false}",
    "window.context_length=2048",
    "backbone={kind: cnn_bilstm, channels: 16, hidden: 16, kernel_size: 11, strides: [4, 4, 4], dropout: 0.2}",
    "split.by=time",
    "trainer={max_epochs: 30, batch_size: 64, epoch_share: 1.0, level_noise: 0.0, deviation_noise: 0.0}",
)
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "recipe skf-fault, segments of 0.5 s": ("evidence", ()),
    "  segments of 1 s": ("evidence", ("features.segment=12000", "features.every=6000")),
    "  segments of 1.5 s": ("evidence", ("features.segment=18000", "features.every=9000")),
    "  4 harmonics": ("evidence", ("features.envelope.harmonics=4",)),
    "  5 harmonics": ("evidence", ("features.envelope.harmonics=5",)),
    "  one wavelet tree (db4, level 4)": ("evidence", ("features.wavelets={families: [db4], levels: [4]}",)),
    "  a shift of each class calibrated": ("evidence", ("calibration.kind=spread",)),
    "LightGBM on lines, wavelets, waveform": ("trees", TREES),
    "CNN-BiLSTM on raw segments of 0.17 s": ("network", NETWORK),
}


def score(experiment: Experiment, learn: Fleet, test: Fleet) -> float:
    """Macro-F1 over the segments of the test."""
    with tempfile.TemporaryDirectory(prefix="wearcast-skf-") as folder:
        found = evaluate(train(experiment, learn, out=Path(folder) / "bundle"), test)
    assert isinstance(found, ClassEvaluation)
    return float(found.metrics["macro_f1"])


def unseen(overrides: tuple[str, ...]) -> Iterator[float]:
    """Each direction, each size left out."""
    for learnt, tested in DIRECTIONS:
        for size in SIZES:
            data = (
                f"dataset.test_sizes=[{size}]",
                f"dataset.test_loads=[{tested}]",
                f"dataset.loads=[{learnt}, {tested}]",
            )
            experiment = Experiment.from_yaml("skf-fault", (*overrides, *data))
            yield score(experiment, experiment.dataset.load("train"), experiment.dataset.load("test"))


def leaking(overrides: tuple[str, ...], samples: int = 6000) -> float:
    """Stretches of all recordings at load 0, each taken for a unit of its own, a fifth of them held out by chance."""
    experiment = Experiment.from_yaml("skf-fault", (*overrides, "split.by=unit", "dataset.loads=[0]"))
    fleet = experiment.dataset.load("all")
    frame = fleet.frame.with_columns(stretch=pl.col("time") // samples)
    frame = frame.filter(pl.len().over("unit", "stretch") == samples)
    named = pl.format("{}/{}", pl.col("unit").cast(pl.String), pl.col("stretch").cast(pl.Int64))
    frame = frame.with_columns(unit=named).drop("stretch")
    pieces = replace(fleet, frame=frame, events=fleet.events.clear().with_columns(pl.col("unit").cast(pl.String)))
    units = np.random.default_rng(0).permutation(np.array(pieces.units, dtype=object))
    held_out = len(units) // 5
    return score(experiment, pieces.select(units[held_out:]), pieces.select(units[:held_out]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["evidence", "trees", "network", "leak"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: dict[str, list[float]] = {}
    head = "".join(f"{f'{size} {a}->{b}':>13s}" for a, b in DIRECTIONS for size in SIZES)
    print(f"{'unseen size, train load -> test load':40s}{head}      s")
    for name, (kind, overrides) in VARIANTS.items():
        if kind in args.only:
            began = time.perf_counter()
            rows[name] = list(unseen(overrides))
            figures = "".join(f"{value:13.3f}" for value in rows[name])
            print(f"{name:40s}{figures}{time.perf_counter() - began:7.0f}", flush=True)
    if "leak" in args.only:
        print("random windows of the same recordings (leaks)")
        short = ("trainer.patience=30", "features.every=1024")
        chosen = {"LightGBM": TREES, "envelope evidence": (), "CNN-BiLSTM": (*NETWORK, *short)}
        for name, overrides in chosen.items():
            rows[f"leaking, {name}"] = [leaking(overrides)]
            print(f"  {name:38s}{rows[f'leaking, {name}'][0]:13.3f}", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
