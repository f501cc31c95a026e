"""Data sets: published ones, the simulator and the user's own files, all loaded as a fleet."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from wearcast.config import nearest
from wearcast.datasets.ai4i import Ai4iDataset
from wearcast.datasets.catalogue import SETS
from wearcast.datasets.cmapss import CmapssDataset
from wearcast.datasets.elevator import ElevatorDataset
from wearcast.datasets.etth1 import Etth1Dataset
from wearcast.datasets.files import FilesDataset
from wearcast.datasets.layouts import LAYOUTS, Layout, is_layout, resolve_layout
from wearcast.datasets.lookout import LookoutDataset
from wearcast.datasets.mapping import ColumnMapping, FailureTable
from wearcast.datasets.metropt import MetroptDataset
from wearcast.datasets.recordings import RecordingsDataset
from wearcast.datasets.simulated import SimulatedDataset
from wearcast.datasets.skf import SkfDataset
from wearcast.datasets.sqltable import check_url, is_url
from wearcast.errors import SourceNotFoundError, UsageError
from wearcast.fleet import Fleet

__all__ = [
    "CmapssDataset",
    "ColumnMapping",
    "Dataset",
    "FailureTable",
    "FilesDataset",
    "Layout",
    "SimulatedDataset",
    "Split",
    "is_layout",
    "load_dataset",
    "resolve_layout",
    "resolve_source",
]

Split = Literal["train", "test", "all"]

Declared = SimulatedDataset | CmapssDataset | Ai4iDataset | ElevatorDataset | MetroptDataset | SkfDataset | Etth1Dataset
"""Every data set that has a name of its own."""

Dataset = Annotated[Declared | FilesDataset | RecordingsDataset | LookoutDataset, Field(discriminator="kind")]
"""Every data set that an experiment can name, told apart by `kind`."""

_DECLARED: dict[str, Declared] = {
    variant.name: variant for declared in SETS for variant in declared.variants if isinstance(variant, Declared)
}


def load_dataset(
    source: str | Path, split: Split = "train", mapping: ColumnMapping | str | Path | None = None
) -> Fleet:
    """Load a data set as a fleet.

    Args:
        source: a data set such as `simulated` or `cmapss/FD001`, a file, a folder, a pattern with `*`, a database's
            URL, or a layout and its path such as `lookout:pump-7?labels=labels.csv`.
        split: `train`, `test` or `all` units.
        mapping: roles of the columns of files, or a YAML file of them; guessed where names are plain if not given.

    Raises:
        DataError: the set is not there, or damaged; the message has the file, and the row and column if there is one.
        UsageError: no such split, a mapping for a declared set, or columns that cannot be guessed.

    Example:
        >>> load_dataset("simulated").schema.time_unit
        'cycle'
    """
    if split not in get_args(Split):
        raise UsageError(f"no such split: {split!r}", hint=f"one of {', '.join(get_args(Split))}")
    return resolve_source(source, mapping).load(split)


def resolve_source(
    source: str | Path, mapping: ColumnMapping | str | Path | None = None
) -> Declared | FilesDataset | Layout:
    """Find the data set that a user means; nothing is read but the mapping.

    Raises:
        SourceNotFoundError: there is no such set or file; the nearest spelling is offered.
        UsageError: a connection URL that is not read, or a mapping for a set that knows its columns.
        ConfigError: a key or a value that a layout does not have.
    """
    text = str(source)
    found: Declared | Layout | None = None
    if not isinstance(source, Path):
        found = resolve_layout(text) if is_layout(text) else _DECLARED.get(text.strip("/"))
    if found is not None:
        if mapping is not None:
            raise UsageError(f"{text} has its own columns: a mapping is for files", hint="leave the mapping out")
        return found
    if is_url(text):
        check_url(text)
    elif not Path(text).expanduser().exists() and not glob.has_magic(text):
        raise _unknown(text)
    if mapping is not None and not isinstance(mapping, ColumnMapping):
        mapping = ColumnMapping.from_yaml(mapping)
    return FilesDataset(source=text, mapping=mapping)


def _unknown(text: str) -> SourceNotFoundError:
    layout, colon, _ = text.partition(":")
    if colon and (near := nearest(layout, LAYOUTS)):
        return SourceNotFoundError("no such layout", where=text, hint=near)
    family = [name for name in _DECLARED if name.startswith(f"{text.strip('/').lower()}/")]
    if family:
        return SourceNotFoundError(f"{text} has parts", hint=f"one of {', '.join(family)}")
    lowered = {name.lower(): name for name in _DECLARED}
    close = lowered.get(text.lower())
    hint = f"did you mean {close!r}?" if close else nearest(text, _DECLARED)
    if hint is None or Path(text).suffix:
        folder = Path(text).expanduser().parent
        beside = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        hint = hint or nearest(Path(text).name, beside)
        known = f"known data sets are {', '.join(_DECLARED)}"
        return SourceNotFoundError("no such data set, file or folder", where=text, hint=hint or known)
    return SourceNotFoundError("no such data set, file or folder", where=text, hint=hint)
