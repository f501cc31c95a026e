"""Hybrid of convolutions and a bidirectional LSTM with attention pooling.

In the line of Li, Ding & Sun 2018 (convolutions for RUL), Wang et al. 2018 (bidirectional LSTM for RUL) and Al-Dulaimi
et al. 2019 (hybrid of both). Here in series: strided convolutions denoise and shorten the window, the LSTM reads it
both ways, additive attention (Bahdanau et al. 2015) pools it, and the last step joins the pooled state, because wear
is what the latest readings say.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wearcast.models.dropout import Dropout
from wearcast.models.lstm import lstm_layer
from wearcast.models.network import BackboneModule
from wearcast.models.spec import CnnBiLstm, Inputs

__all__ = ["CnnBiLstmBackbone"]


class CnnBiLstmBackbone(BackboneModule):
    """See the module; the configuration is `models.spec.CnnBiLstm`."""

    def __init__(self, spec: CnnBiLstm, inputs: Inputs) -> None:
        super().__init__()
        widths = [inputs.n_past] + [spec.channels] * len(spec.strides)
        self.strides = spec.strides
        self.reach = spec.kernel_size // 2
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, spec.kernel_size, stride=stride)
            for a, b, stride in zip(widths, widths[1:], spec.strides, strict=False)
        )
        # No normalisation between the layers: how large a deviation is, is what tells wear.
        self.dropout = Dropout(spec.dropout)
        # Holds the weights; its layers are run one by one.
        self.lstm = nn.LSTM(spec.channels, spec.hidden, num_layers=spec.n_layers, bidirectional=True)
        self.score = nn.Sequential(nn.Linear(2 * spec.hidden, spec.hidden), nn.Tanh(), nn.Linear(spec.hidden, 1))
        extra = inputs.n_static + inputs.n_known_future * inputs.prediction_length
        self.join = nn.Sequential(nn.Linear(4 * spec.hidden + extra, 2 * spec.hidden), nn.SiLU(), Dropout(spec.dropout))
        self.d_state = 2 * spec.hidden

    def forward(
        self, past: Tensor, mask: Tensor, static: Tensor | None = None, known_future: Tensor | None = None
    ) -> Tensor:
        """State of each window, `(batch, 2 * hidden)`; see `BackboneModule.forward`."""
        x = past * mask.unsqueeze(2).to(past.dtype)
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            # Windows end at the step of interest, so outputs are centred on the last step and every `stride`-th before.
            first = (x.shape[1] - 1) % stride
            padded = functional.pad(x.transpose(1, 2), (self.reach - first, self.reach))
            mask = mask[:, first::stride]
            x = functional.silu(convolution(padded).transpose(1, 2))
            x = self.dropout(x) * mask.unsqueeze(2).to(x.dtype)
        directions = self.lstm.all_weights  # of one layer after another, forward and backward
        for forward, backward in zip(directions[::2], directions[1::2], strict=True):
            x = self.dropout(lstm_layer(x, [*forward, *backward])[0])
        score = self.score(x).squeeze(2).masked_fill(~mask, -1e9)
        pooled = (torch.softmax(score, dim=1).unsqueeze(2) * x).sum(dim=1)
        parts = [pooled, x[:, -1]]
        if static is not None:
            parts.append(static)
        if known_future is not None:
            parts.append(known_future.flatten(1))
        state: Tensor = self.join(torch.cat(parts, dim=1))
        return state
