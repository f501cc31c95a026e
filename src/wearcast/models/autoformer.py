"""Autoformer.

Wu, Xu, Wang & Long 2021, "Autoformer: decomposition transformers with auto-correlation for long-term series
forecasting", NeurIPS (arXiv 2106.13008); reference code: thuml/Autoformer. Equation numbers are those of the paper.
Deviations beside those of `decomposition`, `auto_correlation` and `embedding`:

- The season is projected by the head that all backbones share, not by a layer of the decoder. The trend adds up in the
  space of the inputs, as in the paper, and stands beside the season in the state: the head maps both to quantiles. It
  begins as the paper's sum, the trend of a column as it is beside its season, and may learn another.
- The paper has no encoder alone. Without a horizon there is no decoder that would add up the trend that the encoder
  takes away, and wear is trend: the encoder then adds up a trend itself, in `d_model` dimensions, beginning with the
  embedded moving average of the inputs. Season and trend together become one state in `temporal_pooling`.
- With `trend_ahead: learned`, which is off unless asked for, the trend does not begin with the mean of the window over
  the horizon but with a linear map of the window, one for all columns, that begins as the mean (after Zeng et al. 2023,
  "Are transformers effective for time series forecasting?", AAAI): where the last day says more than the first one.
- With `centred`, which is off unless asked for, the decoder's network reads deviations from the mean of the window, and
  the mean stands beside the state (Liu et al. 2022, "Non-stationary Transformers", NeurIPS, without scale).
- With a horizon, the state of a window as a whole is that of the horizon's last step.
- Padded steps take part in nothing; the mean that continues the trend is that of the real steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.models.auto_correlation import AutoCorrelation
from wearcast.models.decomposition import (
    RealSteps,
    SeasonalNorm,
    SeriesDecomposition,
    mean_over_time,
    real_steps,
    zero_padding,
)
from wearcast.models.dropout import Dropout
from wearcast.models.embedding import CircularConvolution, SequenceEmbedding
from wearcast.models.network import BackboneModule, given
from wearcast.models.spec import Autoformer, Inputs
from wearcast.models.temporal_pooling import TemporalPooling

__all__ = ["AutoformerBackbone"]


class FeedForward(nn.Module):
    """Two layers at each step, without biases, as in the reference code."""

    def __init__(self, d_model: int, d_hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.widen = nn.Linear(d_model, d_hidden, bias=False)
        self.narrow = nn.Linear(d_hidden, d_model, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, time, d_model)` to the same."""
        hidden = self.dropout(functional.gelu(self.widen(x)))
        result: Tensor = self.dropout(self.narrow(hidden))
        return result


class EncoderLayer(nn.Module):
    """Auto-correlation and feed-forward, each followed by a decomposition (equation 3)."""

    def __init__(self, spec: Autoformer, length: int, *, keeps_trend: bool) -> None:
        super().__init__()
        self.keeps_trend = keeps_trend
        self.correlate = AutoCorrelation(spec.d_model, spec.n_heads, length, factor=spec.factor)
        self.feed_forward = FeedForward(spec.d_model, spec.d_feed_forward, dropout=spec.dropout)
        self.decompose = SeriesDecomposition(length, spec.moving_average)
        self.dropout = Dropout(spec.dropout)

    def forward(self, x: Tensor, steps: RealSteps | None) -> tuple[Tensor, Tensor | None]:
        """Season, and the trend that was taken away if it is to be kept."""
        x = x + self.dropout(self.correlate(x, x, steps, steps))
        season = self.decompose.season(x, steps)
        added = self.feed_forward(season)
        season = self.decompose.season(season + added, steps)
        return season, x + added - season if self.keeps_trend else None  # the seasons between cancel


