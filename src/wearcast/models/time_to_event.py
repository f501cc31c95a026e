"""Time-to-event head: one discrete-time hazard per bin of the grid, hence one monotone survival curve.

Paper: Gensheimer & Narasimhan 2019, "A scalable discrete-time survival model for neural networks", PeerJ 7:e6257;
the likelihood of censored units as in their eq. 4. Deviations: hazards act on a grid with linear survival in between
(so that a censoring time inside a bin counts by its share of the bin), and a second term holds the restricted mean
near the observed time, because a likelihood over bins does not know that neighbouring bins are near each other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.models.network import Head, Loss

__all__ = ["TimeToEventHead", "TimeToEventLoss", "log_survival", "restricted_mean"]


class TimeToEventHead(Head):
    """State `(batch, d_state)` to hazard logits `(batch, n_near + n_tail)`.

    The tail bins, beyond the cap, are read off the state but do not shape it: a unit that far from its end shows no
    wear, and a network that is asked how long it has left learns to recognise the training units one by one.
    """

    output_name = "survival"

    def __init__(self, d_state: int, n_near: int, n_tail: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.near = nn.Linear(d_state, n_near)
        self.tail = nn.Linear(d_state, n_tail)
        for linear in (self.near, self.tail):
            nn.init.normal_(linear.weight, std=0.01)

    def start_from(self, base_hazard: Tensor) -> None:
        """Begin with the fleet's own hazard `(n_bins,)` for every unit."""
        with torch.no_grad():
            bias = torch.logit(base_hazard.clamp(1e-4, 0.9))
            self.near.bias.copy_(bias[: self.near.out_features])
            self.tail.bias.copy_(bias[self.near.out_features :])

    def forward(self, state: Tensor) -> Tensor:
        """Hazard logits of each bin."""
        state = self.dropout(state)
        return torch.cat([self.near(state), self.tail(state.detach())], dim=1)

    def output(self, raw: Tensor) -> Tensor:
        """Survival at the grid's edges, `(batch, n_bins + 1)`."""
        return torch.exp(log_survival(raw))


def log_survival(logits: Tensor) -> Tensor:
    """`log S` at the grid's edges, `(batch, n_bins + 1)`, from hazard logits `(batch, n_bins)`."""
    passed = torch.cumsum(functional.logsigmoid(-logits), dim=1)
    return torch.cat([torch.zeros_like(passed[:, :1]), passed], dim=1)


def restricted_mean(survival: Tensor, grid: Tensor, n_bins: int) -> Tensor:
    """`E[min(T, grid[n_bins])]`, `(batch,)`: area under `survival (batch, n_edges)` up to that edge."""
    widths = grid[1 : n_bins + 1] - grid[:n_bins]
    middle = (survival[:, :n_bins] + survival[:, 1 : n_bins + 1]) / 2
    return (middle * widths).sum(dim=1)


class TimeToEventLoss(Loss):
    """Negative log-likelihood of the survival curve plus the squared error of its restricted mean.

    A unit that is still running counts with `log S(c)` of the time `c` that it has been seen to run on, and in the
    second term with the model's own mean beyond `c` (Buckley & James 1979), which is held fixed.
    """

    error_name = "rmse"
    grid: Tensor

    def __init__(self, grid: Tensor, *, max_rul: float, likelihood_weight: float) -> None:
        super().__init__()
        self.register_buffer("grid", grid)
        self.max_rul = max_rul
        self.cap_bins = int((grid <= max_rul * (1 + 1e-9)).sum()) - 1
        self.likelihood_weight = likelihood_weight

    def forward(self, logits: Tensor, duration: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss, and the restricted mean of each row.

        Args:
            logits: hazard logits, `(batch, n_bins)`.
            duration: time to the event, or so far without it, `(batch,)`.
            known: whether the event was seen, `(batch,)` bool.
        """
        edges = log_survival(logits)
        likelihood = self._log_likelihood(logits, edges, duration, known)
        survival = edges.exp()
        mean = restricted_mean(survival, self.grid, self.cap_bins)
        target = self._point_target(survival.detach(), mean.detach(), duration, known)
        # A tenth of the cap is about the error of a good model: both terms are then of order one.
        point = ((mean - target) / (0.1 * self.max_rul)).square()
        return (point - self.likelihood_weight * likelihood).mean(), mean

    def errors(self, figure: Tensor, answer: Tensor, known: Tensor) -> Tensor:
        """Squared error of the restricted mean of each known row."""
        return (figure - answer.clamp(max=self.max_rul))[known].square()

    def pooled(self, mean: Tensor) -> Tensor:
        """Root of the mean squared error."""
        return mean.sqrt()

    def _bin(self, duration: Tensor) -> tuple[Tensor, Tensor]:
        n_bins = len(self.grid) - 1
        index = (torch.searchsorted(self.grid, duration, right=True) - 1).clamp(0, n_bins - 1)
        width = self.grid[index + 1] - self.grid[index]
        return index, ((duration - self.grid[index]) / width).clamp(0, 1)

    def _log_likelihood(self, logits: Tensor, edges: Tensor, duration: Tensor, known: Tensor) -> Tensor:
        index, share = self._bin(duration)
        at = index[:, None]
        before = edges.gather(1, at).squeeze(1)
        logit = logits.gather(1, at).squeeze(1)
        failed = before + functional.logsigmoid(logit)
        running = before + torch.log1p(-share * torch.sigmoid(logit) * (1 - 1e-6))
        return torch.where(known & (duration < self.grid[-1]), failed, running)

    def _point_target(self, survival: Tensor, mean: Tensor, duration: Tensor, known: Tensor) -> Tensor:
        capped = duration.clamp(max=self.max_rul)
        if bool(known.all()):
            return capped
        # E[min(T, cap) | T > c] = c + (area under S from c to the cap) / S(c)
        index, share = self._bin(capped)
        at = index[:, None]
        left, right = survival.gather(1, at).squeeze(1), survival.gather(1, at + 1).squeeze(1)
        here = left + share * (right - left)
        widths = self.grid[1:] - self.grid[:-1]
        areas = torch.cumsum((survival[:, :-1] + survival[:, 1:]) / 2 * widths, dim=1)
        full_bins = torch.where(index > 0, areas.gather(1, (at - 1).clamp(min=0)).squeeze(1), 0.0)
        until = full_bins + (left + here) / 2 * share * widths[index]
        beyond = capped + (mean - until).clamp(min=0) / here.clamp(min=1e-6)
        return torch.where(known, capped, beyond.clamp(max=self.max_rul))
