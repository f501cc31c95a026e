"""How fast each network trains on a CPU, where the time goes, and whether torch.compile pays.

    python benchmarks/training_profile.py [--rounds 5] [--compile] [--models cnn_bilstm tft informer autoformer]

Each network in its default size reads windows of 96 readings of 29 channels, as on C-MAPSS with deviations and age, in
batches of 256; a step is forward, the loss of time to event, backward and fused AdamW, on one thread. The shares are of
processor time inside torch's operators, by torch.profiler. With `--compile` the same step compiled takes turns with the
plain one; the first two calls, in which it is compiled, are told apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from wearcast.models.network import ForecastNetwork
from wearcast.models.spec import Autoformer, CnnBiLstm, Informer, Inputs, Network, Tft
from wearcast.models.time_to_event import TimeToEventHead, TimeToEventLoss

BATCH, CONTEXT, CHANNELS = 256, 96, 29
SPECS: dict[str, Network] = {
    "cnn_bilstm": CnnBiLstm(),
    "tft": Tft(),
    "informer": Informer(),
    "autoformer": Autoformer(),
}
GROUPS = {
    "products": ("mm", "addmm", "bmm", "baddbmm", "matmul", "convolution", "attention", "einsum", "dot"),
    "recurrence": ("rnn", "lstm"),
    "random": ("bernoulli", "random", "dropout"),
    "optimiser": ("adam", "foreach", "Optimizer"),
}
GRID = torch.linspace(0, 160, 41)
NEAR = 32
Step = Callable[[], None]


def step_of(spec: Network, *, compiled: bool) -> tuple[Step, int]:
    """One training step, and how many parameters it trains."""
    torch.manual_seed(0)
    network = ForecastNetwork(
        spec,
        Inputs(n_past=CHANNELS, context_length=CONTEXT),
        lambda backbone: TimeToEventHead(backbone.d_state, NEAR, len(GRID) - 1 - NEAR),
    )
    loss_of = TimeToEventLoss(GRID, max_rul=float(GRID[NEAR]), likelihood_weight=1.0)
    raw: Callable[[Tensor, Tensor], Tensor] = torch.compile(network.raw) if compiled else network.raw
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    past, mask = torch.randn(BATCH, CONTEXT, CHANNELS), torch.ones(BATCH, CONTEXT, dtype=torch.bool)
    answer, known = 150 * torch.rand(BATCH), torch.ones(BATCH, dtype=torch.bool)

    def step() -> None:
        optimiser.zero_grad()
        loss_of(raw(past, mask), answer, known)[0].backward()
        optimiser.step()

    return step, sum(parameter.numel() for parameter in network.parameters())


def group_of(operator: str) -> str:
    """Which group an operator counts to."""
    return next((name for name, parts in GROUPS.items() if any(part in operator for part in parts)), "elementwise")


def shares(step: Step) -> dict[str, float]:
    """Share of each group in the operators' own time."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(3):
            step()
    total: dict[str, float] = dict.fromkeys([*GROUPS, "elementwise"], 0.0)
    for event in found.key_averages():
        total[group_of(event.key)] += event.self_cpu_time_total
    return {name: value / sum(total.values()) for name, value in total.items()}


def seconds(step: Step) -> float:
    """Processor time of one step."""
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--models", nargs="+", choices=SPECS, default=list(SPECS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"windows of {CONTEXT} x {CHANNELS}, batches of {BATCH}, torch {torch.__version__}, one thread")
    for kind in options.models:
        plain, n_parameters = step_of(SPECS[kind], compiled=False)
        sides = [plain]
        if options.compile:
            compiled, _ = step_of(SPECS[kind], compiled=True)
            start = time.perf_counter()
            compiled(), compiled()
            sides.append(compiled)
            print(f"{kind}: compiled in {time.perf_counter() - start:.0f} s")
        plain()
        taken = [[seconds(side) for side in sides] for _ in range(options.rounds)]
        rate = BATCH / statistics.median(one[0] for one in taken)
        said = ", ".join(f"{name} {share:.0%}" for name, share in shares(plain).items())
        print(f"{kind:<12}{n_parameters:>9,} parameters {rate:>7.0f} windows a second of CPU; {said}", flush=True)
        if options.compile:
            ratio = statistics.median(one[0] / one[1] for one in taken)
            print(f"{'':<12}compiled: {ratio:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