class DecoderLayer(nn.Module):
    """Auto-correlation with itself, with the past, and feed-forward, each followed by a decomposition (equation 4)."""

    def __init__(self, spec: Autoformer, length: int, n_trend: int) -> None:
        super().__init__()
        self.correlate = AutoCorrelation(spec.d_model, spec.n_heads, length, factor=spec.factor)
        self.correlate_past = AutoCorrelation(spec.d_model, spec.n_heads, length, factor=spec.factor)
        self.feed_forward = FeedForward(spec.d_model, spec.d_feed_forward, dropout=spec.dropout)
        self.decompose = SeriesDecomposition(length, spec.moving_average)
        self.project_trend = CircularConvolution(spec.d_model, n_trend)
        self.dropout = Dropout(spec.dropout)

    def forward(
        self, x: Tensor, steps: RealSteps | None, past: Tensor, past_steps: RealSteps | None
    ) -> tuple[Tensor, Tensor]:
        """Season `(batch, time, d_model)`, and what it adds to the trend, `(batch, time, n_trend)`."""
        x = x + self.dropout(self.correlate(x, x, steps, steps))
        season = self.decompose.season(x, steps)
        joined = self.dropout(self.correlate_past(season, past, steps, past_steps))
        season = self.decompose.season(season + joined, steps)
        added = self.feed_forward(season)
        season = self.decompose.season(season + added, steps)
        return season, self.project_trend(x + joined + added - season)  # the seasons between cancel


class TrendPooling(nn.Module):
    """Season and trend of the encoder as one state: what there is instead of a decoder when there is no horizon."""

    def __init__(self, spec: Autoformer, inputs: Inputs) -> None:
        super().__init__()
        self.decompose = SeriesDecomposition(inputs.context_length, spec.moving_average)
        self.embed = nn.Linear(inputs.n_past, spec.d_model)
        self.project = nn.ModuleList(nn.Linear(spec.d_model, spec.d_model) for _ in range(spec.n_encoder_layers))
        self.pool = TemporalPooling(inputs.context_length, 2 * spec.d_model, spec.d_model, dropout=spec.dropout)

    def forward(self, past: Tensor, season: Tensor, trends: list[Tensor], steps: RealSteps | None) -> Tensor:
        """State `(batch, d_model)`; `trends` are those that each encoder layer took away."""
        trend = self.embed(self.decompose(past, steps)[1])
        for project, taken in zip(self.project, trends, strict=True):
            trend = trend + project(taken)
        state: Tensor = self.pool(torch.cat([season, trend], dim=2), None if steps is None else steps.mask)
        return state


class Parts(NamedTuple):
    """Which past channels are values, which have a trend, and which are marks of the step, known of the horizon too."""

    values: tuple[int, ...]
    marks: tuple[int, ...]

    @classmethod
    def of(cls, inputs: Inputs) -> Parts:
        """Without a horizon, or where it is not said which channels they are, marks are values as others."""
        marks = inputs.known_future_at if inputs.prediction_length else ()
        return cls(tuple(i for i in range(inputs.n_past) if i not in marks), marks)

    def split(self, past: Tensor) -> tuple[Tensor, Tensor | None]:
        """Values and marks, each `(batch, time, n)`; None if there are no marks."""
        return (past[:, :, list(self.values)], past[:, :, list(self.marks)]) if self.marks else (past, None)


