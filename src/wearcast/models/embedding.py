"""Values, position and time marks of each step as one vector: the input layer of Informer and Autoformer.

Zhou et al. 2021 (Informer, AAAI), appendix B, after the code of zhouhaoyi/Informer2020 (`DataEmbedding`); without the
position it is the one of Wu et al. 2021 (Autoformer, NeurIPS). Deviations:

- The convolution of width 3 is written as one matrix product over each step and its two neighbours.
- Past values of known-future columns are channels of the past, so a past step has its marks among its values. Marks
  of their own have the steps of the horizon alone, where there are no values.
- Static features, which the papers do not have, are added to each step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.models.dropout import Dropout

__all__ = ["CircularConvolution", "SequenceEmbedding", "sinusoids"]


def sinusoids(length: int, d_model: int) -> Tensor:
    """Fixed position embedding of Vaswani et al. 2017, section 3.5: `(length, d_model)`."""
    step = torch.arange(length, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float32) * (-math.log(10_000.0) / d_model))
    waves = torch.stack([torch.sin(step * rate), torch.cos(step * rate)], dim=2)
    return waves.flatten(1)[:, :d_model]


class CircularConvolution(nn.Module):
    """Convolution of width 3 along time, the ends of the window joined: `(batch, time, n)` to `(batch, time, m)`."""

    def __init__(self, n_inputs: int, n_outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.narrows = n_outputs < n_inputs
        self.neighbours = nn.Linear(3 * n_inputs, n_outputs, bias=bias)
        nn.init.kaiming_normal_(self.neighbours.weight, mode="fan_in", nonlinearity="leaky_relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolved steps."""
        if self.narrows:  # to move what comes out is less than to copy what goes in
            each = torch.unflatten(self.neighbours.weight, 1, (3, -1)).transpose(0, 1).flatten(0, 1)
            before, own, after = functional.linear(x, each).chunk(3, dim=2)
            total = own + before.roll(1, dims=1) + after.roll(-1, dims=1)
            return total if self.neighbours.bias is None else total + self.neighbours.bias
        before = torch.cat([x[:, -1:], x[:, :-1]], dim=1)
        after = torch.cat([x[:, 1:], x[:, :1]], dim=1)
        result: Tensor = self.neighbours(torch.cat([before, x, after], dim=2))
        return result


class SequenceEmbedding(nn.Module):
    """Sum of what a step's values, its position, its marks and the unit's static features say.

    Args:
        n_values: channels of each step.
        d_model: width of the embedding.
        n_marks: known-future columns; 0 for none.
        n_static: static features; 0 for none.
        length: steps of a sequence; their position is added. 0 to leave it out.
        dropout: share dropped of the sum.
    """

    position: Tensor | None

    def __init__(
        self, n_values: int, d_model: int, *, n_marks: int = 0, n_static: int = 0, length: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.values = CircularConvolution(n_values, d_model)
        self.marks = nn.Linear(n_marks, d_model, bias=False) if n_marks else None
        self.static = nn.Linear(n_static, d_model, bias=False) if n_static else None
        self.register_buffer("position", sinusoids(length, d_model) if length else None, persistent=False)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, marks: Tensor | None = None, static: Tensor | None = None) -> Tensor:
        """Embed.

        Args:
            values: `(batch, time, n_values)`, 0 where padded and where it is not known.
            marks: `(batch, steps, n_marks)` of the last `steps` of `time`; None if there are none.
            static: `(batch, n_static)`; None if there are none.

        Returns:
            `(batch, time, d_model)`.
        """
        total: Tensor = self.values(values)
        if self.position is not None:
            total = total + self.position
        if self.marks is not None and marks is not None:
            total = total + functional.pad(self.marks(marks), (0, 0, values.shape[1] - marks.shape[1], 0))
        if self.static is not None and static is not None:
            total = total + self.static(static).unsqueeze(1)
        dropped: Tensor = self.dropout(total)
        return dropped
