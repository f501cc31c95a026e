"""A backbone and its head as one module: what is trained, and what is exported."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from wearcast.errors import ModelError
from wearcast.models.spec import Inputs, Network

__all__ = ["BackboneModule", "ForecastNetwork", "Head", "Loss", "given", "pooled"]


def given(value: Tensor | None, count: int, what: str) -> Tensor:
    """The covariates that a backbone was built for.

    Raises:
        ModelError: they are missing.
    """
    if value is None:
        raise ModelError(f"this model was built for {count} {what} variables and was given none")
    return value


def pooled(past: Tensor, mask: Tensor, pool: int) -> tuple[Tensor, Tensor]:
    """Windows whose steps are the means of `pool` readings each, the last of them ending where the window ends.

    Noise of a reading is averaged out, and a backbone has so many times fewer steps to go through.

    Args:
        past: `(batch, time, n_past)`.
        mask: `(batch, time)`; a mean is over the readings that are real.
        pool: how many readings.

    Returns:
        `(batch, ceil(time / pool), n_past)` and its mask, true where any of the readings is real.
    """
    if pool == 1:
        return past, mask
    lead = -past.shape[1] % pool
    past, mask = functional.pad(past, (0, 0, lead, 0)), functional.pad(mask, (lead, 0))
    steps = past.shape[1] // pool
    real = mask.reshape(-1, steps, pool, 1).to(past.dtype)
    count = real.sum(dim=2)
    total = (past.reshape(-1, steps, pool, past.shape[2]) * real).sum(dim=2)
    return total / count.clamp(min=1), count.squeeze(2) > 0


class BackboneModule(nn.Module):
    """What every backbone is: `(past, mask, static, known_future)` to a state `(batch, d_state)`."""

    d_state: int
    decodes = False
    """Whether `decode` gives a state of its own for each step of the horizon."""

    def forward(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """State of each window.

        Args:
            past: `(batch, time, n_past)` float.
            mask: `(batch, time)` bool, True where a step is real; padding is on the left.
            static: `(batch, n_static)` or None.
            known_future: `(batch, prediction_length, n_known_future)` or None.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def decode(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """States over the horizon: `(batch, prediction_length, d_state)`, or one for all of it, `(batch, 1, d_state)`.

        The one of `forward` unless a backbone has a decoder.
        """
        state: Tensor = self(past, mask, static, known_future)
        return state.unsqueeze(1)

    def levels_of(self, channel: int) -> tuple[int, ...]:
        """Which numbers of the decoded state add up to a level of this past channel; none unless a backbone has any."""
        return ()


class Head(nn.Module):
    """What every head is: a state to raw numbers that a loss reads, and those to what the graph gives."""

    output_name: str
    """Name of the graph's output."""
    over_horizon = False
    """Whether it reads the states over the horizon, `(batch, steps, d_state)`, instead of one, `(batch, d_state)`."""

    def output(self, raw: Tensor) -> Tensor:
        """What the graph gives."""
        return raw


class Loss(nn.Module):
    """What every loss is: `(raw, answer, known)` to the mean loss and a figure of each row, `(batch, …)`.

    `errors` turns figures into errors whose mean over held-out windows, after `pooled`, chooses the epoch.
    """

    error_name: str

    def errors(self, figure: Tensor, answer: Tensor, known: Tensor) -> Tensor:
        """Errors of what is known, `(m,)`."""
        raise NotImplementedError(f"{type(self).__name__} must define errors")

    def pooled(self, mean: Tensor) -> Tensor:
        """The mean error as it is shown."""
        return mean


class ForecastNetwork(nn.Module):
    """Windows to what the head gives: the survival curve at the grid's edges, class scores, quantiles."""

    def __init__(self, spec: Network, inputs: Inputs, make_head: Callable[[BackboneModule], Head]) -> None:
        """`make_head` is called with the backbone that was built."""
        super().__init__()
        self.inputs = inputs
        self.pool = spec.pool
        self.backbone = spec.build(inputs.pooled(spec.pool))
        self.head = make_head(self.backbone)

    def raw(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """What the loss reads."""
        past, mask = pooled(past, mask, self.pool)
        read = self.backbone.decode if self.head.over_horizon else self.backbone
        result: Tensor = self.head(read(past, mask, static, known_future))
        return result

    def forward(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """What the graph gives."""
        return self.head.output(self.raw(past, mask, static, known_future))
