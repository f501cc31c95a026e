"""Series decomposition: a moving average along time is the trend, what is left of a series is its season.

Wu et al. 2021, "Autoformer: decomposition transformers with auto-correlation for long-term series forecasting",
NeurIPS, equation 1; reference code: thuml/Autoformer (`layers/Autoformer_EncDec.py`). Deviations:

- What a series is beside its average with repeated ends is one product with a constant matrix, three times as fast as
  pooling at these lengths.
- Windows may be padded on the left: the first real step is repeated over the padding, so that what is real has the
  decomposition that it has alone.
- The last step is taken away before, and the trend is what the season leaves, so that the season of a constant series
  is zero, not what rounding leaves: the norm behind the layers would make something of that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = [
    "RealSteps",
    "SeasonalNorm",
    "SeriesDecomposition",
    "averaging_matrix",
    "mean_over_time",
    "real_steps",
    "zero_padding",
]


class RealSteps(NamedTuple):
    """Which steps of left-padded series are real, and what follows from that: every layer asks for it."""

    mask: Tensor
    """`(batch, time)` bool."""
    real: Tensor
    """`(batch, time, 1)` bool."""
    padded: Tensor
    """`(batch, time, 1)` bool."""
    first: Tensor
    """`(batch, 1, 1)` int, position of the first real step."""
    number: Tensor
    """`(batch, 1, 1)` int."""
    share: Tensor
    """`(batch, 1, time)`, of each step in a mean over the real ones."""

    @classmethod
    def of(cls, mask: Tensor) -> RealSteps:
        """Of `(batch, time)` bool."""
        real, number = mask.unsqueeze(2), mask.sum(dim=1).view(-1, 1, 1)
        return cls(mask, real, ~real, mask.shape[1] - number, number, mask.unsqueeze(1) / number)


def real_steps(mask: Tensor) -> RealSteps | None:
    """The real steps, or None if it is known that all are: what is exported or compiled must not depend on that."""
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all()):
        return None
    return RealSteps.of(mask)


def zero_padding(x: Tensor, steps: RealSteps | None) -> Tensor:
    """`(batch, time, n)` with 0 where padded."""
    return x if steps is None else x.masked_fill(steps.padded, 0.0)


def mean_over_time(x: Tensor, steps: RealSteps | None) -> Tensor:
    """Mean of `(batch, time, n)` over the real steps, `(batch, 1, n)`."""
    if steps is None:
        return x.mean(dim=1, keepdim=True)
    return torch.bmm(steps.share, x)


def averaging_matrix(length: int, width: int) -> Tensor:
    """Row `t` averages `width` steps about `t`, the ends repeated: `(length, length)`."""
    before = (width - 1) // 2
    matrix = torch.zeros(length, length)
    for offset in range(-before, width - before):
        seen = (torch.arange(length) + offset).clamp(0, length - 1)
        matrix[torch.arange(length), seen] += 1.0 / width
    return matrix


class SeriesDecomposition(nn.Module):
    """`(batch, length, n)` to season and trend of the same shape (equation 1)."""

    without_average: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        rest = torch.eye(length) - averaging_matrix(length, width)
        self.register_buffer("without_average", rest, persistent=False)

    def forward(self, x: Tensor, steps: RealSteps | None) -> tuple[Tensor, Tensor]:
        """Season and trend; what they are at padded steps means nothing."""
        season = self.season(x, steps)
        return season, x - season

    def season(self, x: Tensor, steps: RealSteps | None) -> Tensor:
        """The season alone."""
        if steps is None and not torch.compiler.is_compiling():
            alone: Tensor = _Season.apply(x, self.without_average)  # type: ignore[no-untyped-call]
            return alone
        x = x - x[:, -1:]
        if steps is not None:
            x = torch.where(steps.real, x, x.gather(1, steps.first.expand(-1, 1, x.shape[2])))
        return torch.matmul(self.without_average, x)


class _Season(torch.autograd.Function):
    """The season of a series that is not padded, with fewer copies than autograd makes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, without_average: Tensor) -> Tensor:
        ctx.save_for_backward(without_average)
        return torch.matmul(without_average, x - x[:, -1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (without_average,) = ctx.saved_tensors
        for_x = torch.matmul(without_average.t(), gradient)
        for_x[:, -1] -= for_x.sum(dim=1)
        return for_x, None


class SeasonalNorm(nn.Module):
    """Layer norm whose mean over time is taken away: a season has no level."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, bias=False)  # a bias would go with the mean

    def forward(self, x: Tensor, steps: RealSteps | None) -> Tensor:
        """Normalised `(batch, time, d_model)`."""
        normed: Tensor = self.norm(x)
        return normed - mean_over_time(normed, steps)
