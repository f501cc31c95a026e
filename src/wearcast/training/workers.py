"""Parts of ensembles, trained one after another or side by side.

A small network gains little from a second core: two threads do a third more steps of a CNN-BiLSTM than one. Two
networks of one thread each do twice as many, and take two exports at once. So the networks of an ensemble, which know
nothing of each other, are trained in processes of their own, each with its share of the threads. What they leave is
read from the disk, as after an interruption.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from types import TracebackType

from wearcast.errors import ConfigError, MissingExtraError, TrainingError, require
from wearcast.fleet import Fleet
from wearcast.target import Target
from wearcast.training.parts import Fitted, Part, read_part, train_part
from wearcast.training.progress import ModelBars, model_bars, say
from wearcast.windows import SplitSpec, UnitSplit, split_folds

__all__ = ["BeforeEach", "Folds", "PartTrainer", "cores", "refuse_unguarded", "threads_at_hand"]

CONTROL_GROUP = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time in each period of so many, of Linux's control groups (version 2)."""

GLANCE = 0.2
"""Seconds between two looks at what the processes say."""

BeforeEach = Callable[[int, int], None]
"""Told how many parts are begun, and how many there are; what it raises ends the training."""


def cores() -> int:
    """How many cores this process may use; a container may allow it the time of fewer than it shows."""
    shown = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no such file, or no quota: "max 100000"
        quota, period = CONTROL_GROUP.read_text().split()
        return max(1, min(shown, int(quota) // int(period)))
    return shown


def threads_at_hand() -> int:
    """How many threads this process may use: what OMP_NUM_THREADS says, else one a core."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) > 0 else cores()


def refuse_unguarded(workers: int) -> None:
    """Refuse to train in a process of ours that is only importing the script: it would train all over again.

    Raises:
        ConfigError: the script runs when it is imported.
    """
    if workers == 1:
        return
    try:
        get_preparation_data("")
    except RuntimeError as error:
        raise ConfigError(
            "this script trains when it is imported, and each process that trains a network imports it",
            hint='keep what it runs under `if __name__ == "__main__":`',
        ) from error


@dataclass(frozen=True)
class Folds:
    """A fleet and how it is divided: what every process must know."""

    fleet: Fleet
    split: SplitSpec
    seed: int
    target: Target

    @cached_property
    def splits(self) -> tuple[UnitSplit, ...]:
        """One for each fold."""
        return split_folds(self.fleet, self.split, self.seed, self.target)


class PartTrainer:
    """Trains parts on the folds of one fleet; a context that ends its processes.

    Attributes:
        folds: of the fleet.
        workers: how many networks are trained at once; with 1, all is done in this process.
    """

    def __init__(self, folds: Folds, workers: int = 1) -> None:
        self.folds = folds
        self.workers = workers
        self._processes: _Processes | None = None

    def __enter__(self) -> PartTrainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._processes is not None:
            self._processes.end(at_once=kind is not None)

    def warm_up(self) -> None:
        """Import what training a network takes; the processes do so when they begin.

        Raises:
            MissingExtraError: some of it is not installed.
        """
        if self.workers == 1:
            _import_all()

    def train(
        self, parts: Sequence[Part], work: Path, *, resume: bool, progress: bool, before_each: BeforeEach | None = None
    ) -> tuple[Fitted, ...]:
        """Train those parts that are not whole yet, and read all of them.

        Args:
            parts: in the order of the answer.
            work: where models lie.
            resume: go on from the last checkpoint of those that were interrupted.
            progress: show bars.
            before_each: see `BeforeEach`. What is under way beside is finished before it takes effect.

        Raises:
            TrainingError: a training failed, or its process was killed.
        """
        missing = [part for part in parts if not part.is_whole(work)]
        crowd = [part for part in missing if self.workers > 1 and not part.fills_machine]
        alone = [part for part in missing if part not in crowd]
        begun = count()

        def announce() -> None:
            if before_each is not None:
                before_each(next(begun), len(missing))

        for part in alone:
            announce()
            if progress:
                say(f"model {parts.index(part) + 1} of {len(parts)}: {part.title}")
            train_part(part, self.folds.fleet, self.folds.splits, work, resume=resume, progress=progress)
        if crowd:
            self._processes = self._processes or _Processes(self.folds, self.workers)
            with _terminable(), model_bars(progress) as bars:
                self._processes.train(crowd, work, resume=resume, bars=bars, announce=announce)
        return tuple(read_part(part, work) for part in parts)


class _Processes:
    """Processes beside this one that train a network each.

    They end with the pipe whose other end is ours: when we are done, when we are interrupted, and when we are killed.
    """

    def __init__(self, folds: Folds, workers: int) -> None:
        self.workers = workers
        context = get_context("spawn")  # a fork would copy threads that hold locks
        theirs, self.alive = context.Pipe(duplex=False)
        self.told: SimpleQueue[tuple[str, int, int, str]] = context.SimpleQueue()
        threads = max(1, threads_at_hand() // workers)
        shared = (replace(folds), threads, theirs, self.told)  # a copy: without the folds that are cut already
        self.pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=shared)

    def end(self, *, at_once: bool) -> None:
        """Stop the processes; what is under way is finished unless it shall end at once."""
        if at_once:
            self.alive.close()
        self.pool.shutdown(cancel_futures=True)
        self.alive.close()

    def train(
        self, parts: Sequence[Part], work: Path, *, resume: bool, bars: ModelBars, announce: Callable[[], None]
    ) -> None:
        """Train all of them; `announce` is called before each.

        Raises:
            TrainingError: a training failed, or its process was killed.
        """
        under_way: dict[Future[None], Part] = {}
        try:
            for part in parts:
                while len(under_way) == self.workers:
                    self._look(under_way, bars)
                announce()
                bars.begin(part.title)
                under_way[self.pool.submit(_train, part, work, resume)] = part
            while under_way:
                self._look(under_way, bars)
        except BrokenProcessPool as error:
            raise TrainingError(
                "a process that trained a network could not begin, or was killed",
                hint="where memory is short, one worker takes the least",
            ) from error
        except Exception:
            wait(under_way)  # half of a training would only be done again
            raise

    def _look(self, under_way: dict[Future[None], Part], bars: ModelBars) -> None:
        """Wait a little for one to be done, and show how far all are."""
        done, _ = wait(under_way, timeout=GLANCE, return_when=FIRST_COMPLETED)
        while not self.told.empty():
            bars.epoch(*self.told.get())
        for future in done:
            bars.end(under_way.pop(future).title)
            future.result()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is SystemExit, as it is while Lightning trains in this process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours
        return

    def stop(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _Here:
    """What a process that trains networks was given."""

    folds: Folds
    told: SimpleQueue[tuple[str, int, int, str]]


_HERE: _Here | None = None


def _begin(folds: Folds, threads: int, alive: Connection, told: SimpleQueue[tuple[str, int, int, str]]) -> None:
    """Make this process ready to train."""
    global _HERE  # noqa: PLW0603 - set once, when the process begins
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the process that began us decides
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    _HERE = _Here(folds, told)
    with suppress(MissingExtraError):  # the training says so, and is heard
        _import_all()
        import torch

        torch.set_num_threads(threads)


def _import_all() -> None:
    for module in ("torch", "onnxscript", "wearcast.training.network_training", "wearcast.training.export"):
        require(module, extra="train")


def _end_with(alive: Connection) -> None:
    """End this process, whatever it does, when the other end of the pipe is closed."""
    with suppress(OSError, EOFError):
        alive.recv()  # nothing ever comes
    os._exit(1)


def _train(part: Part, work: Path, resume: bool) -> None:
    """Train a part in this process."""
    assert _HERE is not None  # noqa: S101 - `_begin` came before
    here = _HERE

    def on_epoch(done: int, total: int, said: str) -> None:
        here.told.put((part.title, done, total, said))

    train_part(part, here.folds.fleet, here.folds.splits, work, resume=resume, progress=on_epoch)
