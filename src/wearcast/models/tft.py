"""Temporal Fusion Transformer.

Lim, Arık, Loeff & Pfister 2021, "Temporal Fusion Transformers for interpretable multi-horizon time series
forecasting", Int. J. Forecasting 37(4), 1748-1764; reference code: google-research/tft. Equation numbers are those of
the paper. Deviations, none of which changes the function that the paper writes down:

- Only the positions that are asked for are queried: attention has one layer, so each query stands alone. With
  `prediction_length=0` that is the last reading alone, whose state answers "how is it now?".
- Keys and values are projected after pooling instead of before (`(Ã V) W_V` for `Ã (V W_V)`, equation 14).
- Linear maps without anything between them are multiplied ahead; see `variable_selection`, also for dropout.
- Windows may be padded on the left. Padded steps are no keys, and leave the LSTM's state as it was; see `MaskedLstm`.
- A model without statics has no contexts; a horizon without known-future columns is told its own position, which is
  always known.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.errors import ConfigError
from wearcast.models.gating import GatedResidualNetwork, GatedSkip
from wearcast.models.lstm import lstm_layer
from wearcast.models.network import BackboneModule, given
from wearcast.models.variable_selection import VariableSelection

__all__ = ["Interpretation", "TemporalFusionTransformer"]

SATURATED = 1e4  # large enough that a sigmoid is exactly 0 or 1


class Interpretation(NamedTuple):
    """States and what they rest on; `queries` is the horizon, or the last reading if there is none."""

    states: Tensor
    """`(batch, queries, d_model)`."""
    past_weights: Tensor
    """`(batch, time, n_past)`; a real step sums to one, a padded step is zero."""
    static_weights: Tensor | None
    """`(batch, n_static)`."""
    future_weights: Tensor | None
    """`(batch, prediction_length, n_known_future)`."""
    attention: Tensor
    """`(batch, n_heads, queries, time + prediction_length)`; its mean over heads is the paper's `Ã`."""


class Contexts(NamedTuple):
    """What the static covariates tell the rest of the model (section 4.3); each `(batch, d_model)`."""

    selection: Tensor
    enrichment: Tensor
    hidden: Tensor
    cell: Tensor


class StaticEncoder(nn.Module):
    """Static variable selection and four context vectors (sections 4.2 and 4.3)."""

    def __init__(self, n_static: int, d_model: int, *, dropout: float) -> None:
        super().__init__()
        self.select = VariableSelection(n_static, d_model, dropout=dropout)
        self.contexts = nn.ModuleList(GatedResidualNetwork(d_model, dropout=dropout) for _ in Contexts._fields)

    def forward(self, static: Tensor) -> tuple[Contexts, Tensor]:
        """Contexts and variable weights `(batch, n_static)` of `(batch, n_static)`."""
        selected, weights = self.select(static.unsqueeze(1))
        return Contexts(*(network(selected.squeeze(1)) for network in self.contexts)), weights.squeeze(1)


