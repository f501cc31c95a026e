"""The folder of a bundle: written whole or not at all, and known by its checksums."""

from __future__ import annotations

import ctypes
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wearcast.errors import BundleCorruptError, BundleError
from wearcast.writing import why_not

__all__ = [
    "GRAPH",
    "HISTORY",
    "MANIFEST",
    "MODELS",
    "SUMS",
    "WEIGHTS",
    "check_place",
    "check_sums",
    "read_checksums",
    "replaced",
    "write_bundle",
]

MANIFEST, SUMS, GRAPH, WEIGHTS, HISTORY, MODELS = (
    "bundle.json",
    "SHA256SUMS",
    "model.onnx",
    "weights.safetensors",
    "history.json",
    "models",
)


def check_place(path: str | Path) -> None:
    """Make sure that a bundle may take the place of what is there as a whole: nothing, or another bundle.

    Raises:
        BundleError: there is a file, a folder with something else in it, or the folder we are in.
    """
    root = Path(path)
    what = None
    if root.exists() and not root.is_dir():
        what = "this is a file, a bundle is a folder"
    elif root.is_dir() and not (root / MANIFEST).exists() and any(root.iterdir()):
        what = "the folder holds something else than a bundle"
    elif Path.cwd().is_relative_to(root.resolve()):
        what = "a bundle cannot take the place of the folder that you are in"
    if what is not None:
        raise BundleError(what, where=str(root), hint="give another folder")


@contextmanager
def write_bundle(path: str | Path) -> Iterator[Path]:
    """Give a scratch directory to write a bundle into; on success it takes the place of `path` as a whole.

    A kill or a full disk at any moment leaves the old bundle as it was. What a killed writer left behind is removed by
    the next one.

    Raises:
        BundleError: the disk is full, the place cannot be written, or holds something else than a bundle.
    """
    check_place(path)
    root = Path(path).resolve()  # a link stays a link: its target is replaced
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".partial", dir=root.parent))
        lock = _lock(scratch)
    except OSError as error:
        raise BundleError(
            f"cannot write here: {why_not(error)}", where=str(path), hint="give another folder"
        ) from error
    try:
        yield scratch
        files = sorted(path for path in scratch.rglob("*") if path.is_file())
        sums = (f"{_sha256(file)}  {file.relative_to(scratch).as_posix()}\n" for file in files)
        (scratch / SUMS).write_text("".join(sums), encoding="utf-8")
        folders = (inner for inner in scratch.rglob("*") if inner.is_dir())
        for written in (*files, *folders, scratch / SUMS, scratch):
            _sync(written)
        scratch.chmod(0o755)
        _swap(scratch, root)
    except OSError as error:
        raise BundleError(
            f"cannot write the bundle: {error.strerror or error}",
            where=str(path),
            hint="the previous bundle, if there was one, is unchanged",
        ) from error
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(scratch, ignore_errors=True)


def _lock(folder: Path) -> int | None:
    """Hold a folder as long as this process lives; None if someone else holds it."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _sweep(root: Path) -> None:
    """Remove what killed writers left: scratch directories that no living writer holds, a bundle that was replaced."""
    for left in root.parent.glob(f".{glob.escape(root.name)}.*.partial"):
        lock = _lock(left)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    if (root / MANIFEST).exists():
        shutil.rmtree(replaced(root), ignore_errors=True)


def replaced(root: Path) -> Path:
    """Where the bundle before lies for the moment in which it is replaced."""
    return root.parent / f".{root.name}.previous"


def _swap(scratch: Path, root: Path) -> None:
    if root.exists() and _exchange(scratch, root):
        _sync(root.parent)
        return
    old = replaced(root)
    if root.exists():
        shutil.rmtree(old, ignore_errors=True)
        root.rename(old)
    try:
        scratch.rename(root)
    except OSError:
        if old.exists():
            old.rename(root)
        raise
    _sync(root.parent)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step, and say whether they did; only Linux can, on most file systems."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    relative_to_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: renameat2(2)
    return call is not None and call(relative_to_cwd, bytes(one), relative_to_cwd, bytes(other), exchange) == 0


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums(root: Path) -> dict[str, str]:
    """The SHA-256 of each file of a bundle, by its name, as `SHA256SUMS` has them.

    Raises:
        BundleCorruptError: the list cannot be read, or names a file outside of the bundle.
    """
    try:
        lines = (root / SUMS).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleCorruptError(
            "the checksums cannot be read", where=str(root / SUMS), hint="copy or train the bundle again"
        ) from error
    sums = {}
    for line in lines:
        digest, gap, name = line.partition("  ")
        if not gap or not _is_inside(name):
            raise BundleCorruptError(f"not a checksum of a file in this folder: {line!r}", where=str(root / SUMS))
        sums[name] = digest
    return sums


def check_sums(root: Path) -> None:
    """Make sure that each file of a bundle is there as it was written.

    Raises:
        BundleCorruptError: one is missing, or its bytes have changed.
        BundleError: one cannot be read.
    """
    sums = read_checksums(root)
    for folder in (root, *sorted((root / MODELS).glob("*"))):
        needed = {MANIFEST} if (folder / MODELS).exists() else {MANIFEST, GRAPH}
        there = {name for name in (WEIGHTS, HISTORY) if (folder / name).exists()}
        for name in sorted(needed | there):
            if (name := (folder / name).relative_to(root).as_posix()) not in sums:
                raise BundleCorruptError(f"{name} has no checksum", where=str(root / SUMS))
    for name, expected in sums.items():
        file = root / name
        if not file.is_file():
            raise BundleCorruptError(f"{name} is missing", where=str(root), hint="copy or train the bundle again")
        try:
            found = _sha256(file)
        except OSError as error:
            raise BundleError(f"{name} cannot be read: {error.strerror or error}", where=str(root)) from error
        if found != expected:
            raise BundleCorruptError(
                f"{name} has changed since it was written", where=str(root), hint="copy or train the bundle again"
            )


def _is_inside(name: str) -> bool:
    """Whether a name in the list of checksums is a file of this bundle: here, or in a folder of `models/`."""
    steps = name.split("/")
    plain = all(step not in ("", ".", "..") and Path(step).name == step for step in steps)
    return plain and (len(steps) == 1 or (len(steps) == 3 and steps[0] == MODELS))
