"""AI4I on many splits: the shipped recipe, a short LightGBM by hand, and a forecaster that knows the rules of the set.

    python benchmarks/ai4i_ceiling.py [--splits 20] [--set backbone.n_trees=300 …]

All three see the same splits. `recipe` is `wearcast train ai4i-failure --seed S --set dataset.split_seed=S`. `anchor`
is LGBMClassifier on the sensors and the physics features, its threshold chosen on a fifth of the training records.
`oracle` knows the published rules of heat, power and overstrain, and counts the rate of tool-wear failures by wear
and type over the training records; `oracle*` may choose its threshold on the test records. The held-out fifth is only
scored (but for `oracle*`). Printed: mean and standard deviation over the splits, and paired differences.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearcast import Experiment, Fleet, load_bundle, train
from wearcast.datasets.ai4i import Ai4iDataset
from wearcast.evaluation.calibration import choose_threshold
from wearcast.evaluation.classification import average_precision
from wearcast.forecast import ClassForecast
from wearcast.target import BestF1

STRAIN_LIMIT = {"L": 11_000, "M": 12_000, "H": 13_000}
Floats = NDArray[np.float64]
Score = tuple[float, float]


def f1(alarm: NDArray[np.bool_], failed: NDArray[np.bool_]) -> float:
    """F1 of alarms."""
    return float(2 * (alarm & failed).sum() / max(alarm.sum() + failed.sum(), 1))


def column(fleet: Fleet, name: str) -> Floats:
    """A column of numbers."""
    return fleet.frame[name].to_numpy().astype(np.float64)


def failed(fleet: Fleet) -> NDArray[np.bool_]:
    """Which records failed."""
    return np.asarray(column(fleet, "machine_failure") == 1)


def physics(fleet: Fleet) -> Floats:
    """Sensors, type, power, temperature difference, strain, and strain over its limit."""
    air, process, speed, torque, wear = (
        column(fleet, name)
        for name in ("air_temperature", "process_temperature", "rotational_speed", "torque", "tool_wear")
    )
    limit = np.array([STRAIN_LIMIT[kind] for kind in fleet.frame["type"].to_list()], dtype=np.float64)
    power, strain = speed * torque * 2 * np.pi / 60, wear * torque
    return np.column_stack([air, process, speed, torque, wear, limit, power, process - air, strain, strain / limit])


def recipe(learn: Fleet, rest: Fleet, seed: int, overrides: tuple[str, ...]) -> Score:
    """The shipped recipe as `wearcast train` runs it."""
    experiment = Experiment.from_yaml("ai4i-failure", (f"dataset.split_seed={seed}", "backbone.threads=1", *overrides))
    with tempfile.TemporaryDirectory(prefix="wearcast-ai4i-") as folder:
        train(experiment.model_copy(update={"seed": seed}), learn, out=Path(folder) / "bundle")
        forecast = load_bundle(Path(folder) / "bundle").predict(rest)
    assert isinstance(forecast, ClassForecast)
    truth = failed(rest)
    probability = np.asarray(forecast.probability[:, 1], dtype=np.float64)
    return average_precision(probability, truth), f1(probability >= (forecast.threshold or 0.5), truth)


def anchor(learn: Fleet, rest: Fleet, seed: int) -> Score:
    """LightGBM by hand: four fifths to learn, one to choose the threshold."""
    from lightgbm import LGBMClassifier

    x, y = physics(learn), failed(learn)
    rng = np.random.default_rng(seed)
    held = np.zeros(len(y), dtype=bool)
    for kind in (True, False):
        of_kind = np.flatnonzero(y == kind)
        held[rng.permutation(of_kind)[: len(of_kind) // 5]] = True
    model = LGBMClassifier(
        n_estimators=300, learning_rate=0.05, num_leaves=15, min_child_samples=10, subsample=0.8, subsample_freq=1,
        colsample_bytree=0.8, random_state=seed, n_jobs=1, verbosity=-1,
    )  # fmt: skip
    model.fit(x[~held], y[~held])
    threshold = choose_threshold(BestF1(), np.asarray(model.predict_proba(x[held]))[:, 1], y[held])
    probability, truth = np.asarray(model.predict_proba(physics(rest)))[:, 1], failed(rest)
    return average_precision(probability, truth), f1(probability >= threshold, truth)


def wear_rate(learn: Fleet, rest: Fleet) -> Floats:
    """Rate of tool-wear failures at each wear and type: records within 10 minutes, and the step that a type wears."""
    wear, fails = column(learn, "tool_wear"), column(learn, "TWF")
    step = {"L": 2.0, "M": 3.0, "H": 5.0}  # minutes of wear a product; the hazard of a record is in proportion to it
    dose = np.array([step[kind] for kind in learn.frame["type"].to_list()])
    own = np.array([step[kind] for kind in rest.frame["type"].to_list()])
    near = np.abs(column(rest, "tool_wear")[:, None] - wear[None, :]) <= 10
    rate: Floats = own * (near @ fails) / np.maximum(near @ dose, 1e-9)
    return np.minimum(rate, 0.9)


def oracle(learn: Fleet, rest: Fleet, *, peeks: bool) -> Score:
    """The published rules, with the share of records that fail where one of them holds."""
    x = {"learn": physics(learn), "rest": physics(rest)}

    def ruled(table: Floats) -> Floats:
        """How sure a rule is: 2 inside, 1 on the edge of the heat rule as the temperatures are rounded, else 0."""
        heat = (table[:, 7] < 8.65) & (table[:, 2] < 1380)
        edge = heat & (table[:, 7] > 8.55)
        power = (table[:, 6] < 3500) | (table[:, 6] > 9000)
        strain = table[:, 9] > 1
        sure = (heat & ~edge) | power | strain
        return np.where(sure, 2.0, np.where(edge, 1.0, 0.0))

    rule, truth = ruled(x["learn"]), failed(learn)
    share = np.array([truth[rule == kind].mean() for kind in (0.0, 1.0, 2.0)])
    known = [share[ruled(x[part]).astype(int)] for part in ("learn", "rest")]
    by_wear = [wear_rate(learn, part) for part in (learn, rest)]
    probability = [1 - (1 - a) * (1 - b) for a, b in zip(known, by_wear, strict=True)]
    chosen_on = (probability[1], failed(rest)) if peeks else (probability[0], truth)
    threshold = choose_threshold(BestF1(), *chosen_on)
    return average_precision(probability[1], failed(rest)), f1(probability[1] >= threshold, failed(rest))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    found: dict[str, list[Score]] = {name: [] for name in ("recipe", "anchor", "oracle", "oracle*")}
    for seed in range(args.splits):
        data = Ai4iDataset(split_seed=seed)
        learn, rest = data.load("train"), data.load("test")
        found["recipe"].append(recipe(learn, rest, seed, tuple(args.overrides)))
        found["anchor"].append(anchor(learn, rest, seed))
        found["oracle"].append(oracle(learn, rest, peeks=False))
        found["oracle*"].append(oracle(learn, rest, peeks=True))
        row = "   ".join(f"{name} {scores[-1][0]:.3f} {scores[-1][1]:.3f}" for name, scores in found.items())
        print(f"split {seed:2d}   {row}", flush=True)
    table = {name: np.array(scores) for name, scores in found.items()}
    print(f"\n{'':22s}{'PR-AUC':>16s}{'F1':>16s}")
    for name, scores in table.items():
        print(f"{name:22s}" + "".join(f"{scores[:, i].mean():9.3f} ± {scores[:, i].std(ddof=1):.3f}" for i in range(2)))
    for other in ("anchor", "oracle", "oracle*"):
        gap = table["recipe"] - table[other]
        error = gap.std(axis=0, ddof=1) / np.sqrt(len(gap))
        print(f"{'recipe − ' + other:22s}" + "".join(f"{gap[:, i].mean():+9.3f} ± {error[i]:.3f}" for i in range(2)))
    print("beside a mean: standard deviation over the splits; beside a difference: its standard error")


if __name__ == "__main__":
    main()