class MaskedLstm(nn.Module):
    """LSTM that padding on the left cannot touch, at the speed of the fused kernel.

    A padded step saturates the gates: input gate 0, forget and output gates 1. The cell state stays as it was and the
    output becomes `tanh(c0)`; at the first real step the recurrent map is corrected back to `h0`. So any number of
    padded steps gives what none gives, up to rounding.
    """

    def __init__(self, d_model: int, n_layers: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.input_weights = nn.ParameterList(torch.empty(4 * d_model, d_model) for _ in range(n_layers))
        self.recurrent_weights = nn.ParameterList(torch.empty(4 * d_model, d_model) for _ in range(n_layers))
        self.biases = nn.ParameterList(torch.zeros(4 * d_model) for _ in range(n_layers))
        saturation = torch.tensor([-1.0, 1.0, 0.0, 1.0]).repeat_interleave(d_model).unsqueeze(1) * SATURATED
        self.register_buffer("saturation", saturation, persistent=False)
        self.saturation: Tensor
        for inner, recurrent, bias in zip(self.input_weights, self.recurrent_weights, self.biases, strict=True):
            nn.init.xavier_uniform_(inner)
            for gate in recurrent.detach().chunk(4):
                nn.init.orthogonal_(gate)
            bias.detach()[d_model : 2 * d_model] = 1.0  # remember at first (Jozefowicz et al. 2015)

    def forward(
        self, x: Tensor, mask: Tensor | None, start: list[tuple[Tensor, Tensor]] | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Run over `(batch, time, d_model)`.

        Args:
            x: the steps.
            mask: `(batch, time)`, False where padded; None if nothing is.
            start: hidden and cell state of each layer, each `(batch, d_model)`; None for zeros.

        Returns:
            Outputs, and the last hidden and cell state of each layer.
        """
        ends = []
        for index, (inner, recurrent, bias) in enumerate(
            zip(self.input_weights, self.recurrent_weights, self.biases, strict=True)
        ):
            hidden, cell = start[index] if start is not None else (None, None)
            if index > 0:
                x = functional.dropout(x, self.dropout, self.training)
            if mask is not None:
                x, inner = self._saturated(x, inner, recurrent, mask, hidden, cell)  # noqa: PLW2901
            state = None if hidden is None or cell is None else (hidden.unsqueeze(0), cell.unsqueeze(0))
            x, hidden, cell = lstm_layer(x, [inner, recurrent, bias, torch.zeros_like(bias)], state)
            ends.append((hidden.squeeze(0), cell.squeeze(0)))
        return x, ends

    def _saturated(
        self, x: Tensor, inner: Tensor, recurrent: Tensor, mask: Tensor, hidden: Tensor | None, cell: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Widen the input, and the weights to match, by a column that marks padding and by the correction."""
        padded = (~mask).to(x.dtype)
        if hidden is None or cell is None:  # from zero, a saturated step gives zero: nothing to correct
            return torch.cat([x, padded.unsqueeze(2)], dim=2), torch.cat([inner, self.saturation], dim=1)
        first_real = functional.pad(padded[:, :-1], (1, 0)) * mask.to(x.dtype)
        correction = first_real.unsqueeze(2) * (hidden - torch.tanh(cell)).unsqueeze(1)
        wide = torch.cat([inner, recurrent, self.saturation], dim=1)
        return torch.cat([x, correction, padded.unsqueeze(2)], dim=2), wide


class InterpretableAttention(nn.Module):
    """Multi-head attention whose heads share their values (equations 13 to 16), so that the mean weight is a reason."""

    def __init__(self, d_model: int, n_heads: int, *, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        d_head = d_model // n_heads
        self.scale = d_head**-0.5
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_head, bias=False)
        self.output = nn.Linear(d_head, d_model, bias=False)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, query: Tensor, memory: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: `(batch, queries, d_model)`.
            memory: `(batch, steps, d_model)`.
            allowed: bool, broadcast against `(batch, queries, steps)`; each query may see one step at least.

        Returns:
            Pooled values `(batch, queries, d_model)` and weights `(batch, n_heads, queries, steps)`.
        """
        asked = torch.unflatten(self.query(query), 2, (self.n_heads, -1)) * self.scale
        keys = torch.unflatten(self.key.weight, 0, (self.n_heads, -1))
        # A head's score is q · W_K m = (W_Kᵀ q) · m: a few queries are projected instead of every step.
        asked = torch.einsum("bqhk,hkd->bhqd", asked, keys)
        scores = torch.unflatten(torch.bmm(asked.flatten(1, 2), memory.transpose(1, 2)), 1, (self.n_heads, -1))
        weights = torch.softmax(scores.masked_fill(~allowed.unsqueeze(1), float("-inf")), dim=3)
        mean = self.dropout(weights).mean(dim=1)
        return self.output(self.value(torch.matmul(mean, memory))), weights


class TemporalFusionTransformer(BackboneModule):
    """Complete Temporal Fusion Transformer for real-valued variables.

    Args:
        n_past: variables of the past, the past of known-future ones included.
        n_static: static variables; 0 for none.
        n_known_future: variables known over the horizon; 0 for none, when the position takes their place.
        prediction_length: steps of the horizon; 0 to ask for the state at the last reading.
        d_model: width of every layer.
        n_heads: attention heads; must divide `d_model`.
        n_lstm_layers: layers of the encoder and of the decoder.
        dropout: share dropped before each gate and of the attention weights.
    """

    def __init__(
        self,
        *,
        n_past: int,
        n_static: int = 0,
        n_known_future: int = 0,
        prediction_length: int = 0,
        d_model: int = 24,
        n_heads: int = 4,
        n_lstm_layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ConfigError(
                f"d_model={d_model} cannot be divided among n_heads={n_heads}",
                where="backbone",
                hint="choose d_model as a multiple of n_heads",
            )
        self.n_static, self.prediction_length, self.d_state = n_static, prediction_length, d_model
        self.n_known_future = n_known_future if prediction_length else 0
        self.decodes = prediction_length > 0
        context = n_static > 0
        self.static_encoder = StaticEncoder(n_static, d_model, dropout=dropout) if context else None
        self.past_selection = VariableSelection(n_past, d_model, has_context=context, dropout=dropout)
        self.encoder = MaskedLstm(d_model, n_lstm_layers, dropout=dropout)
        self.future_selection: VariableSelection | None = None
        self.decoder: MaskedLstm | None = None
        if prediction_length:
            n_future = max(self.n_known_future, 1)
            self.future_selection = VariableSelection(n_future, d_model, has_context=context, dropout=dropout)
            self.decoder = MaskedLstm(d_model, n_lstm_layers, dropout=dropout)
        self.lstm_skip = GatedSkip(d_model, dropout=dropout)
        self.enrich = GatedResidualNetwork(d_model, d_context=d_model if context else 0, dropout=dropout)
        self.attend = InterpretableAttention(d_model, n_heads, dropout=dropout)
        self.attention_skip = GatedSkip(d_model, dropout=dropout)
        self.feed_forward = GatedResidualNetwork(d_model, dropout=dropout)
        self.output_skip = GatedSkip(d_model)

    def forward(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """State at the last position, `(batch, d_model)`; see `BackboneModule.forward`."""
        return self.decode(past, mask, static, known_future)[:, -1]

    def decode(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """State at each step of the horizon (or at the last reading), `(batch, max(prediction_length, 1), d_model)`."""
        return self.explain(past, mask, static, known_future).states

    def explain(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Interpretation:
        """States with the variable weights and the attention that made them.

        Raises:
            ModelError: a covariate that the model was built for is missing.
        """
        past = past.masked_fill(~mask.unsqueeze(2), 0.0)
        contexts, static_weights = self._contexts(static)
        context = None if contexts is None else contexts.selection
        selected, past_weights = self.past_selection(past, context)
        start = None if contexts is None else [(contexts.hidden, contexts.cell)] * len(self.encoder.biases)
        outputs, ends = self.encoder(selected, None if _unpadded(mask) else mask, start)
        future_weights = None
        if self.future_selection is not None and self.decoder is not None:
            ahead, future_weights = self.future_selection(self._known(past, known_future), context)
            later, _ = self.decoder(ahead, None, ends)
            selected, outputs = torch.cat([selected, ahead], dim=1), torch.cat([outputs, later], dim=1)
        temporal = self.lstm_skip(outputs, selected)  # equation 17
        enriched = self.enrich(temporal, None if contexts is None else contexts.enrichment.unsqueeze(1))  # equation 18
        n_queries = max(self.prediction_length, 1)
        asked = enriched[:, -n_queries:]
        pooled, attention = self.attend(asked, enriched, self._allowed(mask))  # equation 19
        states = self.feed_forward(self.attention_skip(pooled, asked))  # equations 20 and 21
        states = self.output_skip(states, temporal[:, -n_queries:])  # equation 22
        past_weights = past_weights.masked_fill(~mask.unsqueeze(2), 0.0)
        return Interpretation(states, past_weights, static_weights, future_weights, attention)

    def _contexts(self, static: Tensor | None) -> tuple[Contexts | None, Tensor | None]:
        if self.static_encoder is None:
            return None, None
        contexts, weights = self.static_encoder(given(static, self.n_static, "static"))
        return contexts, weights

    def _known(self, past: Tensor, known_future: Tensor | None) -> Tensor:
        """Known-future variables, or where there are none the position within the horizon, 0 to 1."""
        if self.n_known_future == 0:
            steps = torch.arange(1, self.prediction_length + 1, device=past.device, dtype=past.dtype)
            position = (steps / self.prediction_length).view(1, -1, 1)
            return position.expand(past.shape[0], -1, -1)
        return given(known_future, self.n_known_future, "known-future")

    def _allowed(self, mask: Tensor) -> Tensor:
        """Which steps each query may see: real ones, not after itself, `(batch, queries, time + horizon)`."""
        if self.prediction_length == 0:
            return mask.unsqueeze(1)
        horizon = self.prediction_length
        causal = torch.ones(horizon, horizon, dtype=torch.bool, device=mask.device).tril()
        past = mask.unsqueeze(1).expand(-1, horizon, -1)
        return torch.cat([past, causal.unsqueeze(0).expand(mask.shape[0], -1, -1)], dim=2)


def _unpadded(mask: Tensor) -> bool:
    """Whether nothing is padded; a graph for export or compilation must not depend on it."""
    return mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all())
