"""Class head: a score for each class, and the losses for rare ones.

Losses: cross-entropy, optionally weighted by the inverse of the class frequency, and the focal loss of Lin et al. 2017,
"Focal loss for dense object detection" (ICCV), eq. 5. Both distort probabilities; they are put right on held-out units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.models.network import Head, Loss

__all__ = ["ClassHead", "ClassLoss"]


class ClassHead(Head):
    """State `(batch, d_state)` to class scores `(batch, n_classes)`."""

    output_name = "scores"

    def __init__(self, d_state: int, n_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(d_state, n_classes)
        nn.init.normal_(self.project.weight, std=0.01)

    def start_from(self, share: Tensor) -> None:
        """Begin with the share of each class, `(n_classes,)`."""
        with torch.no_grad():
            self.project.bias.copy_(torch.log(share.clamp(min=1e-6)))

    def forward(self, state: Tensor) -> Tensor:
        """Scores (logits) of each class."""
        scores: Tensor = self.project(self.dropout(state))
        return scores


class ClassLoss(Loss):
    """Cross-entropy with class weights and the focal factor `(1 − p)^γ`."""

    error_name = "log_loss"
    weight: Tensor

    def __init__(self, weight: Tensor, *, gamma: float = 0.0) -> None:
        """`weight` is one number a class, `(n_classes,)`."""
        super().__init__()
        self.register_buffer("weight", weight)
        self.gamma = gamma

    def forward(self, raw: Tensor, answer: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss over the known rows, and the log-probability of each class, `(batch, n_classes)`."""
        logs = functional.log_softmax(raw, dim=1)
        right = logs.gather(1, answer[:, None]).squeeze(1)
        weight = self.weight[answer] * known
        each = -weight * right
        if self.gamma > 0:
            each = each * (1 - right.exp()).clamp(min=1e-6) ** self.gamma
        return each.sum() / weight.sum().clamp(min=1e-6), logs

    def errors(self, figure: Tensor, answer: Tensor, known: Tensor) -> Tensor:
        """Log loss of each known row, weighted as in training."""
        right = figure.gather(1, answer[:, None]).squeeze(1)
        return (-right * self.weight[answer])[known]
