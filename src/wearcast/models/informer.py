"""Informer.

Zhou et al. 2021, "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting", AAAI 35(12),
11106-11115 (arXiv 2012.07436); reference code: zhouhaoyi/Informer2020. Deviations, beside those of `prob_sparse` (the
attention) and `embedding` (values, position, time marks):

- Layer norm stands where distilling has batch norm: statistics of a batch would mix windows, and padding with readings.
- Windows may be padded on the left. A padded step is zero before each convolution, and lost in the max pooling.
- One encoder stack, the code's default; the paper also joins one of half the input.
- The decoder's start token is a share of the context, and not read beyond it. What the last decoder layer would compute
  of the start token is left out, for nothing reads it.
- The last projection is the head's, which gives quantiles.
- With `centred`, which is off unless asked for, the network reads deviations from the mean of the window, and the mean
  stands beside the state for the head to add: Liu et al. 2022, "Non-stationary Transformers", NeurIPS, without scale.
- Without a horizon there is no decoder: the state is a linear map of the encoder's last step and of its mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.models.dropout import Dropout
from wearcast.models.embedding import CircularConvolution, SequenceEmbedding
from wearcast.models.network import BackboneModule, given
from wearcast.models.prob_sparse import CrossAttention, ProbSparseAttention
from wearcast.models.spec import Informer, Inputs

__all__ = ["Distilling", "InformerBackbone"]


class FeedForward(nn.Module):
    """Two maps with GELU between them, added to what goes in and normed."""

    def __init__(self, spec: Informer) -> None:
        super().__init__()
        self.wide = nn.Linear(spec.d_model, spec.d_feed_forward)
        self.narrow = nn.Linear(spec.d_feed_forward, spec.d_model)
        self.norm = nn.LayerNorm(spec.d_model)
        self.dropout = Dropout(spec.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Each step by itself, `(batch, time, d_model)`."""
        wide = self.dropout(functional.gelu(self.wide(x)))
        normed: Tensor = self.norm(x + self.dropout(self.narrow(wide)))
        return normed


class EncoderLayer(nn.Module):
    """ProbSparse self-attention and the feed-forward map."""

    def __init__(self, spec: Informer, length: int, seed: int) -> None:
        super().__init__()
        self.attend = ProbSparseAttention(spec.d_model, spec.n_heads, length, factor=spec.factor, seed=seed)
        self.norm = nn.LayerNorm(spec.d_model)
        self.dropout = Dropout(spec.dropout)
        self.feed_forward = FeedForward(spec)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`(batch, time, d_model)` to the same."""
        normed = self.norm(x + self.dropout(self.attend(x, mask)))
        result: Tensor = self.feed_forward(normed)
        return result


class Distilling(nn.Module):
    """Convolution, ELU and max pooling of width 3 and stride 2 (equation 5): half as many steps, rounded up."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.convolve = CircularConvolution(d_model, d_model, bias=True)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Halve `(batch, time, d_model)` and its mask; a step of the result is real if one of its three was."""
        if mask is not None:
            x = x.masked_fill(~mask.unsqueeze(2), 0.0)
        x = functional.elu(self.norm(self.convolve(x)))
        # ELU is above -1: what is padded never is the largest while one of the three is real.
        if mask is None:
            return _largest_of_three(x, -1.0), None
        halved = _largest_of_three(mask.unsqueeze(2).to(x.dtype), 0.0) > 0
        return _largest_of_three(x.masked_fill(~mask.unsqueeze(2), -1.0), -1.0), halved.squeeze(2)


def _largest_of_three(x: Tensor, beyond: float) -> Tensor:
    """Every second step and its neighbours: `(batch, time, n)` to `(batch, ⌈time / 2⌉, n)`."""
    padded = functional.pad(x, (0, 0, 1, 1), value=beyond)
    steps = x.shape[1]
    return torch.maximum(
        torch.maximum(padded[:, 0:steps:2], padded[:, 1 : steps + 1 : 2]), padded[:, 2 : steps + 2 : 2]
    )


