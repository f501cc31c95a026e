"""The reader of MATLAB 5 files against SciPy, on files made here, damaged ones and the real ones."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.mat_files import element, mat_bytes, matrix

from wearcast.datasets import matfile
from wearcast.datasets.matfile import read_mat
from wearcast.errors import FormatError

REAL = os.environ.get("WEARCAST_DATA_DIR")
real = pytest.mark.skipif(not REAL or not (Path(REAL) / "skf").is_dir(), reason="WEARCAST_DATA_DIR does not hold skf/")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_arrays_come_back_with_name_and_shape(order, compressed):
    arrays = {"X118_DE_time": np.linspace(-1, 1, 101)[:, None], "X118RPM": np.array([[1796.0]]), "s": np.eye(3)}
    read = read_mat(mat_bytes(arrays, order=order, compressed=compressed), where="a.mat")
    assert list(read) == list(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(read[name], values)


@pytest.mark.parametrize("compressed", [False, True])
def test_scipy_writes_what_is_read(compressed):
    scipy = pytest.importorskip("scipy.io")
    rng = np.random.default_rng(1)
    arrays = {
        "double": rng.normal(size=(7, 3)),
        "single": rng.normal(size=(4, 1)).astype(np.float32),
        "small": np.array([[1797]], dtype=np.uint16),
        "signed": np.arange(-3, 3, dtype=np.int8)[None],
        "cube": rng.normal(size=(2, 3, 4)),
        "empty": np.zeros((0, 0)),
    }
    other = {"text": "a note", "cell": np.array(["a", 1], dtype=object), "z": np.array([[1 + 2j]]), "st": {"a": 1.0}}
    buffer = io.BytesIO()
    scipy.savemat(buffer, {**arrays, **other}, do_compression=compressed)
    read = read_mat(buffer.getvalue(), where="a.mat")
    assert set(read) == set(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(read[name], np.asarray(values, dtype=np.float64))


@real
def test_the_real_recordings_are_read_as_scipy_reads_them():
    scipy = pytest.importorskip("scipy.io")
    paths = sorted((Path(str(REAL)) / "skf").glob("*.mat"))[:6]
    assert paths
    for path in paths:
        expected = {name: array for name, array in scipy.loadmat(path).items() if not name.startswith("__")}
        read = read_mat(path.read_bytes(), where=str(path))
        assert set(read) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(read[name], array)


def _packed(head: bytes, mebibytes: int) -> bytes:
    packer = zlib.compressobj(9)
    first = packer.compress(head)
    zeros = b"".join(packer.compress(bytes(1 << 20)) for _ in range(mebibytes))
    return element(15, first + zeros + packer.flush(), pad=False)


def test_a_bomb_is_refused_before_it_goes_off():
    data = mat_bytes({}) + _packed(struct.pack("<II", 14, 900 << 20), 64)
    tracemalloc.start()
    with pytest.raises(FormatError, match="unpacks to 900 MiB"):
        read_mat(data, where="a.mat")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_a_bomb_of_bytes_that_would_become_doubles_is_refused_too():
    body = matrix("x", np.zeros(0), shape=((1 << 26) + 8, 1))[:-8] + struct.pack("<II", 1, (1 << 26) + 8)
    data = mat_bytes({}) + _packed(struct.pack("<II", 14, len(body) + (1 << 26) + 8) + body, 65)
    with pytest.raises(FormatError, match="x takes 512 MiB"):
        read_mat(data, where="a.mat")


def test_what_arrays_unpack_to_is_added_up(monkeypatch):
    monkeypatch.setattr(matfile, "MAX_BYTES", 20_000)
    one = mat_bytes({"a": np.zeros((1000, 1))}, compressed=True)
    assert list(read_mat(one, where="a.mat")) == ["a"]
    three = mat_bytes({name: np.zeros((1000, 1)) for name in "abc"}, compressed=True)
    with pytest.raises(FormatError, match=r"a\.mat: a compressed array says"):
        read_mat(three, where="a.mat")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"time,value\n1,2\n" * 20, "not a MATLAB file of version 5"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM", r"MATLAB 7\.3 \(HDF5\)"),
        (b"MATLAB 5.0".ljust(124) + b"\x00\x03IM", "version 0x0300"),
        (mat_bytes({"a": np.zeros((2, 1))})[:150], "cut off"),
        (mat_bytes({"a": np.zeros((2, 1))})[:131], "cut off"),
        (mat_bytes({}) + element(14, matrix("a", np.zeros((3, 1)), shape=(4, 1))), "do not fill"),
        (mat_bytes({}) + element(14, matrix("a", np.zeros((3, 1)), shape=(-3, 1))), "do not fill"),
        (mat_bytes({}) + element(14, matrix("a", np.zeros((3, 1)))) * 2, "a is there twice"),
        (mat_bytes({}) + element(14, element(9, bytes(8))), "an array's head is of type 9"),
        (mat_bytes({}) + element(15, b"not zlib", pad=False), "damaged"),
        (mat_bytes({}) + element(15, zlib.compress(element(9, bytes(8))), pad=False), "of type 9"),
    ],
)
def test_damage_is_named(data, message):
    with pytest.raises(FormatError, match=message):
        read_mat(data, where="a.mat")


@given(st.integers(0, 700), st.binary(min_size=1, max_size=6), st.booleans())
def test_any_damage_is_a_format_error_or_other_numbers(at, noise, compressed):
    good = mat_bytes({"X118_DE_time": np.arange(40.0)[:, None], "X118RPM": np.array([[1796.0]])}, compressed=compressed)
    damaged = good[: min(at, len(good))] + noise + good[min(at, len(good)) + len(noise) :]
    try:
        read = read_mat(damaged, where="a.mat")
    except FormatError:
        return
    assert all(array.dtype == np.float64 for array in read.values())
