"""The record of a selection: what was tried, what came of it, what it took; a later run goes on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from wearcast.config import Strict
from wearcast.errors import ConfigError
from wearcast.training.budget import Pace
from wearcast.writing import write_whole

__all__ = ["BOARD", "Board", "Entry", "Question"]

BOARD = "selection.json"
Status = Literal["done", "begun", "stopped", "not begun", "failed", "unfit"]


class Question(Strict):
    """What a selection is about; another one must not go on from its record."""

    dataset: str
    fingerprint: str
    target: dict[str, Any]
    seed: int
    folds: int


class Entry(Strict):
    """One candidate."""

    name: str
    status: Status
    note: str = ""
    seconds: float = 0.0
    pace: Pace | None = None
    experiment: dict[str, Any] | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    latency_ms: float | None = None


class Board(Strict):
    """The content of `selection.json`."""

    version: Literal[1] = 1
    question: Question
    budget_seconds: float
    spent_seconds: float = 0.0
    entries: dict[str, Entry] = Field(default_factory=dict)
    chosen: str | None = None
    why: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_whole(folder / BOARD, self.model_dump_json(indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> Board | None:
        """The record in this folder, if there is one.

        Raises:
            ConfigError: it cannot be read.
        """
        path = folder / BOARD
        if not path.exists():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]["msg"]
            raise ConfigError(
                f"not the record of a selection: {first}", where=str(path), hint="give another --out"
            ) from error
