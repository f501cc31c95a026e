"""Every network, for every target, on short histories and masked sensors, of one feature and of many.

Heads share a graph here, for an export takes seconds: rul, failure and fault read one state, and over a horizon that is
its last step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fixtures.experiments import SMALL
from torch import Tensor

from wearcast.inference import OnnxSession
from wearcast.models.classes import ClassHead
from wearcast.models.network import BackboneModule, ForecastNetwork, Head
from wearcast.models.quantile import HorizonHead
from wearcast.models.spec import Inputs, Network, Tft
from wearcast.models.time_to_event import TimeToEventHead
from wearcast.training.export import TOLERANCE, export_network
from wearcast.windows import WindowBatch

NETWORKS = sorted(kind for kind, spec in SMALL.items() if isinstance(spec, Network))
LEVELS = (0.1, 0.5, 0.9)
CONTEXT, N = 9, 6
FEATURES = {
    "one feature": {"n_past": 1},
    "many features": {"n_past": 10, "n_static": 3, "n_known_future": 2},
}
TARGETS = {"rul": (8,), "failure": (2,), "fault": (4,), "sensor": (2, 3)}
"""What a window's answer looks like; for `sensor` at each step."""
STEPS = {"one feature": 1, "many features": 3}  # a horizon of one step is the easiest to lose in a graph
# With everything a graph can hold.
DEEP: dict[tuple[str, str, str], Network] = {
    ("tft", "all", "many features"): Tft(d_model=8, n_heads=2, n_lstm_layers=2, dropout=0.0)
}
HISTORIES = ("whole", "short history", "masked sensors")


class StateHeads(Head):
    """The heads that read the state of a window, side by side."""

    output_name = "all"

    def __init__(self, d_state: int) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleList([TimeToEventHead(d_state, 5, 2), ClassHead(d_state, 2), ClassHead(d_state, 4)])

    def forward(self, state: Tensor) -> Tensor:
        """All that the graph gives, `(batch, 14)`."""
        return torch.cat([head.output(head(state)) for head in self.heads], dim=1)  # type: ignore[operator]


class AllHeads(Head):
    """Those, and that of future values."""

    output_name = "all"
    over_horizon = True

    def __init__(self, of_state: Head, of_steps: Head) -> None:
        super().__init__()
        self.of_state, self.of_steps = of_state, of_steps

    def forward(self, states: Tensor) -> Tensor:
        """All that the graph gives, `(batch, 14 + steps * columns * levels)`."""
        steps = self.of_steps.output(self.of_steps(states))
        return torch.cat([self.of_state(states[:, -1]), steps.flatten(1)], dim=1)


def make_head(target: str, backbone: BackboneModule, horizon: int) -> Head:
    """The head of one target, or of all that can be had."""
    if target == "rul":
        return TimeToEventHead(backbone.d_state, 5, 2)
    if target in ("failure", "fault"):
        return ClassHead(backbone.d_state, TARGETS[target][0])
    states = StateHeads(backbone.d_state)
    if not horizon:
        return states
    values = HorizonHead(backbone.d_state, horizon, 2, levels=LEVELS, decoded=backbone.decodes)
    return values if target == "sensor" else AllHeads(states, values)


def make_network(kind: str, target: str, features: str, pool: int = 1) -> ForecastNetwork:
    """A small network; biases and norms are away from their initial zeros and ones."""
    sizes = FEATURES[features]
    horizon = STEPS[features] if target in ("sensor", "all") or "n_known_future" in sizes else 0
    torch.manual_seed(0)
    spec = DEEP.get((kind, target, features), SMALL[kind]).model_copy(update={"pool": pool})
    assert isinstance(spec, Network)
    inputs = Inputs(context_length=CONTEXT, prediction_length=horizon, **sizes)
    network = ForecastNetwork(spec, inputs, lambda backbone: make_head(target, backbone, horizon)).eval()
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network


def make_windows(inputs: Inputs, history: str, n: int = N, seed: int = 0) -> dict[str, Tensor]:
    """Windows that miss what `history` says; a missing reading is 0 once it is scaled."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(n, CONTEXT, dtype=torch.bool)
    past = 2.0 * torch.randn(n, CONTEXT, inputs.n_past, generator=generator)
    if history == "short history":
        for row in range(n):
            mask[row, : max(CONTEXT - 1 - 2 * row, 0)] = False
    if history == "masked sensors":
        past[0] = 0.0  # none was ever read
        past[1, :, ::2] = 0.0
        past[2, 5:] = 0.0  # all fell silent
        past[3] = past[3, :1].clone()  # stuck
    windows = {"past": past * mask.unsqueeze(2), "mask": mask}
    if inputs.n_static:
        windows["static"] = torch.randn(n, inputs.n_static, generator=generator)
    if inputs.n_known_future:
        windows["known_future"] = torch.randn(n, inputs.prediction_length, inputs.n_known_future, generator=generator)
    return windows


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_an_answer_for_every_target_whatever_is_missing(kind: str, target: str, features: str) -> None:
    """It has the promised shape, is finite, and does not depend on the windows beside it."""
    network = make_network(kind, target, features)
    for history in HISTORIES:
        windows = make_windows(network.inputs, history)
        found = network(**windows)
        steps = (STEPS[features],) if target == "sensor" else ()
        assert found.shape == (N, *steps, *TARGETS[target]), history
        assert torch.isfinite(found).all(), history
        for row in (0, N - 1):
            alone = network(**{name: value[row : row + 1] for name, value in windows.items()})
            torch.testing.assert_close(alone, found[row : row + 1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("target", "features", "pool"),
    [("state", "one feature", 2), ("sensor", "one feature", 1), ("all", "many features", 1)],
)
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_exported_graph_says_what_the_network_says(
    kind: str, target: str, features: str, pool: int, tmp_path: Path
) -> None:
    """To 1e-4 of the largest figure, for any number of windows, whatever is missing; one reads means of readings."""
    network = make_network(kind, target, features, pool)
    first: dict[str, Any] = {n: value.numpy() for n, value in make_windows(network.inputs, "short history").items()}
    sample = WindowBatch(**{"static": None, "known_future": None, **first})
    assert export_network(network, sample, tmp_path / "model.onnx") <= 1e-5
    session = OnnxSession(tmp_path / "model.onnx")
    for n, history in enumerate(HISTORIES, start=4):
        several = make_windows(network.inputs, history, n, seed=n)
        for windows in (several, {name: value[:1] for name, value in several.items()}):
            found = session.run({name: value.numpy() for name, value in windows.items()})
            expected = network(**windows).detach().numpy()
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max()), history
