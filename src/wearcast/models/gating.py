"""Gated building blocks: GLU, gated skip connection and gated residual network.

Lim, Arık, Loeff & Pfister 2021, "Temporal Fusion Transformers for interpretable multi-horizon time series
forecasting", Int. J. Forecasting 37(4), section 4.1. Equation numbers are those of that paper. Deviation: dropout draws
one mask for all steps of a window (Gal & Ghahramani 2016, "A theoretically grounded application of dropout in recurrent
neural networks", NeurIPS), which is also far cheaper than one for each step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GatedLinearUnit", "GatedResidualNetwork", "GatedSkip", "WindowDropout", "merged"]


class WindowDropout(nn.Module):
    """Dropout that drops the same channels at every step of a window."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Drop channels of `(batch, time, channels)` or `(batch, channels)`."""
        if not self.training or self.share == 0:
            return x
        keep = torch.empty((x.shape[0], *(1,) * (x.dim() - 2), x.shape[-1]), device=x.device, dtype=x.dtype)
        return x * keep.bernoulli_(1 - self.share).div_(1 - self.share)


class GatedLinearUnit(nn.Module):
    """Dropout, then `σ(W4 γ + b4) ⊙ (W5 γ + b5)` (equation 5)."""

    def __init__(self, d_in: int, d_out: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = WindowDropout(dropout)
        self.project = nn.Linear(d_in, 2 * d_out)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., d_in)` to `(..., d_out)`."""
        return functional.glu(self.project(self.dropout(x)), dim=-1)


class GatedSkip(nn.Module):
    """`LayerNorm(skip + GLU(x))`, the gated skip connection of equations 17, 20 and 22."""

    def __init__(self, d_model: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.gate = GatedLinearUnit(d_model, d_model, dropout=dropout)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Gate `x` `(..., d_model)` and add it to `skip` of the same shape."""
        return self.norm(skip + self.gate(x))  # type: ignore[no-any-return]


class GatedResidualNetwork(nn.Module):
    """Gated residual network (equations 2 to 4): as deep as needed, or a mere skip where the gate closes.

    Dropout acts before equation 3 instead of after it, so that its linear map and that of the gate can be multiplied.
    """

    def __init__(self, d_model: int, *, d_context: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_model)
        self.context = nn.Linear(d_context, d_model, bias=False) if d_context else None
        self.dropout = WindowDropout(dropout)
        self.outer = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, 2 * d_model)
        self.norm = nn.LayerNorm(d_model)
        for layer in (self.inner, self.outer, self.gate):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if self.context is not None:
            nn.init.xavier_uniform_(self.context.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map `(..., d_model)` to the same shape; `context` must broadcast against it."""
        hidden = self.inner(x)
        if self.context is not None and context is not None:
            hidden = hidden + self.context(context)
        hidden = self.dropout(functional.elu(hidden))
        gated = functional.glu(functional.linear(hidden, *merged(self.outer, self.gate)), dim=-1)
        return self.norm(x + gated)  # type: ignore[no-any-return]


def merged(first: nn.Linear, second: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of `second(first(x))`, to be applied as one map."""
    return second.weight @ first.weight, torch.addmv(second.bias, second.weight, first.bias)
