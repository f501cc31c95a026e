"""The files of batch jobs: what was sent, portions of the result, the result. Each is whole or not there.

<folder>/<job>/body           what was sent, as it came
               input.arrow    the same, checked and sorted by unit and time
               part-00000…    forecasts of a portion of the units
               result.parquet all of them; result.csv … are made of it when somebody asks
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from wearcast.service.answers import Scored
from wearcast.service.problems import Problem

__all__ = ["FORMS", "JobFiles", "ResultForm"]

ResultForm = Literal["parquet", "arrow", "csv", "jsonl"]
FORMS: tuple[ResultForm, ...] = ("parquet", "arrow", "csv", "jsonl")

BODY, INPUT, RESULT = "body", "input.arrow", "result.parquet"
PARTIAL = ".partial"


@dataclass(frozen=True)
class JobFiles:
    """The folder of all jobs.

    Attributes:
        folder: where it is.
        budget_bytes: how much all jobs may take of the disk.
    """

    folder: Path
    budget_bytes: int

    def of(self, id: str) -> Path:
        """The folder of a job."""
        return self.folder / id

    def used(self) -> int:
        """Bytes that all jobs take."""
        total = 0
        for path, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += (Path(path) / name).stat().st_size
                except OSError:  # somebody else has just removed it
                    continue
        return total

    def check_room(self, more: int) -> None:
        """Make sure that so many bytes more fit.

        Raises:
            Problem: `storage-full`.
        """
        if self.used() + more > self.budget_bytes:
            raise _full()

    def remove(self, id: str) -> None:
        """Remove all that is kept of a job."""
        shutil.rmtree(self.of(id), ignore_errors=True)

    def remove_strays(self, known: set[str], *, older_s: float, now: float) -> None:
        """Remove folders that belong to no job: what a kill between two steps has left."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            try:
                stray = path.name not in known and path.stat().st_mtime < now - older_s
            except OSError:
                continue
            if stray:
                shutil.rmtree(path, ignore_errors=True)

    # ------------------------------------------------------------------ writing

    def write_input(self, id: str, table: pl.DataFrame) -> None:
        """Keep what was sent, checked and sorted."""
        with whole(self.of(id) / INPUT) as path:
            table.write_ipc(path, compression="uncompressed")  # so that it is mapped, not read
        (self.of(id) / BODY).unlink(missing_ok=True)

    def read_input(self, id: str) -> pl.DataFrame | None:
        """What was sent; None if it is not read yet."""
        path = self.of(id) / INPUT
        return pl.read_ipc(path) if path.exists() else None

    def write_part(self, id: str, number: int, parts: Sequence[Scored]) -> int:
        """Keep the forecasts of a portion.

        Returns:
            How many there are.
        """
        tables = [pl.DataFrame(_flat(part.columns), strict=False) for part in parts]
        table = pl.concat(tables, how="vertical_relaxed")
        with whole(self._part(id, number)) as path:
            table.write_parquet(path)
        return table.height

    def parts(self, id: str) -> int:
        """How many portions are there, from the first on without a gap."""
        number = 0
        while self._part(id, number).exists():
            number += 1
        return number

    def drop_parts(self, id: str) -> None:
        """Begin anew."""
        for path in self.of(id).glob("part-*"):
            path.unlink(missing_ok=True)

    def join(self, id: str, parts: int) -> None:
        """Make the result of its portions, and remove what it was made of."""
        tables = [pl.scan_parquet(self._part(id, number)) for number in range(parts)]
        with whole(self.of(id) / RESULT) as path:
            pl.concat(tables, how="vertical_relaxed").sink_parquet(path)
        self.drop_parts(id)
        (self.of(id) / INPUT).unlink(missing_ok=True)

    def result(self, id: str, form: ResultForm) -> Path | None:
        """The result in this form, made now if nobody has asked for it before; None if it is there no more.

        Raises:
            Problem: `storage-full`.
        """
        source = self.of(id) / RESULT
        if not source.exists():
            return None
        path = source.with_suffix(f".{form}")
        if not path.exists():
            self.check_room(4 * source.stat().st_size)
            with whole(path) as scratch:
                _sinks(pl.scan_parquet(source), scratch)[form]()
        return path

    def _part(self, id: str, number: int) -> Path:
        return self.of(id) / f"part-{number:05d}.parquet"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write under, which becomes `path` when all of it is on the disk.

    Raises:
        Problem: `storage-full`: the disk is.
    """
    scratch = path.with_name(path.name + PARTIAL)
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full() from error
        raise
    finally:
        scratch.unlink(missing_ok=True)


def _sinks(table: pl.LazyFrame, path: Path) -> dict[ResultForm, Callable[[], Any]]:
    return {
        "parquet": lambda: table.sink_parquet(path),
        "arrow": lambda: table.sink_ipc(path, compat_level=pl.CompatLevel.oldest()),
        "csv": lambda: table.sink_csv(path),
        "jsonl": lambda: table.sink_ndjson(path),
    }


def _flat(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Flags joined by `;`, as `wearcast predict` writes them."""
    return {**columns, "flags": [";".join(flags) for flags in columns["flags"]]}


def _full() -> Problem:
    return Problem("storage-full", "there is no room for more batch jobs now", retry_after_s=600)
