"""C-MAPSS: run-to-failure simulations of turbofan engines by NASA.

A. Saxena, K. Goebel, D. Simon, N. Eklund, "Damage propagation modeling for aircraft engine run-to-failure
simulation", Int. Conf. on Prognostics and Health Management, 2008. Columns and their units: Table 2 there.

The published `readme.txt` swaps the numbers of training and test engines of FD004; the counts below are the files'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field, ValidationInfo, field_validator

from wearcast.config import Strict
from wearcast.datasets import textfile
from wearcast.datasets.archive import Archive, open_archive
from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.datasets.combine import combine
from wearcast.datasets.location import dataset_dir
from wearcast.errors import FormatError, SourceNotFoundError
from wearcast.fleet import Fleet
from wearcast.schema import Note

__all__ = ["CARD", "SETTINGS", "SUBSETS", "CmapssDataset", "Counts", "Subset", "load_subset", "sensors"]

Subset = Literal["FD001", "FD002", "FD003", "FD004"]

SETTINGS = ("altitude", "mach", "tra")

# name: (unit of measure, what it is), in the order of the files
_COLUMNS = {
    "altitude": ("kft", "altitude"),
    "mach": ("-", "Mach number"),
    "tra": ("deg", "throttle resolver angle"),
    "T2": ("°R", "total temperature at fan inlet"),
    "T24": ("°R", "total temperature at LPC outlet"),
    "T30": ("°R", "total temperature at HPC outlet"),
    "T50": ("°R", "total temperature at LPT outlet"),
    "P2": ("psia", "pressure at fan inlet"),
    "P15": ("psia", "total pressure in bypass duct"),
    "P30": ("psia", "total pressure at HPC outlet"),
    "Nf": ("rpm", "physical fan speed"),
    "Nc": ("rpm", "physical core speed"),
    "epr": ("-", "engine pressure ratio P50/P2"),
    "Ps30": ("psia", "static pressure at HPC outlet"),
    "phi": ("pps/psi", "ratio of fuel flow to Ps30"),
    "NRf": ("rpm", "corrected fan speed"),
    "NRc": ("rpm", "corrected core speed"),
    "BPR": ("-", "bypass ratio"),
    "farB": ("-", "burner fuel-air ratio"),
    "htBleed": ("-", "bleed enthalpy"),
    "Nf_dmd": ("rpm", "demanded fan speed"),
    "PCNfR_dmd": ("rpm", "demanded corrected fan speed"),
    "W31": ("lbm/s", "HPT coolant bleed"),
    "W32": ("lbm/s", "LPT coolant bleed"),
}


def sensors() -> tuple[str, ...]:
    """The 21 sensors in the order of the files."""
    return tuple(column for column in _COLUMNS if column not in SETTINGS)


# SHA-256 of each published file, whatever zip it came in.
_SUMS = {
    "train_FD001.txt": "963b5e22825b34d8b21c69e1aeb4af3e647050eb672ee8834ba4b5d91d2de0f8",
    "train_FD002.txt": "dac6c4dbc4e7c1bdeb5747da3d313d05c395bb99801b44a002b26a2ba13d788f",
    "train_FD003.txt": "2abbe9968cc5e8eb091980f51b20f62bb4127336d3482cb52071d53bf23329e2",
    "train_FD004.txt": "27ef6160b6a1dcb2613a88de9c239f763b223f02cdc41dc5cdedc5dc189b6218",
    "test_FD001.txt": "3cda7109ce17bafb5443f2ac926cfcf88154b941b8c4cf95eb55d1ddd6f52851",
    "test_FD002.txt": "de7b5bf7e998a985c378488480528b7c02cff1406a46740def362dda8d9b4e02",
    "test_FD003.txt": "299babd63c8d987cef079c4a425429f33b3a34797d803bbe2ad48c29dbd0d790",
    "test_FD004.txt": "1dc675fff0624bac10786927c6715b37d1297657137400d2b1a3138d777a3ba5",
    "RUL_FD001.txt": "a19c8ec94931949d0485bdc35118206e9c81c4547b422efb9cf86f4ceddbceca",
    "RUL_FD002.txt": "c851dd96a6ea6998d3c4a8f834d3c8013aa90e93a6ed950dc826ad0655b2906b",
    "RUL_FD003.txt": "df1e0566306b174a2de41c67a3e7a51877889598b78643fc3e5685259091b7cb",
    "RUL_FD004.txt": "196b836b85a95ac7fdbbf29c5fdf1657382eafa445644d114ffaaf50dc2975e1",
}

_KEYS = ("unit", "cycle")


def _file(name: str, sha256: str) -> DataFile:
    truth = name.startswith("RUL_")
    columns = ("rul",) if truth else (*_KEYS, *_COLUMNS)
    return DataFile(
        pattern=name, required=not truth, sha256=sha256, columns=columns, header=False, media_type="text/plain"
    )


CARD = DatasetCard(
    name="cmapss",
    title="NASA C-MAPSS turbofan engine degradation",
    summary="Simulated run-to-failure histories of turbofan engines: 1 or 6 operating conditions, 1 or 2 fault modes.",
    subsets=("FD001", "FD002", "FD003", "FD004"),
    licence="Public domain (work of the United States Government)",
    licence_url="https://www.usa.gov/government-works",
    citation=(
        "A. Saxena, K. Goebel, D. Simon, N. Eklund: Damage propagation modeling for aircraft engine run-to-failure "
        "simulation. International Conference on Prognostics and Health Management, Denver, 2008."
    ),
    publisher="NASA Prognostics Center of Excellence",
    homepage="https://data.nasa.gov/dataset/cmapss-jet-engine-simulated-data",
    url="https://data.nasa.gov/docs/legacy/CMAPSSData.zip",
    mirrors=("https://phm-datasets.s3.amazonaws.com/NASA/6.+Turbofan+Engine+Degradation+Simulation+Data+Set.zip",),
    sha256="74bef434a34db25c7bf72e668ea4cd52afe5f2cf8e44367c55a82bfd91a5a34f",
    size_bytes=12_425_978,
    rows=265_256,
    published="2008",
    files=tuple(_file(name, sha256) for name, sha256 in _SUMS.items()),
    units_of_measure={column: unit for column, (unit, _) in _COLUMNS.items()},
    descriptions={column: text for column, (_, text) in _COLUMNS.items()},
    kinds={"unit": "integer", "cycle": "integer", "rul": "integer"},
    traps=(
        "the readme swaps the numbers of training and test engines of FD004: the files hold 249 and 248",
        "sensors that never change in FD001 and FD003 do change in FD002 and FD004",
        "test errors depend on whether true RULs are capped (usually at 125): compare like with like",
    ),
    manual_steps=(
        "download '6. Turbofan Engine Degradation Simulation Data Set.zip' from NASA's Prognostics Center of "
        "Excellence data repository in a browser, then: wearcast datasets fetch cmapss --from THAT_FILE.zip"
    ),
    unverified=(
        "the licence was not read at NASA; addresses, size and checksums are those that several independent copies "
        "state, and no download was tried"
    ),
)


@dataclass(frozen=True)
class Counts:
    """How many engines and readings each file of a subset holds."""

    train_units: int
    train_rows: int
    test_units: int
    test_rows: int


SUBSETS: dict[Subset, Counts] = {
    "FD001": Counts(100, 20_631, 100, 13_096),
    "FD002": Counts(260, 53_759, 259, 33_991),
    "FD003": Counts(100, 24_720, 100, 16_596),
    "FD004": Counts(249, 61_249, 248, 41_214),
}


class CmapssDataset(Strict):
    """One subset of C-MAPSS, from `<data folder>/cmapss/`: the published zip, or the unpacked files."""

    counts_cycles: ClassVar[bool] = True
    kind: Literal["cmapss"] = "cmapss"
    subset: Subset = Field("FD001", description="FD001, FD003: one operating condition; FD002, FD004: six.")
    also: tuple[Subset, ...] = Field(
        (), description="Other subsets whose training engines are learnt from too; never their test engines."
    )

    @field_validator("also")
    @classmethod
    def _others(cls, also: tuple[Subset, ...], info: ValidationInfo) -> tuple[Subset, ...]:
        if len({*also, info.data.get("subset")}) <= len(also):
            raise ValueError(f"also must name other subsets than {info.data.get('subset')}, each once")
        return also

    @property
    def name(self) -> str:
        """What a user types for it."""
        return f"cmapss/{self.subset}"

    def load(self, split: Literal["train", "test", "all"] = "train") -> Fleet:
        """The training engines (run to failure), the test engines (cut off before it), or both.

        With `all`, the test engines are numbered on after the training engines. Training engines of several subsets are
        numbered on in the order of the subsets' names, so that it does not matter which of them is `subset`.

        Raises:
            SourceNotFoundError: the set is not in the data folder.
            FormatError: a file is truncated, not a number somewhere, or not the published size.
        """
        with open_archive(dataset_dir(CARD.name), f"train_{self.subset}.txt") as archive:
            if split == "test":
                return load_subset(archive, self.subset, split)
            names = sorted({self.subset, *self.also})
            parts = [load_subset(archive, name, "train") for name in names]
            if split == "all":
                parts.append(load_subset(archive, self.subset, "test"))
        name = f"cmapss/{'+'.join(names)}"
        return replace(reduce(_number_on, parts), name=name if split == "all" else f"{name} {split}")


def load_subset(archive: Archive, subset: Subset, split: Literal["train", "test"]) -> Fleet:
    """Read one subset out of an opened zip or folder; see `CmapssDataset.load`."""
    counts = SUBSETS[subset]
    table = _read(archive, subset, split, counts)
    name = f"cmapss/{subset} {split}"
    notes: tuple[Note, ...] = ()
    events: pl.DataFrame | Literal["last_row", "censored"] = "last_row"
    if split == "test":
        try:
            events = _truth(archive, subset, table)
        except SourceNotFoundError:
            events = "censored"
            text = f"RUL_{subset}.txt is not there, so the true end of life of the test engines is not known"
            notes = (Note("truth_missing", counts.test_units, text),)
    fleet = Fleet.from_frame(
        table, unit="unit", cycle="cycle", sensors=sensors(), settings=SETTINGS, events=events, name=name
    )
    schema = fleet.schema.model_copy(update={"units_of_measure": CARD.units_of_measure})
    return replace(fleet, schema=schema).with_notes(*notes)


def _read(archive: Archive, subset: Subset, split: Literal["train", "test"], counts: Counts) -> pl.DataFrame:
    member = f"{split}_{subset}.txt"
    where = archive.where(member)
    table = textfile.read_numbers(archive.read(member), (*_KEYS, *_COLUMNS), whole=_KEYS, where=where)
    units, rows = (counts.train_units, counts.train_rows) if split == "train" else (counts.test_units, counts.test_rows)
    if table.height != rows:
        raise FormatError(
            f"{table.height} rows, but {rows} were published", where=where, hint="the file is cut off or changed"
        )
    found = table["unit"].n_unique()
    if found != units:
        raise FormatError(f"{found} engines, but {units} were published", where=where, hint="the file was changed")
    return table


def _truth(archive: Archive, subset: Subset, table: pl.DataFrame) -> pl.DataFrame:
    member = f"RUL_{subset}.txt"
    truth = textfile.read_numbers(archive.read(member), ("rul",), whole=("rul",), where=archive.where(member))
    last = table.group_by("unit", maintain_order=True).agg(pl.col("cycle").max()).sort("unit")
    if truth.height != last.height:
        raise FormatError(
            f"{truth.height} true RULs for {last.height} test engines",
            where=archive.where(member),
            hint="the file is cut off or of another subset",
        )
    if (truth["rul"] < 0).any():
        raise FormatError("a true RUL is below 0", where=archive.where(member))
    return last.select("unit", (pl.col("cycle") + truth["rul"]).alias("time"), pl.lit("end_of_life").alias("kind"))


def _number_on(first: Fleet, second: Fleet) -> Fleet:
    """Both fleets, the engines of the second numbered on after those of the first."""
    later = pl.col("unit") + first.n_units
    moved = replace(second, frame=second.frame.with_columns(later), events=second.events.with_columns(later))
    return combine(first, moved, name=first.name)
