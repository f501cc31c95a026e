"""Gradient-boosted trees as an ONNX graph, exactly: the same leaf for every float32 input.

LightGBM compares a double threshold, ONNX a float32 one. A float32 value is at most a double threshold exactly when
it is at most the largest float32 that is not above that threshold, so thresholds are rounded down and no decision
changes. Figures are summed in float32, hence the small difference that is stated in the bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import ExportError, require

if TYPE_CHECKING:
    import lightgbm
    import onnx

    from wearcast.models.gradient_boosting import CrossFit
    from wearcast.models.tree_classes import ClassFit
    from wearcast.models.wear_indices import WearIndices

__all__ = ["class_graph", "lookup", "table_model", "tree_graph", "tree_node"]

Floats = NDArray[np.float64]


def tree_graph(fitted: CrossFit, n_columns: int) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `survival (n, n_edges)`.

    Raises:
        ExportError: the trees hold a decision other than `<=` on a number.
    """
    package = require("onnx", extra="train")
    wide, weights, columns = _with_indices(package, fitted.indices, n_columns)
    trees = tree_node(package, fitted.boosters, "figure", table="wide" if wide else "table", columns=columns)
    nodes, constants = lookup(package, fitted.knots, fitted.curves, "survival")
    output = ("survival", fitted.curves.shape[1])
    return table_model(package, [*wide, trees, *nodes], n_columns, output, constants, weights)


def _with_indices(
    package: Any, indices: Sequence[WearIndices], n_columns: int
) -> tuple[list[Any], list[Any], list[NDArray[np.intp]] | None]:
    """Nodes from `table` to `wide`, the table and the indices of all folds; their weights; each fold's own columns."""
    if not indices:
        return [], [], None
    make, counts = package.helper.make_node, [one.weights.shape[1] for one in indices]
    own = np.split(n_columns + np.arange(sum(counts)), np.cumsum(counts)[:-1])
    weights = package.numpy_helper.from_array(np.concatenate([one.weights for one in indices], axis=1), "index_weights")
    nodes = [
        make("Cast", ["table"], ["table_double"], to=package.TensorProto.DOUBLE),
        make("MatMul", ["table_double", "index_weights"], ["indices_double"]),
        make("Cast", ["indices_double"], ["indices"], to=package.TensorProto.FLOAT),
        make("Concat", ["table", "indices"], ["wide"], axis=1),
    ]
    return nodes, [weights], [np.concatenate([np.arange(n_columns), mine]) for mine in own]


def class_graph(fitted: ClassFit, n_columns: int) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `scores (n, n_classes)`.

    Raises:
        ExportError: the trees hold a decision other than `<=` on a number.
    """
    package = require("onnx", extra="train")
    helper = package.helper
    two = fitted.n_classes == 2
    nodes = [tree_node(package, fitted.boosters, "one" if two else "scores", n_targets=1 if two else fitted.n_classes)]
    constants = {}
    if two:  # the first class has the score 0
        constants["pair"] = np.array([[0.0, 1.0]])
        nodes.append(helper.make_node("MatMul", ["one", "pair"], ["scores"]))
    return table_model(package, nodes, n_columns, ("scores", fitted.n_classes), constants)


def table_model(
    package: Any,
    nodes: list[Any],
    n_columns: int,
    output: tuple[str, *tuple[int, ...]],
    constants: dict[str, Any],
    more: Sequence[Any] = (),
) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `output`, its name and its shape behind the batch.

    `constants` are held in single precision, tensors in `more` as they are.
    """
    helper, kind = package.helper, package.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "wearcast_table",
        [helper.make_tensor_value_info("table", kind, ["batch", n_columns])],
        [helper.make_tensor_value_info(output[0], kind, ["batch", *output[1:]])],
        [package.numpy_helper.from_array(np.asarray(v, dtype=np.float32), name) for name, v in constants.items()]
        + list(more),
    )
    model: onnx.ModelProto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=10,
        producer_name="wearcast",
    )
    package.checker.check_model(model)
    return model


