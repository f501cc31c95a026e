"""Gated building blocks: GLU, gated skip connection and gated residual network.

Lim, Arık, Loeff & Pfister 2021, "Temporal Fusion Transformers for interpretable multi-horizon time series
forecasting", Int. J. Forecasting 37(4), section 4.1. Equation numbers are those of that paper.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GatedLinearUnit", "GatedResidualNetwork", "GatedSkip"]


class GatedLinearUnit(nn.Module):
    """Dropout, then `σ(W4 γ + b4) ⊙ (W5 γ + b5)` (equation 5)."""

    def __init__(self, d_in: int, d_out: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
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
    """Gated residual network (equations 2 to 4): as deep as needed, or a mere skip where the gate closes."""

    def __init__(self, d_model: int, *, d_context: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_model)
        self.context = nn.Linear(d_context, d_model, bias=False) if d_context else None
        self.outer = nn.Linear(d_model, d_model)
        self.skip = GatedSkip(d_model, dropout=dropout)
        for layer in (self.inner, self.outer, self.context):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.inner.bias)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map `(..., d_model)` to the same shape; `context` must broadcast against it."""
        hidden = self.inner(x)
        if self.context is not None and context is not None:
            hidden = hidden + self.context(context)
        return self.skip(self.outer(functional.elu(hidden)), x)  # type: ignore[no-any-return]
