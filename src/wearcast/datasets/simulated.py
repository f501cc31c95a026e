"""Simulated run-to-failure fleets of turbofan engines: the data set that needs no files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from wearcast.config import Strict
from wearcast.datasets.card import DatasetCard
from wearcast.datasets.degradation import FAULT_MODES, SENSORS, SETTINGS, Histories, Stop, simulate
from wearcast.errors import SourceNotFoundError, UsageError, require
from wearcast.fleet import Fleet
from wearcast.schema import Note

__all__ = ["CARD", "SimulatedDataset", "stream_parquet"]

_DESCRIPTIONS = {
    "altitude": "altitude",
    "mach": "Mach number",
    "throttle": "throttle",
    "inlet_temperature": "total temperature at the inlet",
    "fan_outlet_temperature": "total temperature behind the fan",
    "compressor_temperature": "total temperature behind the compressor",
    "compressor_pressure": "pressure behind the compressor",
    "exhaust_temperature": "total temperature behind the turbine",
    "fan_speed": "speed of the fan shaft",
    "core_speed": "speed of the core shaft",
    "bypass_ratio": "air past the core over air through it",
    "fuel_ratio": "fuel flow over compressor pressure",
    "vibration": "velocity of the fan bearing",
    "oil_pressure": "pressure of the oil supply",
    "bleed_valve": "position of the bleed valve",
}

CARD = DatasetCard(
    name="simulated",
    title="Simulated turbofan engine degradation",
    summary=(
        "Turbofan engines that wear until they fail, made on the spot from a seed, not measured on real machines: 1 to "
        "6 operating conditions, 1 to 3 fault modes."
    ),
    licence="Apache-2.0, as Wearcast",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    citation=(
        "Damage propagates after A. Saxena, K. Goebel, D. Simon, N. Eklund: Damage propagation modeling for aircraft "
        "engine run-to-failure simulation. International Conference on Prognostics and Health Management, Denver, 2008."
    ),
    units_of_measure={column.name: column.unit for column in (*SETTINGS, *SENSORS)},
    descriptions=_DESCRIPTIONS,
)

_CHUNK_UNITS = 500
_STREAMS = {"train": 0, "test": 1}
_VALUES = tuple(column.name for column in (*SETTINGS, *SENSORS))
_SCHEMA = pl.Schema({"unit": pl.Int32, "cycle": pl.Int32, **dict.fromkeys(_VALUES, pl.Float32)})


class SimulatedDataset(Strict):
    """A simulated fleet of turbofan engines that wear until they fail.

    Damage propagates after Saxena et al. 2008, see `wearcast.datasets.degradation`. The train split runs to failure
    but for a censored share; histories of the test split are truncated at random ages, their end of life is known.
    Test units are numbered on from the train units, so that no id is in both.

    Example:
        >>> fleet = SimulatedDataset(units=5, seed=1).load("train")
        >>> fleet.n_units
        5
    """

    counts_cycles: ClassVar[bool] = True
    kind: Literal["simulated"] = "simulated"
    units: int = Field(80, ge=1, description="Units of the train split.")
    test_units: int = Field(40, ge=1, description="Units of the test split.")
    conditions: int = Field(1, ge=1, le=6, description="Operating conditions; each cycle takes one at random.")
    fault_modes: int = Field(2, ge=1, le=3, description=f"Fault modes: the first of {', '.join(FAULT_MODES)}.")
    censored_share: float = Field(0.1, ge=0, le=1, description="Share of train units that are still running.")
    noise: float = Field(1.0, ge=0, le=20, description="Scale of the measurement noise.")
    wear_noise: float = Field(0.1, ge=0, le=0.5, description="Standard deviation of the logarithm of the wear rate.")
    typical_life: float = Field(200.0, ge=20, le=5000, description="Median life in cycles, roughly.")
    seed: int = Field(0, ge=0, description="Another seed is another fleet.")

    @property
    def name(self) -> str:
        """What a user types for it."""
        return "simulated"

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """Simulate a split of the fleet.

        Raises:
            UsageError: there is no such split.
        """
        if split not in ("train", "test", "all"):
            raise UsageError(f"no such split: {split!r}", where=self.name, hint="one of train, test, all")
        readings: list[pl.DataFrame] = []
        events: list[pl.DataFrame] = []
        parts: tuple[tuple[Literal["train", "test"], int, int], ...] = (
            ("train", self.units, 1),
            ("test", self.test_units, 1 + self.units),
        )
        for part, count, first in parts:
            if split not in (part, "all"):
                continue
            for start in range(0, count, _CHUNK_UNITS):
                histories = self.histories(part, range(start, min(start + _CHUNK_UNITS, count)))
                readings.append(_readings(histories, first))
                events.append(_events(histories, first, truth=part == "test"))
        name = self.name if split == "all" else f"{self.name} {split}"
        return _fleet(pl.concat(readings), pl.concat(events), name)

    def histories(self, split: Literal["train", "test"], units: range) -> Histories:
        """The histories of some units of a split, with what no sensor shows: health and life.

        Args:
            split: train or test.
            units: indices of the units, from 0; they may lie beyond the number of units.
        """
        stop: Stop = "censored" if split == "train" else "truncated"
        return simulate(
            units,
            stream=(self.seed, _STREAMS[split]),
            stop=stop,
            stop_share=self.censored_share if split == "train" else 1.0,
            conditions=self.conditions,
            fault_modes=self.fault_modes,
            noise=self.noise,
            wear_noise=self.wear_noise,
            typical_life=self.typical_life,
        )


def stream_parquet(
    path: str | Path,
    *,
    rows: int = 10_000_000,
    seed: int | None = None,
    chunk_units: int = _CHUNK_UNITS,
    config: SimulatedDataset | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write at least `rows` simulated readings to one Parquet file, in bounded memory.

    The columns are `unit`, `cycle`, settings and sensors. Units are whole, contiguous and run to failure, so that
    their failures are their last rows; they are the train units of `config` with no censored share. The file appears
    under its name once it is complete.

    Args:
        path: the file; one that is there is replaced.
        rows: least number of rows.
        seed: replaces that of `config`.
        chunk_units: units of a row group; memory grows with it, the data do not depend on it.
        config: what is simulated; its numbers of units are not used.
        progress: called after each row group with the rows written and `rows`.

    Returns:
        The number of rows written.

    Raises:
        SourceNotFoundError: the folder of `path` is not there.
        UsageError: `rows` or `chunk_units` is not positive.
        MissingExtraError: pyarrow is not installed.
    """
    path = Path(path)
    for what, value in (("rows", rows), ("chunk_units", chunk_units)):
        if value < 1:
            raise UsageError(f"{what} must be at least 1, not {value}", where="stream_parquet")
    if not path.parent.is_dir():
        raise SourceNotFoundError("there is no such folder", where=str(path.parent), hint="create it first")
    parquet = require("pyarrow.parquet", extra="train")
    changes = {"censored_share": 0.0} if seed is None else {"censored_share": 0.0, "seed": seed}
    dataset = SimulatedDataset.model_validate({**(config or SimulatedDataset()).model_dump(), **changes})

    part, written = path.with_name(f".{path.name}.{os.getpid()}.part"), 0
    try:
        with parquet.ParquetWriter(part, _SCHEMA.to_frame().to_arrow().schema, use_dictionary=["unit"]) as writer:
            for chunk in _chunks(dataset, rows, chunk_units):
                writer.write_table(chunk.to_arrow(), row_group_size=chunk.height)
                written += chunk.height
                if progress is not None:
                    progress(written, rows)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return written


