"""AI4I 2020: a made data set of a milling machine with five failure modes.

S. Matzka, "Explainable Artificial Intelligence for Predictive Maintenance Applications", Third Int. Conf. on
Artificial Intelligence for Industries (AI4I), 2020, pp. 69-74. UCI Machine Learning Repository 601.

A record is not a reading in a history: it is one product with its own operating point, so each record is a unit of
its own (`unit` = UDI) with one reading (cycle 1). What a model may see are the five sensors and the product type;
`Product ID` and UDI number the records, the five modes *cause* `Machine failure`, and so none of them is a feature.

Three traps, counted in the published file: RNF is noise by design (1 in 1000, whatever the sensors say) and 18 of
its 19 records have no `Machine failure`; 9 records have a `Machine failure` without a mode; 23 have several of the
other four modes at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from wearcast.config import Strict
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.location import dataset_dir
from wearcast.datasets.published import check_rows, line_of, read_cells, read_member, read_numbers_strict
from wearcast.errors import FormatError
from wearcast.fleet import Fleet
from wearcast.schema import Note

__all__ = ["CARD", "FAILURES", "MODES", "ROWS", "Ai4iDataset"]

ROWS = 10_000
FAILURES = 339
MODES = ("TWF", "HDF", "PWF", "OSF", "RNF")

_MEMBER = "ai4i2020.csv"
_TYPES = ("L", "M", "H")

# published name: (name here, unit of measure, what it is)
_SENSORS = {
    "Air temperature [K]": ("air_temperature", "K", "air temperature"),
    "Process temperature [K]": ("process_temperature", "K", "process temperature"),
    "Rotational speed [rpm]": ("rotational_speed", "rpm", "rotational speed of the tool"),
    "Torque [Nm]": ("torque", "Nm", "torque of the tool"),
    "Tool wear [min]": ("tool_wear", "min", "time for which the tool has been in use"),
}
_LABELS = {
    "Machine failure": ("machine_failure", "the machine failed for at least one mode (0 or 1)"),
    "TWF": ("TWF", "tool wear failure (0 or 1)"),
    "HDF": ("HDF", "heat dissipation failure (0 or 1)"),
    "PWF": ("PWF", "power failure (0 or 1)"),
    "OSF": ("OSF", "overstrain failure (0 or 1)"),
    "RNF": ("RNF", "random failure: noise by design (0 or 1)"),
}
_HEADER = ("UDI", "Product ID", "Type", *_SENSORS, *_LABELS)
_NAMES = {"Type": "type", **{column: name for column, (name, *_) in (_SENSORS | _LABELS).items()}}

CARD = DatasetCard(
    name="ai4i",
    title="AI4I 2020 predictive maintenance",
    summary="10,000 made records of a milling machine, 339 of them failures of five modes; each record is a unit.",
    licence="CC BY 4.0",
    licence_url="https://creativecommons.org/licenses/by/4.0/",
    citation=(
        "S. Matzka: Explainable Artificial Intelligence for Predictive Maintenance Applications. Third International "
        "Conference on Artificial Intelligence for Industries (AI4I), 2020, pp. 69-74."
    ),
    publisher="UCI Machine Learning Repository",
    homepage="https://archive.ics.uci.edu/dataset/601",
    url="https://archive.ics.uci.edu/static/public/601/ai4i+2020+predictive+maintenance+dataset.zip",
    size_bytes=522_048,
    rows=ROWS,
    published="2020",
    files=(
        DataFile(
            pattern=_MEMBER,
            sha256="dc6630cd9b1f0f853922fad78a1b6436570d3f1ec863f1dd5c4340ac56bc8a8e",
            size_bytes=522_048,
            columns=tuple(_NAMES.get(column, column) for column in _HEADER),
        ),
    ),
    units_of_measure={name: unit for name, unit, _ in _SENSORS.values()},
    descriptions={
        "UDI": "number of the record",
        "Product ID": "letter of the type and a serial number",
        **{name: text for name, _, text in _SENSORS.values()},
        "type": "product quality: L low (60%), M medium (30%), H high (10%)",
        **dict(_LABELS.values()),
        "failure_mode": "the mode as one class: none, TWF, HDF, PWF, OSF, RNF, multiple or unknown",
    },
    kinds={
        **dict.fromkeys(("UDI", *(name for name, _ in _LABELS.values())), "integer"),
        **dict.fromkeys(("Product ID", "type", "failure_mode"), "text"),
    },
    headers={name: column for column, name in _NAMES.items()},
    traps=(
        "the five modes cause the machine failure and the ids number the records: none of them is a feature",
        "RNF is noise by design: 18 of its 19 records have no machine failure",
        "9 records failed without a mode, and 23 have several of TWF, HDF, PWF and OSF at once",
        "a record is no reading in a history: nothing may be read out of the order of the records",
    ),
    manual_steps=(
        "download the zip from https://archive.ics.uci.edu/dataset/601 in a browser, then: "
        "wearcast datasets fetch ai4i --from THAT_FILE.zip"
    ),
)


class Ai4iDataset(Strict):
    """AI4I 2020, from `<data folder>/ai4i/`: the published zip or the file `ai4i2020.csv`.

    Labels: `machine_failure` and the five modes (0 or 1), and `failure_mode`, one class a record: the mode; `multiple`
    if several of TWF, HDF, PWF and OSF happened at once; `RNF` only where it stands alone (beside another mode the
    other counts, for RNF is noise); `unknown` for a machine failure without a mode; else `none`.
    """

    counts_cycles: ClassVar[bool] = True
    kind: Literal["ai4i"] = "ai4i"
    test_share: float = Field(0.2, ge=0, lt=1, description="Share of the records held back, of failures and others.")
    split_seed: int = Field(0, ge=0, description="Another seed holds back other records.")
    expected_rows: int | None = Field(
        ROWS, ge=1, description="Number of records; null for any, which also skips the count of failures."
    )

    @property
    def name(self) -> str:
        """What a user types for it."""
        return "ai4i"

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The records for training, those held back, or all.

        Raises:
            SourceNotFoundError: the set is not in the data folder.
            FormatError: other columns, another number of records or failures, or a cell that cannot be.
        """
        data, where = read_member(dataset_dir(CARD.name), _MEMBER)
        table = _records(read_cells(data, separator=",", where=where), self.expected_rows, where)
        if split != "all":
            table = table.filter(_held_back(table, self.test_share, self.split_seed) == (split == "test"))
        if table.height == 0:
            raise FormatError(f"no record is in the {split} part", where=where, hint="choose another test_share")
        fleet = Fleet.from_frame(
            table,
            unit="UDI",
            cycle="cycle",
            sensors=[name for name, _, _ in _SENSORS.values()],
            statics=["type"],
            labels=[*(name for name, _ in _LABELS.values()), "failure_mode"],
            name="ai4i" if split == "all" else f"ai4i {split}",
        )
        schema = fleet.schema.model_copy(update={"units_of_measure": CARD.units_of_measure})
        return replace(fleet, schema=schema).with_notes(*_notes(table))


