"""How far a training is, on stderr."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["FoldBar", "ModelBars", "OnEpoch", "OnFold", "say"]

OnEpoch = Callable[[int, int, str], None]
"""Told after each epoch of a network: how many are done, how many there are at most, and the held-out error."""

OnFold = Callable[[int, int], None]
"""Told after each fold of a model that reads tables: how many are done, and how many there are."""


def say(text: str) -> None:
    """One line."""
    _stderr().print(text, highlight=False)


class FoldBar:
    """A bar over the folds of a model that reads tables."""

    def __init__(self, show: bool) -> None:
        self.show = show

    def __enter__(self) -> OnFold | None:
        if not self.show:
            return None
        from rich.progress import Progress

        self.bar = Progress(console=_stderr())
        self.bar.start()
        task = self.bar.add_task("by fold of units", total=None)
        return lambda done, total: self.bar.update(task, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.show:
            self.bar.stop()


class ModelBars:
    """A bar over the epochs of each of several networks that are trained at once."""

    def __init__(self, show: bool) -> None:
        self.bars = _model_bars() if show else None
        self.at: dict[str, TaskID] = {}

    def __enter__(self) -> ModelBars:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def begin(self, model: str) -> None:
        """A model's training begins."""
        if self.bars is not None:
            self.at[model] = self.bars.add_task(model, total=None, said="")

    def epoch(self, model: str, done: int, total: int, said: str) -> None:
        """See `OnEpoch`."""
        if self.bars is not None and model in self.at:
            self.bars.update(self.at[model], completed=done, total=total, said=said)

    def end(self, model: str) -> None:
        """A model is whole; where it stopped early, its bar is full all the same."""
        if self.bars is not None:
            done = self.bars.tasks[self.at[model]].completed
            self.bars.update(self.at[model], total=done)


def _model_bars() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(  # short: the names of recipes and what is said shall stand on one line of 80
        TextColumn("{task.description}"), BarColumn(bar_width=10), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"), console=_stderr(),
    )  # fmt: skip


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)
