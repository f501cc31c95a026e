"""Arrays out of MATLAB files of version 5 (MATLAB 5 to 7.2, `save -v6` and `-v7`), without SciPy.

Format: The MathWorks, "MAT-File Format", chapter 1, "Level 5 MAT-File Format". Only real numeric arrays are taken;
text, cells, structures, sparse and complex arrays are passed over. A file is input from outside: every length is
checked against what is there, and neither what is unpacked nor the arrays made of it exceed `MAX_BYTES`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import FormatError

__all__ = ["MAX_BYTES", "read_mat"]

MAX_BYTES = 512 << 20
"""Most that the arrays of one file may take once unpacked; the longest published recording takes 12 MiB."""

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double, single, and the eight kinds of integers
_COMPLEX = 0x0800
_INT8, _INT32, _UINT32 = 1, 5, 6
_MAX_DIMENSIONS = 32

_Element = tuple[int, memoryview]


def read_mat(data: bytes, *, where: str) -> dict[str, NDArray[np.float64]]:
    """The real numeric arrays of a file by name, each with the shape that MATLAB shows.

    Args:
        data: the bytes of the file.
        where: what errors call it.

    Raises:
        FormatError: not a MATLAB file of version 5, cut off, inconsistent, or unpacking to more than `MAX_BYTES`.
    """
    order = _byte_order(data, where)
    arrays: dict[str, NDArray[np.float64]] = {}
    packed_room = room = MAX_BYTES
    for kind, body in _elements(memoryview(data)[_HEADER:], order, where):
        if kind == _COMPRESSED:
            unpacked = memoryview(_inflate(body, order, packed_room, where))
            packed_room -= len(unpacked)
            kind, body = next(_elements(unpacked, order, where))  # noqa: PLW2901 - what was wrapped takes its place
        if kind != _MATRIX:
            continue
        named = _array(body, order, room, where)
        if named is not None:
            name, array = named
            if name in arrays:
                raise FormatError(f"the variable {name} is there twice", where=where)
            arrays[name] = array
            room -= array.nbytes
    return arrays


def _byte_order(data: bytes, where: str) -> str:
    """`<` or `>`, from a header that is checked."""
    if data[:19] == b"MATLAB 7.3 MAT-file" or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise FormatError(
            "this is a MATLAB 7.3 (HDF5) file; version 5 is read",
            where=where,
            hint="save it in MATLAB with: save('file.mat', '-v7')",
        )
    orders = {b"IM": "<", b"MI": ">"}
    mark = bytes(data[126:128])
    if len(data) < _HEADER or mark not in orders:
        what = "the file is empty" if not data else "this is not a MATLAB file of version 5"
        raise FormatError(what, where=where, hint="a .mat file saved by MATLAB 5 or newer is needed")
    order = orders[mark]
    (version,) = struct.unpack(f"{order}H", data[124:126])
    if version != 0x0100:
        raise FormatError(f"MATLAB file version {version:#06x}; 0x0100 is read", where=where)
    return order


def _elements(data: memoryview, order: str, where: str) -> Iterator[_Element]:
    """Type and body of each element, one after the other."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise _cut_off(where)
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # four bytes or less share the tag with their type
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise FormatError(f"an element of {size} bytes where 4 have room", where=where)
        else:
            start = at + 8
            # Elements start at multiples of eight bytes, except behind a compressed one.
            after = start + size if kind == _COMPRESSED else start + (size + 7) // 8 * 8
        if start + size > len(data):
            raise _cut_off(where)
        yield kind, data[start : start + size]
        at = after


def _too_large(what: str, where: str) -> FormatError:
    return FormatError(
        f"{what}; {MAX_BYTES / 2**20:.0f} MiB are allowed in all", where=where, hint="no recording is so long"
    )


def _cut_off(where: str) -> FormatError:
    return FormatError("the file is cut off", where=where, hint="copy or fetch it again")


def _inflate(body: memoryview, order: str, room: int, where: str) -> bytes:
    """The one element within a compressed one; how long it is says its own tag, and more is never unpacked."""
    stream = zlib.decompressobj()
    try:
        tag = stream.decompress(body, 8)
        if len(tag) < 8:
            raise _cut_off(where)
        kind, size = struct.unpack(f"{order}II", tag)
        if kind != _MATRIX:
            raise FormatError(f"a compressed element of type {kind}, where an array is needed", where=where)
        if size + 8 > room:
            raise _too_large(f"a compressed array says that it unpacks to {size / 2**20:.0f} MiB", where)
        unpacked = stream.decompress(stream.unconsumed_tail, size) if size else b""
    except zlib.error as error:
        raise FormatError(f"damaged: {error}", where=where, hint="copy or fetch it again") from error
    if len(unpacked) < size:
        raise _cut_off(where)
    return tag + unpacked


def _array(body: memoryview, order: str, room: int, where: str) -> tuple[str, NDArray[np.float64]] | None:
    """Name and values of an array; None if it is not a real numeric one."""
    parts = _elements(body, order, where)
    try:
        flags = _words(next(parts), _UINT32, order, where)
        dimensions = _words(next(parts), _INT32, order, where)
        kind, letters = next(parts)
        if not len(flags) or kind not in (_INT8, 2):
            raise FormatError("an array without flags or a name", where=where)
        name = bytes(letters).decode("ascii", errors="replace")
        if (flags[0] & 0xFF) not in _NUMERIC_CLASSES or flags[0] & _COMPLEX:
            return None
        kind, numbers = next(parts)
    except StopIteration:
        raise _cut_off(where) from None
    if kind not in _TYPES:
        raise FormatError(f"the values of {name} are of the unknown type {kind}", where=where)
    dtype = np.dtype(f"{order}{_TYPES[kind]}")
    shape = tuple(int(length) for length in dimensions)
    if len(shape) > _MAX_DIMENSIONS or min(shape, default=-1) < 0 or prod(shape) * dtype.itemsize != len(numbers):
        raise FormatError(f"{name} has {len(numbers)} bytes, which do not fill {shape}", where=where)
    if prod(shape) * 8 > room:
        raise _too_large(f"{name} takes {prod(shape) * 8 / 2**20:.0f} MiB", where)
    # MATLAB keeps the smallest type that holds the values, whatever the class; they are numbers either way.
    return name, np.frombuffer(numbers, dtype).astype(np.float64).reshape(shape, order="F")


def _words(element: _Element, kind: int, order: str, where: str) -> NDArray[np.int64]:
    if element[0] != kind or len(element[1]) % 4:
        raise FormatError(f"an array's head is of type {element[0]}, not {kind}", where=where)
    return np.frombuffer(element[1], f"{order}{_TYPES[kind]}").astype(np.int64)
