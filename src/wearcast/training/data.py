"""Windows as torch batches; which windows an epoch sees depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wearcast.labels import Labels
from wearcast.windows import Windows

__all__ = ["EpochBatches", "LabelledBatch", "LabelledWindows", "loader"]


class LabelledBatch(NamedTuple):
    """Windows and what became of their units."""

    past: Tensor
    mask: Tensor
    static: Tensor | None
    known_future: Tensor | None
    answer: Tensor
    known: Tensor
    unit: Tensor
    """Position of each window's unit among the fleet's, `(n,)`."""


class LabelledWindows(Dataset[LabelledBatch]):
    """Windows with the answer to each, indexed by whole batches."""

    def __init__(self, windows: Windows, labels: Labels) -> None:
        """`labels` are those of the windows' fleet."""
        self.windows = windows
        self.labels = labels

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: NDArray[np.intp]) -> LabelledBatch:
        past, mask, static, future = self.windows.batch(index)
        answer, known = self.labels.at(self.windows.rows[index])
        return LabelledBatch(
            past=torch.from_numpy(past),
            mask=torch.from_numpy(mask),
            static=None if static is None else torch.from_numpy(static),
            known_future=None if future is None else torch.from_numpy(future),
            answer=torch.from_numpy(answer.astype(np.int64 if answer.dtype.kind == "i" else np.float32)),
            known=torch.from_numpy(known),
            unit=torch.from_numpy(self.windows.channels.unit_of(self.windows.rows[index])),
        )


class EpochBatches(Sampler[NDArray[np.intp]]):
    """Batches of one epoch: a random share of the windows, drawn anew from (seed, epoch), divided over the ranks."""

    def __init__(
        self, n: int, batch_size: int, *, share: float = 1.0, seed: int | None = None, rank: int = 0, world: int = 1
    ) -> None:
        """In order if `seed` is None, else shuffled."""
        self.n = n
        self.batch_size = batch_size
        self.count = max(round(n * share), min(n, batch_size))
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the windows of this epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[NDArray[np.intp]]:
        if self.seed is None:
            order = np.arange(self.n)
        else:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)[: self.count]
        for batch in range(len(self)):
            # A rank without windows of its own in the last batch repeats the first ones, so that ranks stay in step.
            at = (batch * self.world + self.rank) * self.batch_size
            index = order[at : at + self.batch_size]
            yield index if len(index) else order[: self.batch_size]


def loader(windows: LabelledWindows, batches: EpochBatches) -> DataLoader[LabelledBatch]:
    """A loader that gathers whole batches by index; there is nothing for worker processes to do."""
    return DataLoader(windows, sampler=batches, batch_size=None)
