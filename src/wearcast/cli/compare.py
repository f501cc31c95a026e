"""`wearcast compare`: several bundles side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wearcast.cli.options import Json, MappingFlags, Source, Split, mapped

__all__ = ["compare"]


@mapped
def compare(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE…", help="Folders that `wearcast train` wrote.")],
    columns: MappingFlags,
    source: Source = None,
    split: Split = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write the leaderboard as a web page too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score several bundles side by side.

    Seeds of one recipe become mean ± sd; recipes are compared on the same units, and told apart only where a
    bootstrap over these units leaves no doubt. Time of training is that of the bundle, time of a forecast is measured.

    \b
    Example:  wearcast compare runs/cmapss-fd001-*
              wearcast compare runs/a runs/b --source cmapss/FD003 --report leaderboard.html
    """  # noqa: D301
    from wearcast.bundle import load_bundle
    from wearcast.cli.evaluate import check_report, fleet_to_judge
    from wearcast.cli.output import print_json, print_rich, say
    from wearcast.evaluation import compare as compare_evaluations
    from wearcast.evaluation import evaluate, measure_cost, write_leaderboard

    if report is not None:
        check_report(report, instead="or leave --report out")
    evaluations, costs = [], []
    for path in bundles:
        bundle = load_bundle(path)
        fleet, chosen = fleet_to_judge(bundle, source, columns, split)
        evaluations.append(evaluate(bundle, fleet, split=chosen))
        costs.append(measure_cost(bundle, fleet))
    comparison = compare_evaluations(evaluations, costs)
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_rich(comparison.table())
    if report is not None:
        say(f"report: {write_leaderboard(comparison, report)}")
