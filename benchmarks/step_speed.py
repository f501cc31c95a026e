"""Training step of Informer, Autoformer and TFT against NeuralForecast's, in one run.

    python benchmarks/step_speed.py [--rounds 7] [--models informer autoformer tft]

Both sides read the same numbers: one column and four calendar marks, 96 steps to 24, width 64, four heads, two encoder
layers and one decoder layer (of the TFT one LSTM layer), dropout 0.1, five quantiles, Adam, batches of 256 windows, one
thread. The inner width of ours is chosen so that the number of parameters is within 10 % of theirs; where it has none,
the script says how far they are apart. A step is forward, pinball loss, backward and the optimiser's. The sides take
turns; the ratio is the median over rounds of theirs to ours, of wall time and of processor time. On a busy machine the
latter tells more.

Needs NeuralForecast: `pip install 'wearcast[train]' 'neuralforecast>=3.1'`.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wearcast.models.network import ForecastNetwork
from wearcast.models.quantile import HorizonHead, PinballLoss
from wearcast.models.spec import Autoformer, Informer, Inputs, Network, Tft

BATCH, CONTEXT, HORIZON, WIDTH, HEADS, MARKS = 256, 96, 24, 64, 4, 4
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
MARK_NAMES = [f"mark{i}" for i in range(MARKS)]
Step = Callable[[], None]


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Values of the context, marks of context and horizon, values of the horizon."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((CONTEXT, 1), (CONTEXT + HORIZON, MARKS), (HORIZON, 1))
    past, marks, future = (torch.randn(BATCH, *size, generator=generator) for size in sizes)
    return past, marks, future


def step_of(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """One training step with Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step


def ours(spec: Network) -> tuple[nn.Module, Step]:
    """Our network and its step."""
    past, marks, future = batch()
    inputs = Inputs(n_past=1 + MARKS, n_known_future=MARKS, context_length=CONTEXT, prediction_length=HORIZON)
    torch.manual_seed(0)
    network = ForecastNetwork(
        spec,
        inputs,
        lambda backbone: HorizonHead(backbone.d_state, HORIZON, 1, levels=LEVELS, decoded=backbone.decodes),
    )
    pinball = PinballLoss(LEVELS)
    values, ahead = torch.cat([past, marks[:, :CONTEXT]], dim=2), marks[:, CONTEXT:]
    mask, known = torch.ones(BATCH, CONTEXT, dtype=torch.bool), torch.ones_like(future, dtype=torch.bool)

    def loss() -> Tensor:
        value: Tensor = pinball(network.raw(values, mask, None, ahead), future, known)[0]
        return value

    return network, step_of(network, loss)


def theirs(kind: str) -> tuple[nn.Module, Step]:
    """NeuralForecast's model and its step, without its loader."""
    from neuralforecast import models
    from neuralforecast.losses.pytorch import MQLoss

    common: dict[str, Any] = {
        "h": HORIZON,
        "input_size": CONTEXT,
        "futr_exog_list": MARK_NAMES,
        "hidden_size": WIDTH,
        "n_head": HEADS,
        "dropout": 0.1,
        "loss": MQLoss(quantiles=list(LEVELS)),
        "max_steps": 1,
    }
    sequence = {"encoder_layers": 2, "decoder_layers": 1, "conv_hidden_size": 2 * WIDTH}
    model: nn.Module = {
        "informer": lambda: models.Informer(**common, **sequence, factor=3),
        "autoformer": lambda: models.Autoformer(**common, **sequence, factor=3),
        "tft": lambda: models.TFT(**common),
    }[kind]()
    past, marks, future = batch()
    windows = {"insample_y": past, "futr_exog": marks, "hist_exog": None, "stat_exog": None}
    mask, loss_of = torch.ones_like(future), MQLoss(quantiles=list(LEVELS))

    def loss() -> Tensor:
        said = model({**windows, "insample_mask": torch.ones(BATCH, CONTEXT)})
        value: Tensor = loss_of(y=future, y_hat=said.unsqueeze(2) if said.ndim == 3 else said, mask=mask)
        return value

    return model, step_of(model, loss)


def count(model: nn.Module) -> int:
    """Trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def spec_like(kind: str, wanted: int) -> Network:
    """Our configuration of the same width whose number of parameters is nearest to theirs."""
    makers: dict[str, Callable[[int], Network]] = {
        "informer": lambda inner: Informer(d_model=WIDTH, n_heads=HEADS, d_feed_forward=inner, factor=3),
        "autoformer": lambda inner: Autoformer(d_model=WIDTH, n_heads=HEADS, d_feed_forward=inner, factor=3),
        "tft": lambda inner: Tft(d_model=WIDTH, n_heads=HEADS),
    }
    inner = [WIDTH] if kind == "tft" else range(WIDTH // 2, 6 * WIDTH, 4)
    return min((makers[kind](one) for one in inner), key=lambda spec: abs(count(ours(spec)[0]) - wanted))


def seconds(step: Step) -> tuple[float, float]:
    """Wall and processor time of one step."""
    wall, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(kind: str, rounds: int) -> str:
    """One row of the table."""
    their_model, their_step = theirs(kind)
    our_model, our_step = ours(spec_like(kind, count(their_model)))
    for step in (our_step, their_step):
        step()
    taken = [(seconds(our_step), seconds(their_step)) for _ in range(rounds)]
    ratios = [statistics.median(one[1][clock] / one[0][clock] for one in taken) for clock in (0, 1)]
    rates = [BATCH / statistics.median(one[side][1] for one in taken) for side in (0, 1)]
    return (
        f"{kind:<12}{count(our_model):>10,}{count(their_model):>10,}{rates[0]:>12.0f}{rates[1]:>12.0f}"
        f"{ratios[0]:>9.2f}{ratios[1]:>9.2f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=["informer", "autoformer", "tft"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    print(f"{CONTEXT} -> {HORIZON}, width {WIDTH}, batches of {BATCH}, torch {torch.__version__}, one thread")
    print(f"{'':<12}{'parameters':>20}{'windows a second of CPU':>24}{'theirs / ours':>18}")
    print(f"{'model':<12}{'ours':>10}{'theirs':>10}{'ours':>12}{'theirs':>12}{'wall':>9}{'CPU':>9}")
    for kind in options.models:
        print(compare(kind, options.rounds), flush=True)


if __name__ == "__main__":
    main()