def _fleet(readings: pl.DataFrame, events: pl.DataFrame, name: str) -> Fleet:
    fleet = Fleet.from_frame(
        readings,
        unit="unit",
        cycle="cycle",
        sensors=[sensor.name for sensor in SENSORS],
        settings=[setting.name for setting in SETTINGS],
        events=events,
        name=name,
    )
    schema = fleet.schema.model_copy(update={"units_of_measure": CARD.units_of_measure})
    message = f"{fleet.n_units} units are simulated (after Saxena et al. 2008), not measured on real machines"
    return replace(fleet, schema=schema).with_notes(Note("simulated", fleet.n_units, message))


def _chunks(dataset: SimulatedDataset, rows: int, chunk_units: int) -> Iterator[pl.DataFrame]:
    """Readings of as few whole units as make up `rows`."""
    start, left = 0, rows
    while left > 0:
        histories = dataset.histories("train", range(start, start + chunk_units))
        ends = np.cumsum(histories.stop)
        full = min(int(np.searchsorted(ends, left)), chunk_units - 1)
        chunk = _readings(histories, 1).head(int(ends[full]))
        yield chunk
        start, left = start + chunk_units, left - chunk.height


def _readings(histories: Histories, first: int) -> pl.DataFrame:
    """One row a reading; the unit with index 0 is called `first`."""
    unit = (histories.row_index + first).astype(np.int32)
    values = {column: np.ascontiguousarray(histories.values[:, i]) for i, column in enumerate(_VALUES)}
    return pl.DataFrame({"unit": unit, "cycle": histories.cycle, **values}, schema=_SCHEMA)


def _events(histories: Histories, first: int, *, truth: bool) -> pl.DataFrame:
    """The ends of life: all of them where the truth is told, else of the units that were seen to fail."""
    known = truth | (histories.stop == histories.life)
    return pl.DataFrame(
        {
            "unit": histories.index[known] + first,
            "time": histories.life[known],
            "kind": np.repeat("end_of_life", int(known.sum())),
            "mode": np.array(FAULT_MODES)[histories.mode[known]],
        },
        schema={"unit": pl.Int64, "time": pl.Int64, "kind": pl.String, "mode": pl.String},
    )
