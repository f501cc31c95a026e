"""`wearcast predict`: forecasts as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wearcast.cli.options import MappingFlags, Split, mapped

if TYPE_CHECKING:
    import polars as pl

    from wearcast.bundle import Bundle
    from wearcast.datasets.portions import Portions

__all__ = ["Format", "predict", "rendered"]

Format = Literal["csv", "parquet", "json"]


@mapped
def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `wearcast train` wrote.")],
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE…", help="Data sets (cmapss/FD001), files, globs or folders.")
    ],
    columns: MappingFlags,
    split: Split = None,
    every: Annotated[
        int | None, typer.Option("--every", min=1, metavar="N", help="Every Nth reading, not only the last one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here; as CSV on stdout unless given.")
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Form of the table; from the name of --out unless given.")
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Read Parquet files some units at a time; unless said, when they are large for memory.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Forecast how long each unit will last.

    One row a unit, at its last reading.

    Files are read with the columns that the bundle was trained with, unless flags say otherwise. Parquet files of more
    than 250 million readings are read some units at a time, with the same result.

    \b
    Example:  wearcast predict runs/pumps new.csv
              wearcast predict runs/fd001 cmapss/FD001 --every 10 --out forecast.parquet
    """  # noqa: D301
    from wearcast.bundle import load_bundle
    from wearcast.cli.output import say
    from wearcast.cli.sources import fleet_for_bundle
    from wearcast.cli.streaming import portions_for_bundle
    from wearcast.writing import write_whole

    form = form or _form_of(out)
    if form == "parquet" and out is None:
        from wearcast.errors import UsageError

        raise UsageError("Parquet is not for a terminal", where="--format parquet", hint="give --out FILE")
    loaded = load_bundle(bundle)
    large = [portions_for_bundle(loaded, source, columns, split, stream) for source in sources]
    if any(large):
        _in_portions(loaded, list(zip(sources, large, strict=True)), columns, split, every, form, out)
        return
    tables = []
    for source in sources:
        fleet, _ = fleet_for_bundle(loaded, source, columns, split, truth=False)
        for note in fleet.notes:
            say(f"{source}: {note.message}")
        tables.append((source, loaded.predict(fleet, every=every).to_frame()))
    content = rendered(_joined(tables), form)
    if out is None:
        sys.stdout.write(content.decode())
    else:
        write_whole(out, content)
        say(f"forecasts: {out}")


def _in_portions(
    bundle: Bundle,
    sources: list[tuple[str, Portions | None]],
    columns: MappingFlags,
    split: str | None,
    every: int | None,
    form: Format,
    out: Path | None,
) -> None:
    """Forecast sources of which at least one is larger than memory."""
    from wearcast.cli.output import say
    from wearcast.cli.sources import fleet_for_bundle
    from wearcast.cli.streaming import forecast_all, scratch_folder, write_parts
    from wearcast.datasets.portions import summed

    with scratch_folder(out) as folder:
        parts = []
        for number, (source, portions) in enumerate(sources):
            place = folder / str(number)
            if portions is None:
                fleet, _ = fleet_for_bundle(bundle, source, columns, split, truth=False)
                notes = forecast_all(bundle, [fleet], every, place, rows=fleet.n_rows)
            else:
                notes = forecast_all(bundle, portions, every, place, rows=portions.n_rows)
            for note in summed([*(portions.notes if portions else ()), *notes]):
                say(f"{source}: {note.message}")
            parts.append((source, place))
        write_parts(parts, form, out, folder)
    if out is not None:
        say(f"forecasts: {out}")


def _form_of(out: Path | None) -> Format:
    if out is None:
        return "csv"
    forms: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".json": "json"}
    if out.suffix.lower() not in forms:
        from wearcast.errors import UsageError

        raise UsageError(
            f"the name does not say the format: {out.suffix or 'no suffix'}",
            where=f"--out {out}",
            hint="end it in .csv, .parquet or .json, or give --format",
        )
    return forms[out.suffix.lower()]


def _joined(tables: list[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """All rows; where there are several sources, the last column says which one each row is from."""
    import polars as pl

    if len(tables) == 1:
        return tables[0][1]
    if len({table["unit"].dtype for _, table in tables}) > 1:
        tables = [(source, table.with_columns(pl.col("unit").cast(pl.String))) for source, table in tables]
    return pl.concat([table.with_columns(source=pl.lit(source)) for source, table in tables], how="vertical_relaxed")


def rendered(table: pl.DataFrame, form: Format) -> bytes:
    """The table as the bytes of a file; JSON is a list of one object a row."""
    import io

    from wearcast.cli.spreadsheets import disarmed, say_disarmed

    buffer = io.BytesIO()
    if form == "csv":
        safe, count = disarmed(table)
        say_disarmed(count)
        safe.write_csv(buffer)
    elif form == "parquet":
        table.write_parquet(buffer)
    else:
        table.write_json(buffer)
        buffer.write(b"\n")
    return buffer.getvalue()
