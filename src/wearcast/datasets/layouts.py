"""Sources that name their layout before the path: `lookout:pump-7?labels=labels.csv&ranges=lives`.

What follows the question mark are keys of the data set and their values, `&` between them, commas within lists.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from wearcast.config.checking import complaint
from wearcast.config.document import Document, Place, Trail
from wearcast.datasets.lookout import LookoutDataset
from wearcast.datasets.recordings import RecordingsDataset
from wearcast.errors import UsageError

__all__ = ["LAYOUTS", "Layout", "is_layout", "resolve_layout"]

Layout = LookoutDataset | RecordingsDataset
LAYOUTS: dict[str, type[LookoutDataset] | type[RecordingsDataset]] = {
    "lookout": LookoutDataset,
    "recordings": RecordingsDataset,
}
"""What stands before the colon, and what it is read as."""
_LISTS = ("channels", "test_recordings")


def is_layout(source: str) -> bool:
    """Whether a source names a layout and a path."""
    return source.partition(":")[0] in LAYOUTS and ":" in source


def resolve_layout(source: str, like: Layout | None = None) -> Layout:
    """The data set that such a source names.

    Args:
        source: `lookout:PATH` or `recordings:PATH`, each with `?key=value&key=value` or without.
        like: a data set of the same layout, whose keys hold where the source says nothing.

    Raises:
        UsageError: there is no path, or something after the question mark is not `key=value`.
        ConfigError: a key or a value that the data set does not have.
    """
    kind, _, rest = source.partition(":")
    path, _, query = rest.partition("?")
    hint = f"{kind}:PATH?key=value&key=value"
    if not path.strip():
        raise UsageError("the path is missing", where=source, hint=hint)
    data: dict[str, Any] = like.model_dump(mode="json", exclude_unset=True) if like and like.kind == kind else {}
    places: dict[Trail, Place] = {(): Place(source)}
    for assignment in query.split("&") if query else ():
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UsageError(f"expected key=value, not {assignment!r}", where=source, hint=hint)
        data[key] = [name.strip() for name in text.split(",")] if key in _LISTS else text
        places[(key,)] = Place(assignment)
    document = Document({**data, "kind": kind, "source": path}, places)
    try:
        return LAYOUTS[kind].model_validate(document.data)  # not strictly: a number is text here
    except ValidationError as error:
        raise complaint(error, LAYOUTS[kind], document) from error