def _records(cells: pl.DataFrame, expected_rows: int | None, where: str) -> pl.DataFrame:
    """Checked records under the names used here, with `cycle` and `failure_mode`."""
    _check_header(cells.columns, where)
    check_rows(cells, expected_rows, where=where)
    numbers = read_numbers_strict(cells, ("UDI", *_SENSORS, *_LABELS), where=where)
    for column in _LABELS:
        _refuse(~numbers[column].is_in([0.0, 1.0]), cells[column], "is neither 0 nor 1", where)
    for column in _SENSORS:
        _refuse(numbers[column] < 0, cells[column], "is below 0", where)
    _refuse(~cells["Type"].is_in(_TYPES).fill_null(False), cells["Type"], "is none of L, M, H", where)
    _refuse(numbers["UDI"] != numbers["UDI"].round(), cells["UDI"], "is not a whole number", where)
    _refuse(numbers["UDI"].is_duplicated(), cells["UDI"], "is there twice", where)
    failures = int(numbers["Machine failure"].sum())
    if expected_rows == ROWS and failures != FAILURES:
        raise FormatError(f"{failures} failures, but {FAILURES} were published", where=where, hint="it was changed")
    return numbers.rename({column: name for column, name in _NAMES.items() if column in numbers.columns}).with_columns(
        pl.col("UDI").cast(pl.Int64), pl.lit(1).alias("cycle"), cells["Type"].alias("type"), _mode()
    )


def _check_header(columns: list[str], where: str) -> None:
    missing = [column for column in _HEADER if column not in columns]
    unknown = [column for column in columns if column not in _HEADER]
    if missing or unknown:
        what = f"there is no column {missing[0]!r}" if missing else f"column {unknown[0]!r} was not published"
        raise FormatError(what, where=f"{where}: line 1", hint="is it the file of UCI 601?")


def _refuse(bad: pl.Series, cells: pl.Series, what: str, where: str) -> None:
    if bad.any():
        row = int(bad.arg_true()[0])
        raise FormatError(f"{cells[row]!r} {what}", where=f"{where}: line {line_of(row)}, column {cells.name!r}")


def _mode() -> pl.Expr:
    several = pl.sum_horizontal("TWF", "HDF", "PWF", "OSF") > 1
    cases = [(several, "multiple")]
    cases += [(pl.col(mode) == 1, mode) for mode in MODES]  # RNF comes last: it counts where nothing else does
    cases += [(pl.col("machine_failure") == 1, "unknown"), (pl.lit(True), "none")]
    return pl.coalesce(pl.when(case).then(pl.lit(name)) for case, name in cases).alias("failure_mode")


def _held_back(table: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """Whether each record is held back: the same share of failures and of others, by a hash of seed and UDI.

    A hash and not a generator of random numbers, so that the split is the same on every machine and for ever.
    """
    places = [hashlib.sha256(f"{seed}:{udi}".encode()).digest() for udi in table["UDI"].to_list()]
    ranked = table.select("machine_failure", pl.Series("place", places, pl.Binary)).select(
        pl.col("place").rank("ordinal").over("machine_failure").alias("rank"),
        (pl.len().over("machine_failure") * share).round().alias("take"),
    )
    return (ranked["rank"] <= ranked["take"]).alias("held_back")


def _notes(table: pl.DataFrame) -> tuple[Note, ...]:
    failed, causes = pl.col("machine_failure") == 1, pl.sum_horizontal("TWF", "HDF", "PWF", "OSF")
    found = (
        ("label_without_mode", failed & (causes + pl.col("RNF") == 0), "records failed without any of the five modes"),
        ("mode_without_label", ~failed & (causes + pl.col("RNF") > 0), "records have a mode but no machine failure"),
        ("several_modes", causes > 1, "records have several modes at once: failure_mode calls them 'multiple'"),
    )
    counts = ((kind, int(table.select(which.sum()).item()), text) for kind, which, text in found)
    return tuple(Note(kind, count, f"{count} {text}") for kind, count, text in counts if count)
