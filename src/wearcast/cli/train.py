"""`wearcast train`: an experiment becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wearcast.cli.options import Json, MappingFlags, Overrides, Seed, Source, Workers, mapped

if TYPE_CHECKING:
    from wearcast.bundle import Bundle

__all__ = ["spare_other_folders", "train"]


@mapped
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE_OR_FILE", help="Name of a recipe, or a YAML file.")],
    columns: MappingFlags,
    source: Source = None,
    overrides: Overrides = None,
    seed: Seed = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The bundle to write; runs/NAME-seedN unless given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of a killed run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is already there.")] = False,
    track: Annotated[
        str | None,
        typer.Option("--track", metavar="TOOL", help="Record settings, epochs and figures: mlflow or wandb."),
    ] = None,
    workers: Workers = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far it is.")] = True,
    as_json: Json = False,
) -> None:
    """Train a model and write its bundle.

    \b
    Example:  wearcast train cmapss-fd001-cnn-bilstm --seed 1
              wearcast train cnn-bilstm --source pumps.csv --unit pump --time stamp
                  --sensors flow,pressure --failures failures.csv --out runs/pumps
    """  # noqa: D301
    from wearcast.cli.output import say
    from wearcast.cli.sources import dataset_record
    from wearcast.registry.reading import artifact_root, default_uri
    from wearcast.training.recipes import load_experiment
    from wearcast.training.run import train as run_training
    from wearcast.training.tracking import tracked
    from wearcast.training.workers import threads_at_hand

    uri = default_uri()
    dataset = dataset_record(source, columns)
    experiment = load_experiment(recipe, overrides or (), dataset=dataset, seed=seed)
    place = out or Path("runs") / f"{experiment.name}-seed{experiment.seed}"
    spare_other_folders(place)
    say(f"training {experiment.name} on {experiment.dataset.name}, seed {experiment.seed}")
    if not resume and (left := _left_behind(place)):
        say(f"starting anew without --resume: {left} in {_work(place)} are dropped")
    try:
        with tracked(track, uri=uri, artifacts=artifact_root(uri)):
            bundle = run_training(
                experiment, out=place, resume=resume, force=force, progress=progress,
                workers=workers or threads_at_hand(),
            )  # fmt: skip
    except (KeyboardInterrupt, SystemExit) as stop:
        if not (isinstance(stop, SystemExit) and stop.code in (0, None)):  # else a further device has done its share
            _say_how_to_go_on(place)
        raise
    _report(bundle, as_json=as_json)


def _work(place: Path) -> Path:
    """Where training leaves what is finished until the bundle is written."""
    return place.resolve().with_name(f"{place.resolve().name}.work")


def _left_behind(place: Path) -> str | None:
    """What an interrupted training left: checkpoints, or of an ensemble its finished models."""
    if (_work(place) / "last.ckpt").exists():
        return "the checkpoints"
    models = len(list((_work(place) / "models").glob("*/bundle.json")))
    begun = any((_work(place) / "models").glob("*.work/last.ckpt"))
    return f"the {models} finished models" if models else "the checkpoints" if begun else None


def _say_how_to_go_on(place: Path) -> None:
    from wearcast.cli.output import say

    if left := _left_behind(place):
        said = "the last checkpoint is" if left == "the checkpoints" else f"{left} are"
        say(f"stopped; {said} in {_work(place)}: the same command with --resume goes on")
    else:
        say("stopped before the first checkpoint; the same command starts anew")


def spare_other_folders(place: Path) -> None:
    """A bundle takes the place of what is there as a whole: stop where that is not a bundle.

    Raises:
        UsageError: there is a file, or a folder with something else in it.
    """
    from wearcast.errors import UsageError

    if place.is_file():
        raise UsageError("this is a file, a bundle is a folder", where=str(place), hint="give another --out DIR")
    if place.is_dir() and any(place.iterdir()) and not (place / "bundle.json").exists():
        raise UsageError(
            "the folder holds something else than a bundle", where=str(place), hint="give another --out DIR"
        )


def _report(bundle: Bundle, *, as_json: bool) -> None:
    from wearcast.bundle import EnsembleManifest
    from wearcast.cli.output import print_json, print_table, say

    manifest = bundle.manifest
    for note in manifest.data.notes:
        say(f"{manifest.data.name}: {note}")
    if as_json:
        print_json(
            {
                "bundle": str(bundle.path),
                "name": manifest.name,
                "seed": manifest.seed,
                "model": manifest.model,
                "dataset": manifest.data.name,
                "metrics": manifest.metrics,
                "training": manifest.training,
                **({"members": manifest.members} if isinstance(manifest, EnsembleManifest) else {}),
            }
        )
        return
    print_table("On the validation units", ["metric", "value"], list(manifest.metrics.items()))
    if isinstance(manifest, EnsembleManifest):
        figures = list(next(iter(manifest.members.values())))
        rows = [(name, *figure.values()) for name, figure in manifest.members.items()]
        print_table("Members, on units that they had not seen", ["member", *figures], rows)
        say(f"all of them: {manifest.training['models']} models, {manifest.training['latency_ms']} ms a forecast")
    say(f"bundle: {bundle.path}")
    say(f"next:   wearcast evaluate {bundle.path}")