class Encoder(nn.Module):
    """Layers with a distilling between each two of them."""

    def __init__(self, spec: Informer, length: int) -> None:
        super().__init__()
        layers, distillings = [], []
        for index in range(spec.n_encoder_layers):
            layers.append(EncoderLayer(spec, length, seed=index))
            if spec.distil and index + 1 < spec.n_encoder_layers:
                distillings.append(Distilling(spec.d_model))
                length = (length + 1) // 2
        self.layers, self.distillings = nn.ModuleList(layers), nn.ModuleList(distillings)
        self.norm = nn.LayerNorm(spec.d_model)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encoded steps, fewer than went in if distilled, and which of them are real."""
        for index, layer in enumerate(self.layers):
            x = layer(x, mask)
            if index < len(self.distillings):
                x, mask = self.distillings[index](x, mask)
        return self.norm(x), mask


class DecoderLayer(nn.Module):
    """Causal ProbSparse self-attention, full attention on the encoder, and the feed-forward map."""

    def __init__(self, spec: Informer, length: int, seed: int) -> None:
        super().__init__()
        self.attend = ProbSparseAttention(
            spec.d_model, spec.n_heads, length, factor=spec.factor, causal=True, seed=seed
        )
        self.cross = CrossAttention(spec.d_model, spec.n_heads)
        self.norm, self.cross_norm = nn.LayerNorm(spec.d_model), nn.LayerNorm(spec.d_model)
        self.dropout = Dropout(spec.dropout)
        self.feed_forward = FeedForward(spec)

    def forward(self, x: Tensor, mask: Tensor | None, memory: Tensor, memory_mask: Tensor | None, kept: int) -> Tensor:
        """The last `kept` steps of `(batch, time, d_model)`, decoded."""
        x = self.norm((x + self.dropout(self.attend(x, mask)))[:, -kept:])
        x = self.cross_norm(x + self.dropout(self.cross(x, memory, memory_mask)))
        result: Tensor = self.feed_forward(x)
        return result


class Decoder(nn.Module):
    """The generative decoder (equation 7): a start token and a placeholder of zeros for each step of the horizon."""

    def __init__(self, spec: Informer, inputs: Inputs, n_marks: int) -> None:
        super().__init__()
        self.horizon = inputs.prediction_length
        self.start = max(1, round(spec.label_share * inputs.context_length))
        length = self.start + self.horizon
        self.embed = SequenceEmbedding(
            inputs.n_past,
            spec.d_model,
            n_marks=n_marks,
            n_static=inputs.n_static,
            length=length,
            dropout=spec.dropout,
        )
        self.layers = nn.ModuleList(
            DecoderLayer(spec, length, seed=100 + index) for index in range(spec.n_decoder_layers)
        )
        self.norm = nn.LayerNorm(spec.d_model)

    def forward(
        self,
        past: Tensor,
        mask: Tensor | None,
        static: Tensor | None,
        known_future: Tensor | None,
        memory: Tensor,
        memory_mask: Tensor | None,
    ) -> Tensor:
        """States over the horizon, `(batch, prediction_length, d_model)`."""
        values = functional.pad(past[:, -self.start :], (0, 0, 0, self.horizon))
        real = None if mask is None else functional.pad(mask[:, -self.start :], (0, self.horizon), value=True)
        x = self.embed(values, known_future, static)
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            x = layer(x, real, memory, memory_mask, self.horizon if index == last else x.shape[1])
        normed: Tensor = self.norm(x)
        return normed


class InformerBackbone(BackboneModule):
    """Informer: encoder and decoder over a horizon, or the encoder alone without one."""

    def __init__(self, spec: Informer, inputs: Inputs) -> None:
        """Built for windows of one length."""
        super().__init__()
        self.n_static, self.centred = inputs.n_static, spec.centred
        self.d_state = spec.d_model + (inputs.n_past if spec.centred else 0)
        self.decodes = inputs.prediction_length > 0
        self.n_known_future = inputs.n_known_future if self.decodes else 0
        self.embed = SequenceEmbedding(
            inputs.n_past, spec.d_model, n_static=inputs.n_static, length=inputs.context_length, dropout=spec.dropout
        )
        self.encoder = Encoder(spec, inputs.context_length)
        self.decoder = Decoder(spec, inputs, self.n_known_future) if self.decodes else None
        self.pool = None if self.decodes else nn.Linear(2 * spec.d_model, spec.d_model)

    def forward(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """State at the last reading, or at the last step of the horizon if there is one, `(batch, d_state)`."""
        return self.decode(past, mask, static, known_future)[:, -1]

    def decode(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """State at each step of the horizon (or at the last reading), `(batch, max(prediction_length, 1), d_state)`.

        Raises:
            ModelError: a covariate that the model was built for is missing.
        """
        self._check(static, known_future)
        padded = None if unpadded(mask) else mask
        level = mean_of_real(past, padded).unsqueeze(1) if self.centred else None
        if level is not None:
            past = past - level
        if padded is not None:
            past = past.masked_fill(~padded.unsqueeze(2), 0.0)
        states = self._states(past, padded, static, known_future)
        return states if level is None else torch.cat([states, level.expand(-1, states.shape[1], -1)], dim=2)

    def _states(
        self, past: Tensor, padded: Tensor | None, static: Tensor | None, known_future: Tensor | None
    ) -> Tensor:
        """What the network itself says, `(batch, steps, d_model)`."""
        memory, memory_mask = self.encoder(self.embed(past, None, static), padded)
        if self.decoder is not None:
            states: Tensor = self.decoder(past, padded, static, known_future, memory, memory_mask)
            return states
        assert self.pool is not None  # noqa: S101 - there is one or the other
        pooled: Tensor = self.pool(torch.cat([memory[:, -1], mean_of_real(memory, memory_mask)], dim=1))
        return pooled.unsqueeze(1)

    def _check(self, static: Tensor | None, known_future: Tensor | None) -> None:
        if self.n_static:
            given(static, self.n_static, "static")
        if self.n_known_future:
            given(known_future, self.n_known_future, "known-future")


def mean_of_real(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the real steps of `(batch, time, n)`, `(batch, n)`."""
    if mask is None:
        return x.mean(dim=1)
    real = mask.unsqueeze(2).to(x.dtype)
    return (x * real).sum(dim=1) / real.sum(dim=1)


def unpadded(mask: Tensor) -> bool:
    """Whether nothing is padded; a graph for export or compilation must not depend on it."""
    return mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all())
