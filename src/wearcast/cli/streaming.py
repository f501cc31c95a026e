"""Forecasts of files that are larger than memory: some units at a time, the table written whole at the end."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from wearcast.bundle import Bundle
    from wearcast.cli.options import MappingFlags
    from wearcast.cli.predict import Format
    from wearcast.datasets.portions import Portions
    from wearcast.fleet import Fleet
    from wearcast.schema import Note

__all__ = ["forecast_all", "portions_for_bundle", "scratch_folder", "write_parts"]


def portions_for_bundle(
    bundle: Bundle, source: str, columns: MappingFlags, split: str | None, stream: bool | None
) -> Portions | None:
    """The source in portions, where it is too large to be read at once or the user wants it; else None.

    Raises:
        UsageError: the user wants it, and the source is something else than named Parquet files.
        DataError: there is no such source, or a row of it has no unit or time.
    """
    from wearcast.cli.sources import dataset_for_bundle
    from wearcast.datasets import ColumnMapping, FilesDataset
    from wearcast.datasets.portions import LARGE_CELLS
    from wearcast.errors import UsageError

    if stream is False:
        return None
    dataset = dataset_for_bundle(bundle, source, columns)
    if not isinstance(dataset, FilesDataset) or split is not None:
        if stream:
            hint = "name Parquet files, and no --split"
            raise UsageError(f"{source} is not read in portions", where="--stream", hint=hint)
        return None
    mapping = dataset.mapping
    if isinstance(mapping, ColumnMapping) and not ("end_of_life" in columns.given or "failures" in columns.given):
        dataset = dataset.model_copy(update={"mapping": mapping.without_truth()})
    if stream is None and dataset.cells <= LARGE_CELLS:
        return None
    return dataset.portions()


def forecast_all(
    bundle: Bundle, fleets: Iterable[Fleet], every: int | None, folder: Path, *, rows: int
) -> tuple[Note, ...]:
    """Forecast one fleet after the other, each into a file of its own, with a bar on a terminal.

    Args:
        bundle: what forecasts.
        fleets: taken one at a time.
        every: see `Bundle.predict`.
        folder: made for the files.
        rows: of all fleets, for the bar.

    Returns:
        The notes on all of them.

    Raises:
        WearcastError: a row is wrong, or does not fit the model.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    folder.mkdir()
    notes: list[Note] = []
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("rows", total=rows)
        for number, fleet in enumerate(fleets):
            notes += fleet.notes
            bundle.predict(fleet, every=every).to_frame().write_parquet(folder / f"{number:06d}.parquet")
            bar.advance(task, fleet.n_rows)
    return tuple(notes)


@contextmanager
def scratch_folder(out: Path | None) -> Iterator[Path]:
    """A folder beside the file to write, so that what is finished is only renamed; nothing of it is left behind.

    Raises:
        UsageError: the place cannot be written, or the disk is full.
    """
    from wearcast.errors import UsageError

    folder = None
    try:
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
        prefix = ".wearcast." if out is None else f".{out.name}."
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=None if out is None else out.parent))
        yield folder
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"cannot be written: {why}", where=str(out or folder), hint="name another place") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def write_parts(parts: Sequence[tuple[str, Path]], form: Format, out: Path | None, folder: Path) -> None:
    """The forecasts of all portions as one table, to `out` or to stdout.

    Args:
        parts: each source and the folder of its files.
        form: of the table.
        out: where to; None for stdout.
        folder: scratch on the disk of `out`.
    """
    import os

    tables = _tables(parts)
    path = folder / f"table.{form}"
    if form == "parquet":
        import polars as pl

        pl.concat(tables, how="vertical_relaxed").sink_parquet(path)
    else:
        _write_text(tables, form, path)
    if out is None:
        with path.open(encoding="utf-8") as file:
            shutil.copyfileobj(file, sys.stdout)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.chmod(0o644)
    path.replace(out)


def _tables(parts: Sequence[tuple[str, Path]]) -> list[pl.LazyFrame]:
    """What lies in the folders, in order; where there are several sources, the last column says which."""
    import polars as pl

    tables = [(source, pl.scan_parquet(file)) for source, place in parts for file in sorted(place.iterdir())]
    if len(parts) == 1:
        return [table for _, table in tables]
    if len({str(table.collect_schema()["unit"]) for _, table in tables}) > 1:
        tables = [(source, table.with_columns(pl.col("unit").cast(pl.String))) for source, table in tables]
    return [table.with_columns(source=pl.lit(source)) for source, table in tables]


def _write_text(tables: Sequence[pl.LazyFrame], form: Format, path: Path) -> None:
    from wearcast.cli.spreadsheets import disarmed, say_disarmed

    total = 0
    with path.open("wb") as file:
        for number, table in enumerate(tables):
            rows = table.collect()
            if form == "csv":
                rows, count = disarmed(rows)
                total += count
                rows.write_csv(file, include_header=number == 0)
            else:  # one list of all
                objects = rows.write_json().encode()[1:-1]
                file.write((b"[" if number == 0 else b"," if objects else b"") + objects)
        if form == "json":
            file.write(b"]\n")
    say_disarmed(total)
