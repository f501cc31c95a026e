"""`wearcast evaluate`: how right a bundle's forecasts are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wearcast.cli.options import Json, MappingFlags, Source, Split, mapped

if TYPE_CHECKING:
    from wearcast.bundle import Bundle
    from wearcast.evaluation import AnyEvaluation
    from wearcast.fleet import Fleet

__all__ = ["check_report", "evaluate", "evaluate_bundle", "fleet_to_judge", "write_files"]


@mapped
def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `wearcast train` wrote.")],
    columns: MappingFlags,
    source: Source = None,
    split: Split = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.html", help="The report; report.html in the bundle unless given."),
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no files, only print.")] = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also measure what missing, stuck and noisy sensors do to it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score a bundle and write its report.

    The units are the test split of its data set, which it was not trained on, or those of --source.

    Where the end of life of the units is not known, nothing is scored; the forecasts are written all the same.

    \b
    Example:  wearcast evaluate runs/cmapss-fd001-cnn-bilstm-seed1
              wearcast evaluate runs/pumps --source new.csv --failures failures.csv --json
              wearcast evaluate runs/pumps --robustness
    """  # noqa: D301
    from wearcast.bundle import load_bundle
    from wearcast.cli.output import print_json, print_rich, say
    from wearcast.evaluation import evaluate as score
    from wearcast.evaluation import measure_robustness

    loaded = load_bundle(bundle)
    page = report or loaded.path / "report.html"
    if not no_report:
        check_report(page)
    fleet, chosen = fleet_to_judge(loaded, source, columns, split)
    evaluation = score(loaded, fleet, split=chosen, seed=loaded.manifest.seed)
    borne = measure_robustness(loaded, fleet) if robustness else None
    if as_json:
        print_json(evaluation.to_dict() | ({"robustness": borne.to_dict()} if borne else {}))
    else:
        print_rich(evaluation.table(), *([borne.table()] if borne else []))
    if evaluation.truth != "known":
        say(evaluation.truth_note)
    if not no_report:
        page, table = write_files(loaded, evaluation, page)
        say(f"report:    {page}")
        say(f"forecasts: {table}")


def evaluate_bundle(bundle: Bundle, source: str | None, columns: MappingFlags, split: str | None) -> AnyEvaluation:
    """Score a bundle on its own data set, or on another one."""
    from wearcast.evaluation import evaluate as score

    fleet, chosen = fleet_to_judge(bundle, source, columns, split)
    return score(bundle, fleet, split=chosen, seed=bundle.manifest.seed)


def fleet_to_judge(bundle: Bundle, source: str | None, columns: MappingFlags, split: str | None) -> tuple[Fleet, str]:
    """The units that a bundle is judged on and which split they are; what is noteworthy of them is said."""
    from wearcast.cli.output import say
    from wearcast.cli.sources import fleet_for_bundle
    from wearcast.datasets.quality.findings import some

    fleet, chosen = fleet_for_bundle(bundle, source, columns, split, truth=True)
    for note in fleet.notes:
        say(f"{fleet.name}: {note.message}")
    if seen := bundle.manifest.data.units_seen(fleet):
        which = "the units" if len(seen) == fleet.n_units else f"{len(seen)} of {fleet.n_units} units ({some(seen, 3)})"
        say(f"warning: {bundle.manifest.model} was trained on {which} of {fleet.name}; the figures flatter it")
    return fleet, chosen


def write_files(bundle: Bundle, evaluation: AnyEvaluation, report: Path) -> tuple[Path, Path]:
    """The HTML report, and beside it the forecast of each unit at its last reading as CSV.

    Raises:
        UsageError: the report's name does not end in .html, or its place cannot be written.
        MissingExtraError: the packages of the report are not installed.
    """
    from wearcast.cli.predict import rendered
    from wearcast.evaluation import write_report
    from wearcast.writing import write_whole

    check_report(report)
    table = report.with_name("forecast.csv" if report.stem == "report" else f"{report.stem}.csv")
    write_whole(table, rendered(evaluation.latest.to_frame(), "csv"))
    return write_report(evaluation, bundle, report), table


def check_report(report: Path, *, instead: str = "or give --no-report") -> None:
    """Stop before the work where the report could not be written after it."""
    from wearcast.errors import MissingExtraError, UsageError, require

    if report.suffix.lower() not in (".html", ".htm"):
        raise UsageError("the report is a web page", where=f"--report {report}", hint="end its name in .html")
    try:
        for module in ("jinja2", "matplotlib"):
            require(module, extra="report")
    except MissingExtraError as error:
        raise MissingExtraError(error.what, where="the report", hint=f"{error.hint}, {instead}") from error
