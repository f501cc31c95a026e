"""A layer of an LSTM: torch's fused kernel, or ONNX's operator in a graph for export.

Left to itself, an export follows torch's kernel step by step to learn shapes that are known, three times over: of a
window of 96 steps that is two thirds of its time. `torch.compile` would unroll it for minutes; it calls the kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lstm_layer"]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def lstm_layer(
    x: Tensor, weights: list[Tensor], state: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run over `(batch, time, n)`.

    Args:
        x: the steps.
        weights: of each direction four, as in `torch.nn.LSTM`: `(4 * d, n)`, `(4 * d, d)` and two biases `(4 * d)`.
        state: hidden and cell state at first, each `(directions, batch, d)`; zeros unless given.

    Returns:
        Outputs `(batch, time, directions * d)`, and the last hidden and cell state, shaped as the first ones.
    """
    directions, d = len(weights) // 4, weights[1].shape[1]
    if state is None:
        zeros = x.new_zeros(directions, x.shape[0], d)
        state = zeros, zeros
    if torch.onnx.is_in_onnx_export():
        return _operator(x, weights, state)
    outputs, hidden, cell = torch.lstm(x, state, weights, True, 1, 0.0, torch.is_grad_enabled(), directions == 2, True)
    return outputs, hidden, cell


def _operator(x: Tensor, weights: list[Tensor], state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The operator of ONNX, which takes time first and the gates in an order of its own."""
    each = [[_reordered(weight) for weight in weights[first : first + 4]] for first in range(0, len(weights), 4)]
    maps = [torch.stack([direction[index] for direction in each]) for index in (0, 1)]
    bias = torch.stack([torch.cat(direction[2:]) for direction in each])
    directions, _, d = state[0].shape
    outputs, hidden, cell = torch.onnx.ops.symbolic_multi_out(
        "LSTM",
        (x.transpose(0, 1), *maps, bias, None, *state),
        {"hidden_size": d, "direction": "bidirectional" if directions == 2 else "forward"},
        dtypes=(x.dtype,) * 3,
        shapes=((x.shape[1], *state[0].shape), state[0].shape, state[1].shape),
    )
    return outputs.permute(2, 0, 1, 3).flatten(2), hidden, cell


def _reordered(weight: Tensor) -> Tensor:
    """Input, output, forget and cell gate of torch's input, forget, cell and output gate."""
    into, forget, cell, out = weight.chunk(4)
    return torch.cat([into, out, forget, cell])
