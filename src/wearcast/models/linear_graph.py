"""Linear models as ONNX graphs: of a figure with curves around it, of class scores, of quantiles ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import require
from wearcast.models.linear import Linear
from wearcast.models.tree_graph import lookup, table_model

if TYPE_CHECKING:
    import onnx

__all__ = ["constant_graph", "figure_graph", "linear_graph", "quantile_graph"]

Floats = NDArray[np.float64]


def linear_graph(model: Linear) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `scores (n, m)`."""
    package = require("onnx", extra="train")
    nodes, constants = _linear(package, model, "scores")
    return table_model(package, nodes, len(model.weights), ("scores", len(model.constant)), constants)


def figure_graph(
    model: Linear, knots: Floats, curves: Floats, output: str, *, logarithm: tuple[float, float] | None = None
) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `output (n, m)`, read off `curves (n_knots, m)` at the model's figure.

    `logarithm`: the model gives the figure's logarithm, within these bounds.
    """
    package = require("onnx", extra="train")
    make = package.helper.make_node
    nodes, constants = _linear(package, model, "figure" if logarithm is None else "log")
    if logarithm is not None:
        constants |= {"least": np.array([logarithm[0]]), "most": np.array([logarithm[1]])}
        nodes += [
            make("Max", ["log", "least"], ["at_least"]),
            make("Min", ["at_least", "most"], ["bounded"]),
            make("Exp", ["bounded"], ["figure"]),
        ]
    found, more = lookup(package, knots, curves, output)
    return table_model(package, [*nodes, *found], len(model.weights), (output, curves.shape[1]), constants | more)


def quantile_graph(model: Linear, around: NDArray[Any]) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `quantiles (n, *around.shape)`: the model's values, and around each these.

    Args:
        model: of `(n, steps * k)` values.
        around: what is added, `(steps, k, n_levels)`.
    """
    package = require("onnx", extra="train")
    make = package.helper.make_node
    nodes, constants = _linear(package, model, "flat")
    shape = _whole(package, "shape", [-1, *around.shape[:2], 1])
    nodes += [make("Reshape", ["flat", "shape"], ["values"]), make("Add", ["values", "around"], ["quantiles"])]
    constants["around"] = around
    return table_model(package, nodes, len(model.weights), ("quantiles", *around.shape), constants, [shape])


def constant_graph(value: NDArray[Any], n_columns: int, output: str) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `output (n, *value.shape)`, the same for each row."""
    package = require("onnx", extra="train")
    make = package.helper.make_node
    nodes = [
        make("Shape", ["table"], ["rows"], start=0, end=1),
        make("Concat", ["rows", "rest"], ["shape"], axis=0),
        make("Expand", ["value", "shape"], [output]),
    ]
    return table_model(
        package, nodes, n_columns, (output, *value.shape), {"value": value}, [_whole(package, "rest", value.shape)]
    )


def _linear(package: Any, model: Linear, output: str) -> tuple[list[Any], dict[str, Any]]:
    """Nodes and constants from the table to the model's values; what is not known is at its mean."""
    make = package.helper.make_node
    constants = {
        "column_mean": model.standard.mean,
        "per_sd": 1 / model.standard.sd,
        "nothing": np.zeros(1),
        "linear_weights": model.weights,
        "linear_constant": model.constant,
    }
    nodes = [
        make("Sub", ["table", "column_mean"], ["centred"]),
        make("Mul", ["centred", "per_sd"], ["standardised"]),
        make("IsNaN", ["standardised"], ["unknown"]),
        make("Where", ["unknown", "nothing", "standardised"], ["known"]),
        make("MatMul", ["known", "linear_weights"], ["weighted"]),
        make("Add", ["weighted", "linear_constant"], [output]),
    ]
    return nodes, constants


def _whole(package: Any, name: str, numbers: Sequence[int]) -> Any:
    return package.numpy_helper.from_array(np.array(numbers, dtype=np.int64), name)
