"""Quantile outputs and the pinball loss.

Lim et al. 2021 (Int. J. Forecasting 37(4)), equations 23 to 25; the loss goes back to Koenker & Bassett 1978,
"Regression quantiles", Econometrica 46(1). Deviation: equation 23 fits each quantile by a linear map of its own, which
lets quantiles cross; here the central level is the linear map and the others are its distance to it in positive steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.errors import ConfigError
from wearcast.models.network import Head, Loss

__all__ = ["HorizonHead", "PinballLoss", "QuantileHead", "pinball_loss"]


class QuantileHead(nn.Module):
    """State `(..., d_state)` to quantiles `(..., n_outputs, n_levels)` that never cross."""

    levels: Tensor

    def __init__(self, d_state: int, *, levels: Sequence[float], n_outputs: int = 1) -> None:
        super().__init__()
        checked_levels(levels)
        self.n_outputs = n_outputs
        self.n_levels = len(levels)
        self.centre = min(range(len(levels)), key=lambda index: abs(levels[index] - 0.5))
        self.project = nn.Linear(d_state, n_outputs * self.n_levels)
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))

    def forward(self, state: Tensor) -> Tensor:
        """Quantiles in the order of `levels`, for every output column."""
        raw = self.project(state).unflatten(-1, (self.n_outputs, self.n_levels))
        centre = raw[..., self.centre : self.centre + 1]
        steps = functional.softplus(raw)
        parts = [centre]
        if self.centre > 0:
            below = steps[..., : self.centre].flip(-1).cumsum(-1).flip(-1)
            parts.insert(0, centre - below)
        if self.centre + 1 < self.n_levels:
            parts.append(centre + steps[..., self.centre + 1 :].cumsum(-1))
        return torch.cat(parts, dim=-1)


class HorizonHead(Head):
    """States over the horizon `(batch, steps, d_state)` to quantiles `(batch, prediction_length, n_columns, n_levels)`.

    A backbone that decodes gives a state a step; another gives one state for the whole horizon, and each step has a
    projection of its own.
    """

    output_name = "quantiles"
    over_horizon = True

    def __init__(
        self,
        d_state: int,
        prediction_length: int,
        n_columns: int,
        *,
        levels: Sequence[float],
        decoded: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.decoded = decoded
        self.shape = (prediction_length, n_columns)
        # A decoder's states are projected as they are, as in the papers: dropping a level or a trend would move it.
        self.dropout = nn.Dropout(0.0 if decoded else dropout)
        n_outputs = n_columns if decoded else prediction_length * n_columns
        self.project = QuantileHead(d_state, levels=levels, n_outputs=n_outputs)

    def carry(self, positions: Sequence[Sequence[int]]) -> None:
        """Begin with the sum of these numbers of the state as the central level of each column, beside the rest.

        So what a decoder says of a column's level is its forecast before anything is learnt, as in the papers.

        Args:
            positions: of each column; a column without any is left as it is.
        """
        raw = torch.unflatten(self.project.project.weight.detach(), 0, (-1, self.project.n_levels))
        for column, found in enumerate(positions):
            raw[column, :, list(found)] = 0.0
            raw[column, self.project.centre, list(found)] = 1.0

    def forward(self, state: Tensor) -> Tensor:
        """Scaled quantiles, in the order of the levels."""
        quantiles: Tensor = self.project(self.dropout(state))
        return quantiles if self.decoded else torch.unflatten(quantiles.squeeze(1), 1, self.shape)


class PinballLoss(Loss):
    """Pinball loss over steps, columns and levels."""

    error_name = "pinball"
    levels: Tensor

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))

    def forward(self, raw: Tensor, answer: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss over what is known, and the quantiles as they are."""
        return pinball_loss(raw, answer, self.levels, known.to(raw.dtype)), raw

    def errors(self, figure: Tensor, answer: Tensor, known: Tensor) -> Tensor:
        """Pinball loss of each known value."""
        error = (answer.unsqueeze(-1) - figure)[known]
        return torch.maximum(self.levels * error, (self.levels - 1.0) * error).mean(-1)


def pinball_loss(quantiles: Tensor, target: Tensor, levels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean pinball loss `max(q (y − ŷ), (q − 1)(y − ŷ))` (equations 24 and 25).

    Args:
        quantiles: `(..., n_levels)`.
        target: `(...)`, one observed value for each row of quantiles.
        levels: `(n_levels,)`, each within 0 and 1.
        weight: `(...)`, zero where the target is not known; `None` counts every row once.
    """
    error = target.unsqueeze(-1) - quantiles
    loss = torch.maximum(levels * error, (levels - 1.0) * error).mean(-1)
    if weight is None:
        return loss.mean()
    loss = torch.where(weight > 0, loss, torch.zeros_like(loss))
    return (loss * weight).sum() / weight.sum().clamp_min(torch.finfo(loss.dtype).tiny)


def checked_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """The levels as a tuple, once they are known to rise strictly between 0 and 1.

    Raises:
        ConfigError: a level is outside (0, 1), repeated, out of order, or there is none.
    """
    if not levels or not all(0.0 < level < 1.0 for level in levels):
        raise ConfigError(
            f"quantile levels must lie between 0 and 1, not {list(levels)}",
            where="quantile_levels",
            hint="for example [0.05, 0.5, 0.95]",
        )
    if any(high <= low for low, high in pairwise(levels)):
        raise ConfigError(
            f"quantile levels must rise, not {list(levels)}",
            where="quantile_levels",
            hint=f"write {sorted(set(levels))}",
        )
    return tuple(levels)
