"""Window loader, training step and forward pass of the TFT against pytorch-forecasting 1.8, in one run.

    python benchmarks/tft_training.py [--rounds 9]

Both sides read the same readings: windows of 30 cycles of 14 sensors and the time index, batches of 256 in random
order, hidden size 32, four heads, dropout 0.1, seven quantiles of one step ahead, Adam, one thread. They take turns, a
round of one and a round of the other; a ratio is the median over rounds of theirs to ours. On a busy machine the
ratio of processor time tells more than that of wall time. `state of now` is the same TFT without a horizon, as it is
trained for remaining useful life. The last table is wearcast alone at the size of real training.

Needs pytorch-forecasting: `make bench`, or `pip install 'wearcast[train]' 'pytorch-forecasting==1.8.*'`.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import logging
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from wearcast.labels import RowLabels
from wearcast.models.quantile import QuantileHead, pinball_loss
from wearcast.models.tft import TemporalFusionTransformer
from wearcast.training.data import EpochBatches, LabelledWindows, loader
from wearcast.windows import Channels, Windows, WindowSpec

UNITS, CYCLES, SENSORS, CONTEXT, BATCH, HIDDEN = 40, 200, 14, 30, 256, 32
LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
WANTED = {"loader": 50.0, "training step": 3.0, "forward pass": 2.0}
Work = Callable[[], object]
Times = tuple[float, float]


class Forecaster(nn.Module):
    """TFT and quantile head."""

    def __init__(self, **sizes: int) -> None:
        super().__init__()
        self.tft = TemporalFusionTransformer(**sizes, n_heads=4, dropout=0.1)
        self.head = QuantileHead(self.tft.d_state, levels=LEVELS)

    def forward(self, past: Tensor, mask: Tensor, known_future: Tensor | None) -> Tensor:
        return self.head(self.tft(past, mask, None, known_future)).squeeze(1)


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def readings() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((UNITS * CYCLES, SENSORS)).astype(np.float32)


def our_batches(values: np.ndarray) -> Callable[[int], Work]:
    rows = len(values)
    age = np.tile(np.arange(CYCLES, dtype=np.float32), UNITS)
    channels = Channels(
        values=np.ascontiguousarray(np.column_stack([values, age / CYCLES])),
        n_sensors=SENSORS,
        home=None,
        static=np.empty((UNITS, 0), np.float32),
        offsets=np.arange(0, rows + 1, CYCLES),
        condition=np.zeros(rows, np.int16),
        missing=np.zeros(rows, bool),
        clipped=np.zeros(rows, bool),
        known_future=[],
    )
    ends = np.flatnonzero(age >= CONTEXT)
    windows = Windows(channels, WindowSpec(context_length=CONTEXT), ends)
    data = LabelledWindows(windows, RowLabels((CYCLES - age).astype(np.float64), np.ones(rows, bool), np.arange(rows)))
    batches = loader(data, EpochBatches(len(ends), BATCH, seed=0))

    def read(count: int) -> Work:
        def work() -> None:
            left = count
            while left > 0:
                left -= sum(1 for _ in islice(batches, left))

        return work

    return read


def our_steps(horizon: int) -> tuple[Work, Work, int]:
    n_past = SENSORS + 1
    model = Forecaster(n_past=n_past, prediction_length=horizon, n_known_future=horizon, d_model=HIDDEN)
    past, mask = torch.randn(BATCH, CONTEXT, n_past), torch.ones(BATCH, CONTEXT, dtype=torch.bool)
    future, target = (torch.randn(BATCH, horizon, horizon) if horizon else None), torch.randn(BATCH)
    return *steps(
        model, lambda: model(past, mask, future), lambda out: pinball_loss(out, target, model.head.levels)
    ), size(model)


def steps(model: nn.Module, predict: Callable[[], Tensor], loss: Callable[[Tensor], Tensor]) -> tuple[Work, Work]:
    """A training step and a forward pass."""
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)

    def train() -> None:
        model.train()
        optimiser.zero_grad()
        loss(predict()).backward()
        optimiser.step()

    def forward() -> None:
        model.eval()
        with torch.no_grad():
            predict()

    return train, forward


def theirs(values: np.ndarray) -> tuple[Callable[[int], Work], Work, Work, int]:
    try:
        import pandas as pd
        from pytorch_forecasting import TemporalFusionTransformer as TheirTft
        from pytorch_forecasting import TimeSeriesDataSet
        from pytorch_forecasting.metrics import QuantileLoss
    except ImportError as error:
        sys.exit(
            f"this benchmark compares with pytorch-forecasting, which is not installed ({error})\n"
            "run `make bench`, or: pip install 'pytorch-forecasting==1.8.*'"
        )
    sensors = [f"s{i}" for i in range(SENSORS)]
    frame = pd.DataFrame(values, columns=sensors)
    frame["unit"] = np.repeat(np.arange(UNITS), CYCLES).astype(str)
    frame["cycle"] = np.tile(np.arange(CYCLES), UNITS)
    frame["rul"] = (CYCLES - frame["cycle"]).astype("float32")
    data = TimeSeriesDataSet(
        frame,
        time_idx="cycle",
        target="rul",
        group_ids=["unit"],
        min_encoder_length=CONTEXT,
        max_encoder_length=CONTEXT,
        min_prediction_length=1,
        max_prediction_length=1,
        time_varying_unknown_reals=sensors,
        add_relative_time_idx=True,
    )
    batches = data.to_dataloader(train=True, batch_size=BATCH, num_workers=0)
    with contextlib.redirect_stdout(io.StringIO()):
        model = TheirTft.from_dataset(
            data,
            hidden_size=HIDDEN,
            hidden_continuous_size=HIDDEN,
            attention_head_size=4,
            dropout=0.1,
            loss=QuantileLoss(list(LEVELS)),
        )
    x, y = next(iter(batches))

    def read(count: int) -> Work:
        return lambda: [None for _ in islice(batches, count)]

    train, forward = steps(model, lambda: model(x)["prediction"], lambda out: model.loss(out, y))
    return read, train, forward, size(model)


def timed(work: Work, repeats: int) -> Times:
    """Wall and processor seconds of one repeat."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - wall) / repeats, (time.process_time() - processor) / repeats


