"""Where data sets live on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["DATA_DIR_VARIABLE", "data_dir", "dataset_dir", "located"]

DATA_DIR_VARIABLE = "WEARCAST_DATA_DIR"

_ELSEWHERE: ContextVar[tuple[str, Path] | None] = ContextVar("_ELSEWHERE", default=None)


def data_dir() -> Path:
    """The folder of data sets: `WEARCAST_DATA_DIR`, else `wearcast` in the user's cache folder."""
    chosen = os.environ.get(DATA_DIR_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME", "").strip()
    # The XDG specification says that a relative path is to be ignored.
    base = Path(cache) if cache and Path(cache).is_absolute() else Path.home() / ".cache"
    return base / "wearcast"


def dataset_dir(name: str) -> Path:
    """The folder of one data set; it need not exist."""
    elsewhere = _ELSEWHERE.get()
    if elsewhere is not None and elsewhere[0] == name:
        return elsewhere[1]
    return data_dir() / name


@contextmanager
def located(name: str, place: Path) -> Iterator[None]:
    """Within this block, a data set is looked for at `place`: this is how one is tried before it is let in."""
    token = _ELSEWHERE.set((name, place))
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)
