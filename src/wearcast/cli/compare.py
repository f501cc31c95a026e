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
    as_json: Json = False,
) -> None:
    """Score several bundles side by side.

    Seeds of one recipe become mean ± sd; recipes are compared on the same units.

    \b
    Example:  wearcast compare runs/cmapss-fd001-*
              wearcast compare runs/a runs/b --source cmapss/FD003 --json
    """  # noqa: D301
    from wearcast.bundle import load_bundle
    from wearcast.cli.evaluate import evaluate_bundle
    from wearcast.cli.output import print_json, print_rich
    from wearcast.errors import UsageError
    from wearcast.evaluation import Evaluation
    from wearcast.evaluation import compare as compare_evaluations

    evaluations = [evaluate_bundle(load_bundle(path), source, columns, split) for path in bundles]
    lives = [evaluation for evaluation in evaluations if isinstance(evaluation, Evaluation)]
    if len(lives) < len(evaluations):
        raise UsageError(
            "only models of remaining useful life are compared so far",
            hint="print the figures of another target with `wearcast evaluate BUNDLE --json`",
        )
    comparison = compare_evaluations(lives)
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_rich(comparison.table())
