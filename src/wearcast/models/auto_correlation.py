"""Auto-correlation: series are joined by the delays at which they look alike, instead of step by step.

Wu et al. 2021, "Autoformer", NeurIPS, equations 5 to 8; reference code: thuml/Autoformer (`AutoCorrelation.py`). As in
that code the correlation of a delay is a sum over time and a mean over channels, without the `1 / L` of equation 5, and
dropout acts on what comes out, not on the weights. Deviations:

- Delays are chosen for each window alone, in training too. The code's faster variant chooses one set for a whole batch
  while training: there, the answer for a window depends on its neighbours, and the model that serves is not the one
  that was trained.
- Each head has delays of its own, as in equation 8. The code means the correlation over all heads before it chooses,
  which is `n_heads=1` here.
- Windows may be padded on the left. The series of a window is its real steps, they are its period, and the number of
  delays is `factor · log` of their number. What is padded is never read.
- Where keys and values are shorter or longer than the queries, they are cut or filled up with zeros at their start,
  so that the latest steps take part; the code cuts or fills at their end, and so drops the latest.
- The sum over time is read off the diagonals of the product of queries and keys in a graph for ONNX Runtime. Where
  nothing is padded, as in most of training, all of it is a product of spectra; see `correlation_spectrum`. Both are
  exact (Wiener-Khinchin theorem).
- Of delays that are as good as each other to one in a million, the shorter is taken. A season that is zero, as that of
  a constant series is, likes all delays alike, and rounding would choose, in each library another.
- Delayed values are gathered, not rolled one by one, or rolled all at once by the shift theorem.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.models.correlation_spectrum import LONGEST, Projections, Waves, correlated
from wearcast.models.decomposition import RealSteps, zero_padding

__all__ = ["AutoCorrelation", "aggregate", "correlation", "correlation_by_fft", "number_of_delays"]

TIE = 1e-6


def number_of_delays(length: int, factor: float) -> int:
    """`⌊factor · log length⌋` (equation 6), at least one and at most all."""
    return min(length, max(1, int(factor * math.log(length)))) if length else 1


def correlation_by_fft(query: Tensor, key: Tensor) -> Tensor:
    """`Σ_t q[t] · k[t − τ]` at each delay `τ`, the ends joined, mean over channels (equation 5).

    Args:
        query: `(batch, heads, channels, length)`.
        key: the same shape.

    Returns:
        `(batch, heads, length)`.
    """
    length = query.shape[3]
    spectrum = torch.fft.rfft(query) * torch.fft.rfft(key).conj()
    likeness: Tensor = torch.fft.irfft(spectrum.mean(dim=2), n=length)
    return likeness


def correlation(query: Tensor, key: Tensor, steps: RealSteps | None) -> Tensor:
    """As `correlation_by_fft`, from the diagonals of the matrix of products; the ends of the real steps are joined.

    Args:
        query: `(batch, heads, channels, length)`, 0 where padded.
        key: the same shape, 0 where padded.
        steps: of the queries; None if nothing is padded.

    Returns:
        `(batch, heads, length)`; delays that are longer than the real steps mean nothing.
    """
    length = query.shape[3]
    products = torch.matmul(key.transpose(2, 3), query) / query.shape[2]  # [s, t]
    # Rows of one more than they are stored with: what stood on a diagonal stands in a column, t - s modulo 2 L.
    stored = functional.pad(products, (0, length - 1)).flatten(2)
    open_ended = torch.unflatten(functional.pad(stored, (0, length)), 2, (length, 2 * length)).sum(dim=2)
    if steps is None:
        return open_ended[:, :, :length] + open_ended[:, :, length:]
    delay = torch.arange(length, device=query.device)
    around = (2 * length + delay - steps.number).clamp(max=2 * length - 1)
    return open_ended[:, :, :length] + open_ended.gather(2, around.expand(-1, query.shape[1], -1))


def aggregate(value: Tensor, delay: Tensor, weight: Tensor, steps: RealSteps | None) -> Tensor:
    """Weighted sum of the series rolled to the left by each delay (equation 6).

    Args:
        value: `(batch, length, d_model)`, its channels divided among the heads.
        delay: `(batch, heads, delays)` int, each less than the number of real steps.
        weight: the same shape.
        steps: None if nothing is padded.
    """
    batch, length, width = value.shape
    n_heads, n_delays = delay.shape[1:]
    time = torch.arange(length, device=value.device)
    if steps is None:
        seen = time.view(-1, 1, 1) + delay.unsqueeze(1)  # (batch, length, heads, delays)
        seen = torch.where(seen >= length, seen - length, seen)
    else:
        first, count = steps.first.unsqueeze(3), steps.number.unsqueeze(3)
        seen = (time.view(1, -1, 1, 1) - first).clamp(min=0) + delay.unsqueeze(1)
        seen = torch.where(seen >= count, seen - count, seen) + first
    start = torch.arange(batch, device=value.device) * length
    row = (seen + start.view(-1, 1, 1, 1)) * n_heads + torch.arange(n_heads, device=value.device).view(-1, 1)
    table = value.reshape(batch * length * n_heads, width // n_heads)
    each = weight.unsqueeze(1).expand(-1, length, -1, -1)
    if torch.compiler.is_compiling():  # the fused sum has no counterpart in ONNX
        summed = (functional.embedding(row, table) * each.unsqueeze(4)).sum(dim=3)
    else:
        rows = row.reshape(-1, n_delays)
        summed = functional.embedding_bag(rows, table, per_sample_weights=each.reshape(-1, n_delays), mode="sum")
    return summed.view(batch, length, width)


class AutoCorrelation(nn.Module):
    """Multi-head auto-correlation of one series with itself or with another (equations 6 to 8).

    Args:
        d_model: width; divided among the heads.
        n_heads: heads, each with delays of its own.
        length: steps of the queries.
        factor: delays that are joined, as a multiple of the logarithm of the number of steps.
    """

    n_delays: Tensor
    to_spectrum: Tensor
    to_steps: Tensor

    def __init__(self, d_model: int, n_heads: int, length: int, *, factor: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.output = nn.Linear(d_model, d_model)
        self.most_delays = number_of_delays(length, factor)
        counts = torch.tensor([number_of_delays(count, factor) for count in range(length + 1)])
        self.register_buffer("n_delays", counts, persistent=False)
        waves = Waves.of(length if length <= LONGEST else 1)
        self.register_buffer("to_spectrum", waves.spectrum, persistent=False)
        self.register_buffer("to_steps", waves.steps, persistent=False)

    def forward(self, series: Tensor, other: Tensor, steps: RealSteps | None, other_steps: RealSteps | None) -> Tensor:
        """Join.

        Args:
            series: queries, `(batch, length, d_model)`.
            other: keys and values, `(batch, any, d_model)`.
            steps: real steps of the queries.
            other_steps: real steps of `other`.
        """
        if steps is None and other_steps is None and self._by_spectrum(series):
            maps = Projections(*(p for layer in (self.query, self.key_value, self.output) for p in layer.parameters()))
            waves = Waves(self.to_spectrum, self.to_steps)
            return correlated(series, None if other is series else other, maps, waves, self.n_heads, self._best)
        query = zero_padding(self.query(series), steps)
        key_value = zero_padding(self.key_value(other), other_steps)
        missing = series.shape[1] - other.shape[1]
        if missing != 0:  # a negative number cuts
            key_value = functional.pad(key_value, (0, 0, missing, 0))
        key, value = key_value.chunk(2, dim=2)
        delay, weight = self.delays(query, key, steps)
        joined: Tensor = self.output(aggregate(value, delay, weight, steps))
        return joined

    def delays(self, query: Tensor, key: Tensor, steps: RealSteps | None) -> tuple[Tensor, Tensor]:
        """The delays of each window and head at which query and key look most alike, and their weights.

        Args:
            query: `(batch, length, d_model)`, 0 where padded.
            key: the same shape.
            steps: real steps of the queries.

        Returns:
            Both `(batch, heads, delays)`.
        """
        query = torch.unflatten(query, 2, (self.n_heads, -1)).permute(0, 2, 3, 1)
        key = torch.unflatten(key, 2, (self.n_heads, -1)).permute(0, 2, 3, 1)
        if steps is None:
            likeness = correlation_by_fft(query, key)
            delay = self._best(likeness)
            return delay, torch.softmax(likeness.gather(2, delay), dim=2)
        likeness = correlation(query, key, steps)
        time = torch.arange(likeness.shape[2], device=likeness.device)
        impossible = time >= steps.number
        likeness = likeness.masked_fill(impossible, 0.0)
        delay = self._best(likeness, impossible)
        too_many = time[: self.most_delays] >= self.n_delays[steps.number]
        weight = torch.softmax(likeness.gather(2, delay).masked_fill(too_many, float("-inf")), dim=2)
        return torch.minimum(delay, steps.number - 1), weight

    def _by_spectrum(self, series: Tensor) -> bool:
        """Whether it pays, and nothing is traced: a graph for export or compilation takes the diagonals."""
        plain = series.dtype == torch.float32 and not torch.is_autocast_enabled(series.device.type)
        return plain and series.shape[1] == self.to_spectrum.shape[1] and not torch.compiler.is_compiling()

    def _best(self, likeness: Tensor, impossible: Tensor | None = None) -> Tensor:
        """The delays of highest likeness, `(batch, heads, delays)`."""
        likeness = likeness.detach()
        scale = TIE * likeness.abs().amax(dim=2, keepdim=True)
        likeness = likeness - scale * torch.arange(likeness.shape[2], device=likeness.device)
        if impossible is not None:
            likeness = likeness.masked_fill(impossible, float("-inf"))
        return likeness.topk(self.most_delays, dim=2).indices