def race(ours: Work, other: Work, rounds: int, repeats: int) -> tuple[list[Times], list[Times]]:
    """Take turns; the first round only warms up."""
    results: tuple[list[Times], list[Times]] = ([], [])
    for turn in range(rounds + 1):
        for work, times in zip((ours, other), results, strict=True):
            once = timed(work, repeats)
            if turn:
                times.append(once)
    return results


def report(name: str, unit: str, amounts: tuple[int, int], results: tuple[list[Times], list[Times]]) -> None:
    """One line: amounts a second on both sides, and how much faster we are."""
    ours, other = results
    rates = [
        amount / statistics.median(wall for wall, _ in side) for amount, side in zip(amounts, results, strict=True)
    ]
    scale = amounts[0] / amounts[1]
    ratios = [
        scale * statistics.median(b[clock] / a[clock] for a, b in zip(ours, other, strict=True)) for clock in (0, 1)
    ]
    wanted = WANTED[name.split(",", maxsplit=1)[0]]
    print(
        f"{name:28s}{unit:>11s}{rates[0]:12.1f}{rates[1]:12.1f}{ratios[0]:9.1f}x{ratios[1]:10.1f}x"
        f"{wanted:9.1f}x  {'ok' if min(ratios) >= wanted else 'MISSED'}"
    )


def alone(rounds: int) -> None:
    """Training at the sizes of the shipped recipes."""
    print("\nwearcast alone, training step, 29 past variables, batch 256; median windows a second")
    print(
        f"{'steps':>8s}{'d_model':>9s}{'parameters':>12s}" + "".join(f"{f'{n} threads':>12s}" for n in thread_counts())
    )
    for context, width in ((96, 16), (96, 24), (96, 32), (48, 24)):
        model = Forecaster(n_past=29, d_model=width)
        past, mask = torch.randn(BATCH, context, 29), torch.ones(BATCH, context, dtype=torch.bool)
        target = torch.randn(BATCH)
        train, _ = steps(
            model,
            lambda past=past, mask=mask, model=model: model(past, mask, None),
            lambda out, target=target, model=model: pinball_loss(out, target, model.head.levels),
        )
        rates = []
        for threads in thread_counts():
            torch.set_num_threads(threads)
            timed(train, 1)
            rates.append(BATCH / statistics.median(timed(train, 1)[0] for _ in range(rounds)))
        print(f"{context:8d}{width:9d}{size(model):12d}" + "".join(f"{rate:12.0f}" for rate in rates))


def thread_counts() -> list[int]:
    return sorted({1, min(os.cpu_count() or 1, 2)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    values = readings()
    their_read, their_train, their_forward, their_size = theirs(values)
    our_read = our_batches(values)
    train, forward, our_size = our_steps(horizon=1)
    now_train, now_forward, now_size = our_steps(horizon=0)
    print(f"torch {torch.__version__}, one thread, {args.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"parameters: wearcast {our_size}, state of now {now_size}; pytorch-forecasting {their_size}")
    print(f"{'':28s}{'':>11s}{'wearcast':>12s}{'theirs':>12s}{'wall':>10s}{'processor':>11s}{'wanted':>10s}")
    gc.collect()
    report("loader", "batches/s", (300, 3), race(our_read(300), their_read(3), args.rounds, 1))
    pair = (BATCH, BATCH)
    report("training step", "windows/s", pair, race(train, their_train, args.rounds, 2))
    report("forward pass", "windows/s", pair, race(forward, their_forward, args.rounds, 3))
    report("training step, state of now", "windows/s", pair, race(now_train, their_train, args.rounds, 2))
    report("forward pass, state of now", "windows/s", pair, race(now_forward, their_forward, args.rounds, 3))
    alone(args.rounds)


if __name__ == "__main__":
    main()
