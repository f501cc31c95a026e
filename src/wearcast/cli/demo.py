"""`wearcast demo`: the main job, end to end, on a simulated fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wearcast.cli.options import MappingFlags, Overrides, Seed

if TYPE_CHECKING:
    from wearcast.evaluation import Evaluation

__all__ = ["RECIPE", "demo", "first_to_look_at"]

RECIPE = "simulated-cnn-bilstm"


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the bundle and the report.")] = Path(
        "runs/demo"
    ),
    overrides: Overrides = None,
    seed: Seed = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far it is.")] = True,
) -> None:
    """Show the whole job on a simulated fleet.

    Simulates engines, trains on them, and reports how long each test engine will last.

    \b
    Example:  wearcast demo
              wearcast demo --out /tmp/demo --seed 3
    """  # noqa: D301
    from wearcast.cli.evaluate import evaluate_bundle, write_files
    from wearcast.cli.output import print_rich, print_table, say
    from wearcast.cli.train import spare_other_folders
    from wearcast.evaluation import Evaluation
    from wearcast.training.recipes import load_experiment
    from wearcast.training.run import train

    experiment = load_experiment(RECIPE, overrides or (), seed=seed)
    spare_other_folders(out / "bundle")
    say(f"1/3 training {experiment.name} on a simulated fleet, seed {experiment.seed}")
    bundle = train(experiment, out=out / "bundle", force=True, progress=progress)
    say("2/3 forecasting test engines that the model has never seen")
    evaluation = evaluate_bundle(bundle, None, MappingFlags(), None)
    assert isinstance(evaluation, Evaluation)  # noqa: S101 - the recipe's target is the RUL
    print_rich(evaluation.table())
    say("3/3 writing the report")
    report, table = write_files(bundle, evaluation, out / "report.html")
    columns, rows = first_to_look_at(evaluation)
    print_table("The three units to look at first", columns, rows)
    typer.echo(f"report:    {report.resolve()}")
    typer.echo(f"forecasts: {table.resolve()}")
    typer.echo("\nThe fleet is simulated. Next:")
    for command, why in _next(bundle.path):
        typer.echo(f"  {command:<58} # {why}")


def first_to_look_at(evaluation: Evaluation, count: int = 3) -> tuple[list[str], list[list[object]]]:
    """The units that may fail soonest, as the report orders them."""
    last = evaluation.forecast.select(evaluation.urgent[:count])
    low, high = last.quantile_levels[0], last.quantile_levels[-1]
    horizon = last.horizons[len(last.horizons) // 2]
    lower, upper = last.distribution.quantile(low), last.distribution.quantile(high)
    danger = last.distribution.failure_probability(horizon)
    expected = last.rul
    unit_of_time = f"{evaluation.fleet.schema.time_unit}s"
    columns = [
        "unit",
        f"expected RUL ({unit_of_time})",
        f"{low:.0%} to {high:.0%}",
        f"fails within {horizon:g} {unit_of_time}",
    ]
    rows: list[list[object]] = [
        [last.unit[i], f"{expected[i]:.1f}", f"{lower[i]:.0f} to {upper[i]:.0f}", f"{danger[i]:.0%}"]
        for i in range(len(last))
    ]
    return columns, rows


def _next(bundle: Path) -> list[tuple[str, str]]:
    return [
        (f"wearcast predict {bundle} simulated --every 10", "each test engine's trajectory, as CSV"),
        ("wearcast datasets list", "real fleets, such as NASA's C-MAPSS"),
        ("wearcast datasets check FILE.csv --unit … --cycle …", "your own files"),
        ("wearcast train cnn-bilstm --source FILE.csv --mapping …", "a model of your own fleet"),
    ]
