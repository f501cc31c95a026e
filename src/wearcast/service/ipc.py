"""The frame of an Arrow stream, checked before a reader is let near the body.

An Arrow reader believes the lengths that a stream claims and takes that much memory: a body of a hundred bytes could
claim a terabyte and end the process. So the few numbers that matter are read here (Arrow columnar format, section
"Serialization and Interprocess Communication"; FlatBuffers, "Internals"): every length lies within the body, rows are
counted, columns are flat and of plain types, and nothing is compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np

__all__ = ["BadStreamError", "check_stream"]

_CONTINUATION: Final = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_TYPES: Final = {
    1: "null", 2: "int", 3: "float", 4: "binary", 5: "text", 6: "bool", 7: "decimal", 8: "date", 9: "time",
    10: "timestamp", 11: "interval", 12: "list", 13: "struct", 14: "union", 15: "fixed binary", 16: "fixed list",
    17: "map", 18: "duration", 19: "binary", 20: "text", 21: "list", 22: "run-end encoded", 23: "binary view",
    24: "text", 25: "list view", 26: "list view",
}  # fmt: skip
_PLAIN: Final = frozenset({2, 3, 5, 6, 8, 10, 20, 24})
_MOST_DICTIONARIES: Final = 64
_MOST_MESSAGES: Final = 10_000


class BadStreamError(Exception):
    """The stream is not one that is read here.

    Attributes:
        where: in the stream.
        what: is wrong.
        hint: how to mend it.
    """

    def __init__(self, where: str, what: str, hint: str | None = None) -> None:
        super().__init__(where, what, hint)
        self.where, self.what, self.hint = where, what, hint


class _Table:
    """A FlatBuffers table; every access stays within its buffer."""

    def __init__(self, buffer: memoryview, at: int) -> None:
        self._buffer = buffer
        self._at = at
        self._vtable = at - self._number("<i", at)
        self._size = self._number("<H", self._vtable)

    @classmethod
    def root(cls, buffer: memoryview) -> _Table:
        """The table that a buffer holds."""
        return cls(buffer, struct.unpack_from("<I", buffer)[0])

    def _number(self, form: str, at: int) -> int:
        if at < 0:  # struct would count it from the end
            raise struct.error("before the buffer")
        return int(struct.unpack_from(form, self._buffer, at)[0])

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = self._number("<H", self._vtable + entry) if entry + 2 <= self._size else 0
        return self._at + offset if offset else None

    def number(self, field: int, form: str, default: int = 0) -> int:
        """A field that is a number."""
        place = self._place(field)
        return default if place is None else self._number(form, place)

    def has(self, field: int) -> bool:
        """Whether the field is there."""
        return self._place(field) is not None

    def table(self, field: int) -> _Table | None:
        """A field that is a table."""
        place = self._place(field)
        return None if place is None else _Table(self._buffer, place + self._number("<I", place))

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + self._number("<I", place)
        return start + 4, self._number("<I", start)

    def length(self, field: int) -> int:
        """How many items a vector has."""
        return self._vector(field)[1]

    def tables(self, field: int) -> Iterator[_Table]:
        """A field that is a vector of tables."""
        start, length = self._vector(field)
        if start + 4 * length > len(self._buffer):
            raise struct.error("beyond the buffer")
        for at in range(start, start + 4 * length, 4):
            yield _Table(self._buffer, at + self._number("<I", at))

    def numbers(self, field: int, width: int) -> np.ndarray:
        """A field that is a vector of structs of so many 64-bit numbers, `(length, width)`."""
        start, length = self._vector(field)
        if start + 8 * width * length > len(self._buffer):
            raise struct.error("beyond the buffer")
        return np.frombuffer(self._buffer, "<i8", width * length, start).reshape(length, width)


def check_stream(body: bytes, *, most_rows: int, most_columns: int) -> int:
    """Check the frame of a stream and count its rows.

    Raises:
        BadStreamError: it is cut off, claims what it does not hold, or is of a kind that is not read.
    """
    view, at, rows = memoryview(body), 0, 0
    columns: int | None = None
    dictionaries = 0
    for number in range(_MOST_MESSAGES):
        where = f"message {number + 1}"
        try:
            metadata, start = _metadata(view, at, where)
            if metadata is None:
                if columns is None:
                    raise BadStreamError(where, "there is no schema")
                return rows
            message = _Table.root(metadata)
            kind, length = message.number(1, "<B"), message.number(3, "<q")
            header = message.table(2)
            if header is None or not 0 <= length <= len(view) - start:
                raise BadStreamError(where, "it is cut off", "send the whole stream")
            if kind == _SCHEMA and columns is None:
                columns = _check_schema(header, most_columns)
            elif kind == _BATCH and columns is not None:
                rows += _check_batch(header, length, most_rows, where)
            elif kind == _DICTIONARY and columns is not None and (data := header.table(1)) is not None:
                dictionaries += 1
                _check_batch(data, length, most_rows, where)
            else:
                raise BadStreamError(where, "it is neither a schema, nor rows, nor a dictionary of texts")
        except struct.error:
            raise BadStreamError(
                where, "its metadata cannot be read", "send the whole stream as it was written"
            ) from None
        if rows > most_rows or dictionaries > _MOST_DICTIONARIES:
            raise BadStreamError(where, f"more than {most_rows} rows", "split it, or use /v1/batch")
        at = start + length
    raise BadStreamError("body", f"more than {_MOST_MESSAGES} messages", "write larger record batches")


def _metadata(view: memoryview, at: int, where: str) -> tuple[memoryview | None, int]:
    """The metadata of the message at a byte and where its body starts; None at the end of the stream."""
    if at + 8 > len(view):
        raise BadStreamError(where, "the stream ends without its end mark", "send the whole stream")
    mark, size = struct.unpack_from("<Ii", view, at)
    if mark != _CONTINUATION:
        hint = "write the stream format of Arrow 0.15 or newer, not a file (Feather) or a table of another kind"
        raise BadStreamError(where, "no message of an Arrow stream begins here", hint)
    if size == 0:
        return None, at + 8
    if not 0 < size <= len(view) - at - 8:
        raise BadStreamError(where, "it is cut off", "send the whole stream")
    return view[at + 8 : at + 8 + size], at + 8 + size


def _check_schema(schema: _Table, most_columns: int) -> int:
    columns = schema.length(1)
    if schema.number(0, "<h") != 0:
        raise BadStreamError("schema", "numbers are big-endian", "write them little-endian")
    if not 0 < columns <= most_columns:
        raise BadStreamError("schema", f"{columns} columns, but at most {most_columns} are read")
    for i, field in enumerate(schema.tables(1)):
        kind = field.number(2, "<B")
        if kind not in _PLAIN or field.length(5):
            named = _TYPES.get(kind, "unknown")
            hint = "readings are numbers, units numbers or text, times numbers or timestamps"
            raise BadStreamError(f"schema, column {i + 1}", f"columns of type {named} are not read", hint)
    return columns


def _check_batch(batch: _Table, body: int, most_rows: int, where: str) -> int:
    rows = batch.number(0, "<q")
    if batch.has(3):
        raise BadStreamError(where, "its buffers are compressed", "write the stream uncompressed")
    if not 0 <= rows <= most_rows:
        raise BadStreamError(where, f"{rows} rows, but at most {most_rows} are read", "split it, or use /v1/batch")
    nodes, buffers = batch.numbers(1, 2), batch.numbers(2, 2)
    if len(nodes) and (nodes[:, 0] != rows).any():
        raise BadStreamError(where, "its columns differ in length")
    inside = (buffers >= 0).all() and (buffers[:, 0] <= body).all() and (buffers[:, 1] <= body - buffers[:, 0]).all()
    if not inside or (nodes[:, 1] < 0).any() or (nodes[:, 1] > rows).any():
        raise BadStreamError(where, "it claims bytes that it does not hold", "send the whole stream as it was written")
    views = batch.numbers(4, 1)
    if (views < 0).any() or int(views.sum()) > len(buffers):
        raise BadStreamError(where, "it claims bytes that it does not hold", "send the whole stream as it was written")
    return rows
