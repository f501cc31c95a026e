"""Files that are whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from wearcast.errors import UsageError

__all__ = ["replace_file", "why_not", "write_whole"]


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Put a file in place at once: a kill or a full disk leaves either the old one or the new one, never half of it.

    Raises:
        OSError: the disk is full, or the place cannot be written.
    """
    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        scratch = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        scratch.replace(path)
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file where a person said, whole or not at all.

    Raises:
        UsageError: the place cannot be written.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise UsageError(f"cannot be written: {why_not(error)}", where=str(path), hint="name another place") from error


def why_not(error: OSError) -> str:
    """Why a place cannot be written, in words."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a folder above it is a file"
    return error.strerror or str(error)
