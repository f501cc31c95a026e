"""`wearcast datasets`: what there is to train on, and whether your own files can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wearcast.cli.options import Json, MappingFlags, mapped

if TYPE_CHECKING:
    from wearcast.datasets.catalogue import Entry
    from wearcast.datasets.quality import Limits

__all__ = ["datasets_app"]

datasets_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, fetch and check data sets.")


@datasets_app.command("list")
def list_sets(as_json: Json = False) -> None:
    """List the data sets that Wearcast knows by name.

    \b
    Example:  wearcast datasets list
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table
    from wearcast.datasets.catalogue import catalogue

    found = catalogue()
    if as_json:
        print_json([entry.to_dict() for entry in found])
        return
    rows = [
        [
            _names(entry.card.name, entry.card.subsets),
            entry.state,
            _size(entry.card.size_bytes),
            entry.card.licence,
            entry.card.summary,
        ]
        for entry in found
    ]
    print_table(None, ["source", "state", "size", "licence", "what it is"], rows)


def _size(size_bytes: int | None) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes else ""


def _names(name: str, subsets: tuple[str, ...]) -> str:
    return "\n".join(f"{name}/{subset}" for subset in subsets) or name


@datasets_app.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as cmapss.")],
    as_json: Json = False,
    as_croissant: Annotated[
        bool, typer.Option("--croissant", help="Describe it as Croissant JSON-LD, for data catalogues.")
    ] = False,
) -> None:
    """Say where a data set comes from, what it holds and what of it is here.

    \b
    Example:  wearcast datasets info cmapss
              wearcast datasets info cmapss --croissant > cmapss.json
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table
    from wearcast.datasets.catalogue import entry
    from wearcast.datasets.croissant import croissant

    found = entry(name)
    if as_croissant:
        print_json(croissant(found.card))
        return
    if as_json:
        print_json(found.to_dict())
        return
    print_table(found.card.title, ["", ""], [[key, value] for key, value in _facts(found).items() if value])
    card = found.card
    if card.descriptions:
        rows = [[column, card.units_of_measure.get(column, ""), text] for column, text in card.descriptions.items()]
        print_table("Columns", ["column", "unit", "what it is"], rows)
    if card.files and found.path is not None:
        print_table("Files here", ["file", "bytes", "SHA-256"], found.content)


def _facts(found: Entry) -> dict[str, object]:
    card = found.card
    return {
        "name": card.name,
        "subsets": ", ".join(card.subsets),
        "summary": card.summary,
        "mind": "\n".join(card.traps),
        "readings": f"{card.rows:,}" if card.rows else None,
        "licence": card.licence,
        "paper": card.citation,
        "publisher": card.publisher,
        "page": card.homepage,
        "published at": "\n".join(url for url in (card.url, *card.mirrors) if url),
        "by hand": card.manual_steps,
        "size": _size(card.size_bytes),
        "not verified": card.unverified,
        "state": found.state,
        "path": found.path,
        "missing": ", ".join(found.missing),
        "fingerprint": found.fingerprint(),
    }


@datasets_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as cmapss.")],
    place: Annotated[
        str | None, typer.Option("--from", metavar="PATH_OR_URL", help="A zip, a folder, a file or another URL.")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask URL/NAME/FILE first. [env: WEARCAST_MIRROR]")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Download nothing. [env: WEARCAST_OFFLINE]", show_default=False)
    ] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far it is.")] = True,
) -> None:
    """Bring a data set into the data folder, checked.

    The data folder is WEARCAST_DATA_DIR, or wearcast in the user's cache folder. A download that breaks goes on where
    it was when the command is run again. HTTPS_PROXY and NO_PROXY are heeded.

    \b
    Example:  wearcast datasets fetch cmapss
              wearcast datasets fetch cmapss --from ~/Downloads/CMAPSSData.zip
    """  # noqa: D301
    from wearcast.cli.output import say
    from wearcast.datasets.fetch import fetch as bring

    with _bar(f"fetching {name}", show=progress) as advance:
        path = bring(name, place, progress=advance, mirror=mirror, offline=True if offline else None)
    say(f"{name} is at {path}")


@contextmanager
def _bar(label: str, *, show: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """A bar of bytes on stderr, on a terminal only."""
    import sys

    if not (show and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    with Progress(TextColumn(label), BarColumn(), DownloadColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@datasets_app.command()
@mapped
def check(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A data set, a file, a pattern with * or a folder.")],
    columns: MappingFlags,
    target: Annotated[
        str | None, typer.Option("--target", help="What is to be learnt: rul, failure, fault or sensor.")
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="COLUMN=LOW:HIGH", help="What is possible; an end may be open. Repeatable."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report with pictures.")
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", metavar="FILE.prom|FILE.json", help="Write figures for Prometheus, or add a line."),
    ] = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="Exit code 3 from this severity on: error, warning or never.")
    ] = "error",
    write_mapping: Annotated[
        Path | None, typer.Option("--write-mapping", metavar="FILE", help="Write the column mapping as YAML.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read a source as training would, and say what is wrong with it, where, and what to do.

    Exit code 3 if something would keep a model from learning.

    \b
    Example:  wearcast datasets check pumps.csv --unit pump --time stamp --sensors flow,pressure
                  --failures failures.csv --write-mapping pumps.yaml --range flow=0:120
              wearcast datasets check cmapss/FD001 --report quality.html
              wearcast datasets check pumps.csv --mapping pumps.yaml --metrics pumps.prom --fail-on warning
    """  # noqa: D301
    from wearcast.cli.output import print_json, say
    from wearcast.cli.quality import kind_of_target, metrics_writer, severities, show
    from wearcast.cli.sources import resolve
    from wearcast.datasets.layouts import LAYOUTS
    from wearcast.datasets.quality import check as examine
    from wearcast.datasets.quality import parse_ranges
    from wearcast.datasets.quality.report import report_html
    from wearcast.errors import require
    from wearcast.writing import write_whole

    if report is not None:
        require("jinja2", extra="report")  # before the work, not after it
    stopping, write_metrics, limits = severities(fail_on), metrics_writer(metrics), parse_ranges(ranges or ())
    dataset = resolve(source, columns)
    yours = dataset.kind in ("files", *LAYOUTS)
    fleet = dataset.load("all" if yours else "train")
    quality = examine(fleet, target=kind_of_target(target, dataset, fleet), ranges=limits)
    if as_json:
        print_json(quality.to_dict())
    else:
        show(quality)
    if report is not None:
        write_whole(report, report_html(quality, fleet).encode())
        say(f"report: {report}")
    if write_metrics is not None:
        write_metrics(quality)
        say(f"metrics: {metrics}")
    if write_mapping is not None:
        _write_mapping(write_mapping, source, columns, limits)
        say(f"mapping: {write_mapping}")
    if quality.worst in stopping:
        raise typer.Exit(3)


def _write_mapping(path: Path, source: str, columns: MappingFlags, limits: dict[str, Limits]) -> None:
    from wearcast.cli.sources import column_mapping
    from wearcast.datasets import FilesDataset, resolve_source
    from wearcast.datasets.mapping import guess
    from wearcast.datasets.opening import open_tables
    from wearcast.errors import UsageError
    from wearcast.writing import write_whole

    if not isinstance(resolve_source(source), FilesDataset):
        raise UsageError(f"{source} knows its columns", where="--write-mapping", hint="a mapping is for files")
    mapping = column_mapping(columns)
    if mapping is None:
        with open_tables([source], None) as (tables, _):
            mapping, _ = guess(tables[0].kinds, str(source))
    mapping = mapping.model_copy(update={"ranges": {**mapping.ranges, **limits}})
    write_whole(path, mapping.to_yaml().encode())
