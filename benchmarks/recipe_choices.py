"""What the choices in a recipe are worth, by cross-validation over the training units: no test label is read.

    python benchmarks/recipe_choices.py cmapss-fd001-cnn-bilstm [--folds 3] [--try trainer.level_noise=0 …]

Each fold holds out a share of the training units, trains the recipe on the others as `wearcast train` would (its own
validation units and calibration included), and scores every reading of the held-out units. Each `--try` is one
variant: overrides joined by commas. The figure is the mean over folds, with the worst fold beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from wearcast import Experiment, Fleet, train
from wearcast.evaluation import evaluate

FIGURES = ("rmse_capped", "crps", "coverage_90", "width_90")


def folds(fleet: Fleet, n: int) -> list[tuple[Fleet, Fleet]]:
    """Training and held-out units of each fold, the same for every variant."""
    units = np.random.default_rng(0).permutation(np.array(fleet.units, dtype=object))
    parts = np.array_split(units, n)
    return [
        (fleet.select(np.concatenate([p for j, p in enumerate(parts) if j != i])), fleet.select(part))
        for i, part in enumerate(parts)
    ]


def score(experiment: Experiment, learn: Fleet, held_out: Fleet) -> list[float]:
    """The figures of one fold."""
    with tempfile.TemporaryDirectory(prefix="wearcast-choices-") as folder:
        bundle = train(experiment, learn, out=Path(folder) / "bundle")
        metrics = evaluate(bundle, held_out, split="held out").metrics
    return [float(metrics[name]) for name in FIGURES]  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--try", dest="variants", nargs="*", default=[], metavar="KEY=VALUE,…")
    args = parser.parse_args()
    fleet = Experiment.from_yaml(args.recipe).dataset.load("train")
    print(f"{args.recipe}, {args.folds} folds of {fleet.n_units} training units")
    print(
        f"{'variant':44s}"
        + "".join(f"{name:>14s}{'worst':>8s}" for name in FIGURES[:2])
        + "  coverage   width   s/fold"
    )
    for variant in ("", *args.variants):
        overrides = tuple(variant.split(",")) if variant else ()
        experiment = Experiment.from_yaml(args.recipe, overrides)
        began = time.perf_counter()
        found = np.array([score(experiment, learn, rest) for learn, rest in folds(fleet, args.folds)])
        mean, worst = found.mean(axis=0), found.max(axis=0)
        seconds = (time.perf_counter() - began) / args.folds
        errors = "".join(f"{mean[i]:14.2f}{worst[i]:8.2f}" for i in range(2))
        print(f"{variant or 'as shipped':44s}{errors}{mean[2]:10.1%}{mean[3]:8.1f}{seconds:9.0f}", flush=True)


if __name__ == "__main__":
    main()
