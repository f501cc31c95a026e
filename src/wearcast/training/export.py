"""A trained network as an ONNX graph, checked against the network itself."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch.export import Dim

from wearcast.errors import ExportError
from wearcast.inference import OnnxSession
from wearcast.models.network import ForecastNetwork
from wearcast.training.quiet import hushed
from wearcast.windows import WindowBatch

__all__ = ["export_network"]

OPSET = 20
TOLERANCE = 1e-4
"""Largest difference, as a share of the largest figure on the sample where that is above one."""


def export_network(network: ForecastNetwork, sample: WindowBatch, path: Path) -> float:
    """Write the graph and return its largest difference from the network on `sample`.

    As a share of the largest figure, where that is above one: scores and scaled values have no bound.

    Args:
        network: in evaluation mode.
        sample: at least two windows (a batch of one would be exported as a fixed size).
        path: file to write.

    Raises:
        ExportError: the difference is above `TOLERANCE`.
    """
    arrays = {name: value for name, value in sample._asdict().items() if value is not None}
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    batch = Dim("batch", min=1, max=2**20)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), hushed("onnxscript", "torch.onnx"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (),
            kwargs=tensors,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(tensors),
            output_names=[network.head.output_name],
            dynamic_shapes={name: {0: batch} for name in tensors},
            external_data=False,
            verbose=False,
        )
        if program is None:
            raise ExportError("the network could not be exported")
        program.save(str(path))
    with torch.inference_mode():
        expected = network(**tensors).numpy()
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(OnnxSession(path).run(arrays) - expected).max()) / scale
    if not difference <= TOLERANCE:
        raise ExportError(f"the exported graph differs from the network by {difference:.2g}, more than {TOLERANCE:g}")
    return difference
