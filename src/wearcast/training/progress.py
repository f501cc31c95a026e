"""How far a training is, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["ModelBars", "OnEpoch", "OnFold", "fold_bar", "model_bars", "say"]

OnEpoch = Callable[[int, int, str], None]
"""Told after each epoch of a network: how many are done, how many there are at most, and the held-out error."""

OnFold = Callable[[int, int], None]
"""Told after each fold of a model that reads tables: how many are done, and how many there are."""


def say(text: str) -> None:
    """One line."""
    _stderr().print(text, highlight=False)


@contextmanager
def fold_bar(show: bool) -> Iterator[OnFold]:
    """A bar over the folds of a model that reads tables."""
    from rich.progress import Progress

    with Progress(console=_stderr(), disable=not show) as bar:
        task = bar.add_task("by fold of units", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class ModelBars:
    """A bar over the epochs of each of several networks that are trained at once."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.at: dict[str, TaskID] = {}

    def begin(self, model: str) -> None:
        """A model's training begins."""
        self.at[model] = self.bars.add_task(model, total=None, said="")

    def epoch(self, model: str, done: int, total: int, said: str) -> None:
        """See `OnEpoch`."""
        if model in self.at:
            self.bars.update(self.at[model], completed=done, total=total, said=said)

    def end(self, model: str) -> None:
        """A model is whole; where it stopped early, its bar is full all the same."""
        done = self.bars.tasks[self.at[model]].completed
        self.bars.update(self.at[model], total=done)


@contextmanager
def model_bars(show: bool) -> Iterator[ModelBars]:
    """Bars on stderr while networks are trained."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(  # short: the names of recipes and what is said shall stand on one line of 80
        TextColumn("{task.description}"), BarColumn(bar_width=10), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"), console=_stderr(), disable=not show,
    ) as bars:  # fmt: skip
        yield ModelBars(bars)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)