class AutoformerBackbone(BackboneModule):
    """See the module; the configuration is `models.spec.Autoformer`."""

    def __init__(self, spec: Autoformer, inputs: Inputs) -> None:
        super().__init__()
        self.n_static, self.horizon = inputs.n_static, inputs.prediction_length
        self.n_marks = inputs.n_known_future if self.horizon else 0
        self.decodes = self.horizon > 0
        self.centred = spec.centred and self.decodes
        self.parts = Parts.of(inputs)
        n_values, n_past_marks = len(self.parts.values), len(self.parts.marks)
        self.d_model, self.d_state = spec.d_model, spec.d_model + n_values * (self.decodes + self.centred)
        length = inputs.context_length
        self.embed = SequenceEmbedding(
            n_values, spec.d_model, n_marks=n_past_marks, n_static=self.n_static, dropout=spec.dropout
        )
        self.encoder = nn.ModuleList(
            EncoderLayer(spec, length, keeps_trend=not self.decodes) for _ in range(spec.n_encoder_layers)
        )
        self.encoder_norm = SeasonalNorm(spec.d_model)
        if not self.decodes:
            self.pool = TrendPooling(spec, inputs)
            return
        self.n_label = length // 2
        self.decompose = SeriesDecomposition(length, spec.moving_average)
        self.embed_decoder = SequenceEmbedding(
            n_values, spec.d_model, n_marks=self.n_marks, n_static=self.n_static, dropout=spec.dropout
        )
        reach = self.n_label + self.horizon
        self.decoder = nn.ModuleList(DecoderLayer(spec, reach, n_values) for _ in range(spec.n_decoder_layers))
        self.decoder_norm = SeasonalNorm(spec.d_model)
        self.go_on = nn.Linear(length, self.horizon, bias=False) if spec.trend_ahead == "learned" else None
        if self.go_on is not None:
            nn.init.zeros_(self.go_on.weight)

    def forward(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """State of each window, `(batch, d_state)`; see `BackboneModule.forward`."""
        if self.decodes:
            return self.decode(past, mask, static, known_future)[:, -1]
        steps = real_steps(mask)
        past = zero_padding(past, steps)
        season, trends = self._encode(past, None, steps, static)
        state: Tensor = self.pool(past, season, trends, steps)
        return state

    def decode(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """Season and trend at each step of the horizon, `(batch, prediction_length, d_state)`.

        Raises:
            ModelError: a covariate that the model was built for is missing.
        """
        if not self.decodes:
            return super().decode(past, mask, static, known_future)
        if self.n_marks:
            given(known_future, self.n_marks, "known-future")
        steps = real_steps(mask)
        past = zero_padding(past, steps)
        past, marks = self.parts.split(past)
        level = mean_over_time(past, steps) if self.centred else None
        if level is not None:
            past = zero_padding(past - level, steps)
        encoded, _ = self._encode(past, marks, steps, static)
        season, trend = self.decompose(past, steps)
        label = past.shape[1] - self.n_label
        if marks is not None and known_future is not None:
            known_future = torch.cat([marks[:, label:], known_future], dim=1)
        ahead = (0, 0, 0, self.horizon)
        trend = torch.cat([trend[:, label:], self._ahead(past, steps)], dim=1)
        season = functional.pad(season[:, label:], ahead)
        decoder_steps = None
        if steps is not None:
            decoder_steps = RealSteps.of(functional.pad(mask[:, label:], ahead[2:], value=True))
            season = zero_padding(season, decoder_steps)
        season = self.embed_decoder(season, known_future if self.n_marks else None, static)
        for layer in self.decoder:
            season, added = layer(season, decoder_steps, encoded, steps)
            trend = trend + added
        season = self.decoder_norm(season, decoder_steps)
        states = torch.cat([season, trend], dim=2)[:, -self.horizon :]
        return states if level is None else torch.cat([states, level.expand(-1, self.horizon, -1)], dim=2)

    def _ahead(self, past: Tensor, steps: RealSteps | None) -> Tensor:
        """How the trend begins over the horizon, `(batch, horizon, n_values)`."""
        mean = mean_over_time(past, steps)
        if self.go_on is None:
            return mean.expand(-1, self.horizon, -1)
        return mean + torch.matmul(self.go_on.weight, zero_padding(past - mean, steps))

    def levels_of(self, channel: int) -> tuple[int, ...]:
        """Where the state holds the trend of a past channel, and its level if that was taken away."""
        if not self.decodes or channel not in self.parts.values:
            return ()
        at, n_values = self.parts.values.index(channel), len(self.parts.values)
        return tuple(self.d_model + part * n_values + at for part in range(1 + self.centred))

    def _encode(
        self, past: Tensor, marks: Tensor | None, steps: RealSteps | None, static: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """The season of the past, and the trends that each layer took away."""
        if self.n_static:
            given(static, self.n_static, "static")
        season = self.embed(past, marks, static)
        trends = []
        for layer in self.encoder:
            season, trend = layer(season, steps)
            if trend is not None:
                trends.append(trend)
        return self.encoder_norm(season, steps), trends
