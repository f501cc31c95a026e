"""`wearcast select`: which model is best for these data, within a budget of time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wearcast.cli.options import Json, MappingFlags, Overrides, Seed, Workers, mapped

__all__ = ["select"]


@mapped
def select(
    source: Annotated[str, typer.Argument(metavar="DATASET", help="A data set (cmapss/FD001), a file or a folder.")],
    columns: MappingFlags,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="What it may take in all, such as 90s, 20m or 1h.")
    ] = "20m",
    target: Annotated[
        str | None, typer.Option("--target", help="rul, failure, fault or sensor; its details by --set target.…")
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", metavar="A,B,…", help="Only these: recipes, or kinds such as lightgbm.")
    ] = None,
    overrides: Overrides = None,
    folds: Annotated[
        int, typer.Option("--folds", min=2, max=20, help="Folds of units; networks are trained once a fold.")
    ] = 5,
    seed: Seed = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of the selection; else runs/select-DATASET."),
    ] = None,
    workers: Workers = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far it is.")] = True,
    as_json: Json = False,
) -> None:
    """Find the best model for your data.

    Tries the shipped recipes that fit, cheapest first, then an ensemble of them, each on the same folds of the training
    units; the test units are not read. What would not fit into the rest of the budget is not begun. A selection
    that was interrupted, or is given a larger budget, goes on.

    \b
    Example:  wearcast select cmapss/FD001 --budget 10m
              wearcast select pumps.csv --mapping pumps.yaml --budget 1h --out runs/pumps
              wearcast select pumps.csv --mapping pumps.yaml --target failure --set target.horizon=48
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_rich, say
    from wearcast.cli.sources import resolve
    from wearcast.errors import MissingExtraError
    from wearcast.evaluation import write_leaderboard
    from wearcast.training.budget import parse_duration
    from wearcast.training.candidates import find_candidates
    from wearcast.training.selection import select as run_selection
    from wearcast.training.workers import threads_at_hand

    seconds = parse_duration(budget)
    dataset = resolve(source, columns)
    names = tuple(name.strip() for name in (models or "").split(",") if name.strip())
    candidates, unfit = find_candidates(
        dataset, source=source, target=target, models=names, assignments=overrides or (), seed=seed or 0
    )
    place = out or Path("runs") / f"select-{dataset.name.replace('/', '-').lower()}"
    tried = ", ".join(candidate.recipe for candidate in candidates)
    say(f"{len(candidates)} candidates on {dataset.name}, {seconds:g} s in all: {tried}")
    found = run_selection(
        candidates, seconds=seconds, out=place, unfit=unfit, folds=folds, seed=seed or 0, say=say, progress=progress,
        workers=workers or threads_at_hand(),
    )  # fmt: skip
    if as_json:
        told = {"bundle": str(found.bundle.path), "comparison": found.comparison.to_dict()}
        print_json({**found.board.model_dump(mode="json"), **told})
    else:
        print_rich(found.comparison.table())
        for sentence in found.board.why:
            typer.echo(sentence)
    try:
        say(f"leaderboard: {write_leaderboard(found.comparison, place / 'leaderboard.html')}")
    except MissingExtraError as error:
        say(f"no leaderboard as a page: {error}")
    say(f"bundle: {found.bundle.path}")
    say(f"next:   wearcast evaluate {found.bundle.path}")