def lookup(package: Any, knots: Floats, curves: Floats, output: str) -> tuple[list[Any], dict[str, Any]]:
    """Nodes and constants that read `output` off `curves (n_knots, m)` at a figure `(n, 1)`; see `curves.interpolate`.

    A hat function per knot: 1 at its knot, 0 at the neighbours. Their weights sum to 1, so a row is a mixture.
    """
    make, knots = package.helper.make_node, knots.astype(np.float32)
    constants = {
        "left": np.concatenate([[knots[0] - 1], knots[:-1]]),
        "knot": knots,
        "right": np.concatenate([knots[1:], [knots[-1] + 1]]),
        "low": knots[:1],
        "high": knots[-1:],
        "zero": np.zeros(1),
        "curves": curves,
    }
    nodes = [
        make("Max", ["figure", "low"], ["above"]),
        make("Min", ["above", "high"], ["inside"]),
        make("Sub", ["inside", "left"], ["from_left"]),
        make("Sub", ["knot", "left"], ["rise"]),
        make("Div", ["from_left", "rise"], ["up"]),
        make("Sub", ["right", "inside"], ["to_right"]),
        make("Sub", ["right", "knot"], ["fall"]),
        make("Div", ["to_right", "fall"], ["down"]),
        make("Min", ["up", "down"], ["hat"]),
        make("Max", ["hat", "zero"], ["weights"]),
        make("MatMul", ["weights", "curves"], [output]),
    ]
    return nodes, constants


def tree_node(
    package: Any,
    boosters: Sequence[lightgbm.Booster],
    output: str,
    *,
    n_targets: int = 1,
    targets: Sequence[int] | None = None,
    table: str = "table",
    columns: Sequence[NDArray[np.intp]] | None = None,
) -> Any:
    """Node from a table to the mean of the boosters, `(n, n_targets)`.

    Args:
        package: onnx.
        boosters: of every fold.
        output: name of what the node gives.
        n_targets: how many; a booster holds a tree of each in turn.
        targets: the one target of each booster instead, where each has a booster a fold.
        table: name of the table.
        columns: of the table, that each booster reads as its own; as they stand unless given.
    """
    attributes = _trees(boosters, n_targets, targets, columns)
    return package.helper.make_node(
        "TreeEnsembleRegressor", [table], [output], name=output, domain="ai.onnx.ml", **attributes
    )


def _trees(
    boosters: Sequence[lightgbm.Booster],
    n_targets: int = 1,
    of: Sequence[int] | None = None,
    columns: Sequence[NDArray[np.intp]] | None = None,
) -> dict[str, Any]:
    """Attributes of `TreeEnsembleRegressor`: every node of every tree of every fold."""
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing")
    nodes: dict[str, list[Any]] = {name: [] for name in names}
    leaves: dict[str, list[Any]] = {"treeids": [], "nodeids": [], "weights": []}
    targets: list[int] = []
    tree_id = 0
    for i, booster in enumerate(boosters):
        for place, tree in enumerate(booster.dump_model()["tree_info"]):
            first = len(nodes["featureids"])
            _walk(tree["tree_structure"], tree_id, nodes, leaves)
            if columns is not None:
                nodes["featureids"][first:] = columns[i][nodes["featureids"][first:]].tolist()
            target = place % n_targets if of is None else of[i]
            targets += [target] * (len(leaves["treeids"]) - len(targets))
            tree_id += 1
    n_folds = len(boosters) if of is None else len(boosters) // n_targets
    return {
        "n_targets": n_targets,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "nodes_treeids": nodes["treeids"],
        "nodes_nodeids": nodes["nodeids"],
        "nodes_featureids": nodes["featureids"],
        "nodes_values": nodes["values"],
        "nodes_modes": nodes["modes"],
        "nodes_truenodeids": nodes["truenodeids"],
        "nodes_falsenodeids": nodes["falsenodeids"],
        "nodes_missing_value_tracks_true": nodes["missing"],
        "target_treeids": leaves["treeids"],
        "target_nodeids": leaves["nodeids"],
        "target_ids": targets,
        "target_weights": [weight / n_folds for weight in leaves["weights"]],
    }


def _walk(root: dict[str, Any], tree_id: int, nodes: dict[str, list[Any]], leaves: dict[str, list[Any]]) -> None:
    pending, count = [(root, 0)], 1
    while pending:
        node, node_id = pending.pop()
        if "leaf_value" in node:
            leaves["treeids"].append(tree_id)
            leaves["nodeids"].append(node_id)
            leaves["weights"].append(float(node["leaf_value"]))
            row = (tree_id, node_id, 0, 0.0, "LEAF", 0, 0, 0)
        else:
            if node["decision_type"] != "<=":
                raise ExportError(f"tree {tree_id} decides by {node['decision_type']!r}; only <= can be exported")
            left, right = count, count + 1
            count += 2
            pending += [(node["left_child"], left), (node["right_child"], right)]
            threshold = _round_down(float(node["threshold"]))
            row = (tree_id, node_id, node["split_feature"], threshold, "BRANCH_LEQ", left, right, 0)
        for name, value in zip(nodes, row, strict=True):
            nodes[name].append(value)


def _round_down(threshold: float) -> float:
    """The largest float32 that is not above `threshold`."""
    single = np.float32(threshold)
    if float(single) > threshold:
        single = np.nextafter(single, np.float32(-np.inf))
    return float(single)
