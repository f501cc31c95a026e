"""Means over several stretches before the end of a window: how the steps of an encoder become one state.

Papers on forecasting have a decoder for what comes next; how a unit is now has none. Wear shows in how the latest
readings differ from earlier ones, and a single reading is noisy, so a state is read from means over several stretches
of different length, as trees read statistics of several scales. How far each stretch reaches back is learnt: it is a
softmax over the steps, the same for every window.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from wearcast.models.dropout import Dropout

__all__ = ["TemporalPooling"]

REACHES: Final = (0.0, 0.06, 0.12, 0.25, 0.5, 1.0)
"""Shares of the window that the stretches cover to begin with; the first is the last step alone."""
OUTSIDE: Final = -6.0
"""Logit of a step that a stretch does not cover, 0 being that of one that it does."""


class TemporalPooling(nn.Module):
    """A layer at each step and six means over the steps, joined by two layers.

    Args:
        length: steps of a window.
        width: numbers of each step.
        d_model: numbers of the state.
        dropout: share dropped behind the layer at each step and between the two that join.
    """

    def __init__(self, length: int, width: int, d_model: int, *, dropout: float) -> None:
        super().__init__()
        to_go = torch.arange(length - 1, -1, -1)
        covered = torch.stack([to_go < max(1, round(reach * length)) for reach in REACHES])
        self.reach = nn.Parameter(torch.where(covered, 0.0, OUTSIDE))
        self.each = nn.Sequential(nn.Linear(width, width), nn.SiLU(), Dropout(dropout))
        self.join = nn.Sequential(
            nn.Linear(len(REACHES) * width, 2 * d_model),
            nn.SiLU(),
            Dropout(dropout),
            nn.Linear(2 * d_model, d_model),
            nn.SiLU(),
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """State `(batch, d_model)` of `(batch, length, width)`; padded steps count nothing, `mask` is None without."""
        reach = self.reach.unsqueeze(0)
        if mask is not None:
            reach = reach.masked_fill(~mask.unsqueeze(1), float("-inf"))
        state: Tensor = self.join(torch.matmul(torch.softmax(reach, dim=2), self.each(x)).flatten(1))
        return state
