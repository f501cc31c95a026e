"""From a SOURCE and the mapping flags of the command line to a data set or a fleet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from wearcast.cli.options import MappingFlags

if TYPE_CHECKING:
    from wearcast.bundle import Bundle
    from wearcast.config.document import Document, Place, Trail
    from wearcast.datasets import Dataset
    from wearcast.datasets.mapping import ColumnMapping
    from wearcast.fleet import Fleet

__all__ = ["column_mapping", "dataset_for_bundle", "dataset_record", "fleet_for_bundle"]

_LISTS = ("sensors", "settings", "statics", "labels")
# A flag for one of these takes the place of all of them in the mapping below it.
_ROWS = ("table", "query")
_AXIS = ("cycle", "time", "time_unit", "time_format")


def column_mapping(columns: MappingFlags, base: ColumnMapping | None = None) -> ColumnMapping | None:
    """The mapping that the flags and `--mapping` say, over `base`; `base` where they say nothing.

    Raises:
        ConfigError: a wrong key or value, with the flag or the file and line.
        UsageError: two flags contradict each other, or no column names the unit.
    """
    if not columns:
        return base
    from wearcast.config.checking import parse
    from wearcast.datasets.mapping import ColumnMapping
    from wearcast.errors import UsageError

    document = _said(columns, _below(columns, base))
    if "unit" not in document.data and set(document.data) <= set(ColumnMapping.model_fields):
        raise UsageError("which column names the unit?", hint="say it with --unit COLUMN or in --mapping FILE")
    return parse(ColumnMapping, document)


def _below(columns: MappingFlags, base: ColumnMapping | None) -> Document:
    """What the flags are laid over: the mapping file, else `base`."""
    from wearcast.config.document import Document, read

    if columns.mapping is None:
        data = {} if base is None else base.model_dump(mode="json", exclude_defaults=True)
        return Document(data)
    document = read(columns.mapping)
    ends = document.data.get("end_of_life")
    if not (isinstance(ends, dict) and isinstance(ends.get("failures"), str)):
        return document
    table = columns.mapping.parent / Path(ends["failures"]).expanduser()  # a path in a file is relative to the file
    return Document({**document.data, "end_of_life": {**ends, "failures": str(table)}}, document.places)


def _said(columns: MappingFlags, below: Document) -> Document:
    from wearcast.config.document import Document, Place
    from wearcast.errors import UsageError

    given = columns.given
    if "cycle" in given and ("time" in given or "time_unit" in given):
        raise UsageError("the time axis is one column: give --cycle, or --time and --time-unit")
    if "failures" in given and "end_of_life" in given:
        raise UsageError("give --failures FILE or --end-of-life, not both")
    axis = _AXIS if "cycle" in given else ("cycle",) if "time" in given else ()
    if not set(_ROWS).isdisjoint(given):
        axis = (*axis, *_ROWS)
    data: dict[str, Any] = {key: value for key, value in below.data.items() if key not in axis}
    places: dict[Trail, Place] = {**below.places, (): below.places.get((), Place("the flags"))}
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')} {value}"
        key = "end_of_life" if name == "failures" else name
        data[key] = _value(name, value, data.get("end_of_life"))
        places = {trail: place for trail, place in places.items() if trail[:1] != (key,)} | {(key,): Place(flag)}
    return Document(data, places)


def _value(name: str, text: str, ends: object) -> Any:
    if name == "failures":
        # The file's own words on the columns of the table still hold for another table.
        return {**(ends if isinstance(ends, dict) and "failures" in ends else {}), "failures": text}
    if name == "sensors" and text == "rest":
        return text
    return _names(text) if name in _LISTS else text


def _names(text: str) -> list[str]:
    """The names between the commas; one that holds a comma itself stands in double quotes, as in CSV."""
    import csv

    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), []) if name.strip()]


def dataset_record(source: str | None, columns: MappingFlags) -> tuple[str, dict[str, Any]] | None:
    """Where it was said and what replaces the recipe's data set; None where the recipe's own is meant.

    Raises:
        UsageError: columns are mapped but no file is given.
        DataError: there is no such source.
    """
    if source is None:
        _refuse_flags(columns, "give the file too: --source FILE")
        return None
    return f"--source {source}", resolve(source, columns).model_dump(mode="json")


def resolve(source: str, columns: MappingFlags, base: ColumnMapping | None = None) -> Dataset:
    """The data set that a source names.

    Raises:
        UsageError: nothing is named, or columns are mapped for a set that knows its own.
        DataError: there is no such source.
    """
    from wearcast.datasets import FilesDataset, resolve_source
    from wearcast.errors import UsageError

    if not source.strip():
        raise UsageError("the name of the source is empty", hint="a data set, a file, a pattern with * or a folder")
    dataset = resolve_source(source)
    if not isinstance(dataset, FilesDataset):
        _refuse_flags(columns, f"{dataset.name} knows its columns")
        return dataset
    return dataset.model_copy(update={"mapping": column_mapping(columns, base)})


def _refuse_flags(columns: MappingFlags, hint: str) -> None:
    if columns:
        from wearcast.errors import UsageError

        flags = [f"--{name.replace('_', '-')}" for name in columns.given] + ["--mapping"] * (
            columns.mapping is not None
        )
        raise UsageError(f"{flags[0]} maps the columns of files, and there is no file", hint=hint)


def dataset_for_bundle(bundle: Bundle, source: str | None, columns: MappingFlags) -> Dataset:
    """The data set to forecast: the bundle's own, or another one read as the bundle's own files were.

    Raises:
        UsageError: columns are mapped but no file is given.
        DataError: there is no such source.
    """
    from wearcast.datasets import FilesDataset, Layout, is_layout, resolve_layout

    own = _own_dataset(bundle)
    if source is None:
        _refuse_flags(columns, "give the file too: --source FILE")
        return own
    if source == own.name and not isinstance(own, FilesDataset):
        _refuse_flags(columns, f"{own.name} knows its columns")
        return own  # with the experiment's own parameters, such as the number of simulated units
    if is_layout(source) and isinstance(own, Layout):
        _refuse_flags(columns, f"{own.name} knows its columns")
        return resolve_layout(source, like=own)
    return resolve(source, columns, _mapping_of(own) if isinstance(own, FilesDataset) else None)


def _own_dataset(bundle: Bundle) -> Dataset:
    """What the bundle was trained on. The rest of its experiment may be of an older Wearcast, and is not needed."""
    from pydantic import create_model

    from wearcast.config import Strict
    from wearcast.config.checking import parse
    from wearcast.config.inheritance import from_mapping
    from wearcast.datasets import Dataset

    record = from_mapping({"dataset": bundle.manifest.experiment.get("dataset")}, f"{bundle.path}/bundle.json")
    own = parse(create_model("Own", __base__=Strict, dataset=(Dataset, ...)), record)
    return cast("Dataset", own.dataset)  # type: ignore[attr-defined]


def _mapping_of(own: Any) -> ColumnMapping | None:
    from wearcast.datasets.mapping import ColumnMapping

    mapping = own.mapping
    return ColumnMapping.from_yaml(mapping) if isinstance(mapping, str) else mapping


def fleet_for_bundle(
    bundle: Bundle, source: str | None, columns: MappingFlags, split: str | None, *, truth: bool
) -> tuple[Fleet, str]:
    """The units to forecast, and which split they are.

    Args:
        bundle: what will forecast them.
        source: another data set or file than the bundle's own.
        columns: how the columns of files are mapped, over the mapping of the bundle.
        split: train, test or all; unless given, the test split of a data set, and all of files that are named.
        truth: whether the end of life matters; if not, a mapping that asks for a table of failures does not need it.

    Raises:
        WearcastError: the source, its columns or its rows are wrong.
    """
    from wearcast.datasets import FilesDataset, is_layout
    from wearcast.datasets.lookout import LookoutDataset
    from wearcast.errors import UsageError

    if split not in (None, "train", "test", "all"):
        raise UsageError(f"no such split: {split!r}", where="--split", hint="one of train, test, all")
    dataset = dataset_for_bundle(bundle, source, columns)
    chosen = split or ("all" if source is not None and is_layout(source) else "test")
    if isinstance(dataset, LookoutDataset) and not truth:
        dataset = dataset.without_absent_ranges()
    if isinstance(dataset, FilesDataset) and source is not None:
        mapping = dataset.mapping
        asked = "end_of_life" in columns.given or "failures" in columns.given
        if not truth and not asked and mapping is not None and not isinstance(mapping, str):
            mapping = mapping.without_truth()
        update: dict[str, Any] = {"mapping": mapping}
        if split is None:
            # As test files: the table of failures may then name units that these files do not hold.
            update["test_source"] = dataset.source
            fleet = dataset.model_copy(update=update).load("test")
            return replace(fleet, name=dataset.name), "all"  # to the person who named the file it is no test split
        dataset = dataset.model_copy(update=update)
    return dataset.load(cast(Literal["train", "test", "all"], chosen)), chosen
