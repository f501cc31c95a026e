"""A backbone and its head as one module: what is trained, and what is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wearcast.models.spec import Inputs, Network
from wearcast.models.time_to_event import TimeToEventHead, log_survival

__all__ = ["BackboneModule", "ForecastNetwork"]


class BackboneModule(nn.Module):
    """What every backbone is: `(past, mask, static, known_future)` to a state `(batch, d_state)`."""

    d_state: int

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


class ForecastNetwork(nn.Module):
    """Windows to the survival curve at the grid's edges."""

    def __init__(self, spec: Network, inputs: Inputs, n_near: int, n_tail: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.backbone = spec.build(inputs)
        self.head = TimeToEventHead(self.backbone.d_state, n_near, n_tail, dropout=spec.dropout)

    def logits(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """Hazard logits, `(batch, n_bins)`: what the loss reads."""
        result: Tensor = self.head(self.backbone(past, mask, static, known_future))
        return result

    def forward(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """Survival at the grid's edges, `(batch, n_bins + 1)`."""
        return torch.exp(log_survival(self.logits(past, mask, static, known_future)))
