"""The artefact: a directory that holds everything a forecast needs, and no code.

    bundle.json            what it is: experiment, columns, scaling, calibration, metrics, versions
    model.onnx             the graph that forecasts
    weights.safetensors    the network's weights (absent for tree models)
    history.json           metrics of each epoch
    SHA256SUMS             checksums of all of these, in the format of `sha256sum --check`

An ensemble has no graph of its own; its models are whole bundles in `models/`, each of which can also be used alone.

Nothing in it is pickled: loading a bundle reads JSON, arrays and a graph, and runs no code of the bundle's.
"""

from wearcast.bundle.folder import (
    GRAPH,
    HISTORY,
    MANIFEST,
    MODELS,
    SUMS,
    WEIGHTS,
    check_place,
    read_checksums,
    write_bundle,
)
from wearcast.bundle.loaded import Bundle, load_bundle, pooled_engine
from wearcast.bundle.manifest import (
    SCHEMA_VERSION,
    DataRecord,
    EnsembleManifest,
    Manifest,
    ModelManifest,
    ModelRecord,
    Parity,
)

__all__ = [
    "GRAPH",
    "HISTORY",
    "MANIFEST",
    "MODELS",
    "SCHEMA_VERSION",
    "SUMS",
    "WEIGHTS",
    "Bundle",
    "DataRecord",
    "EnsembleManifest",
    "Manifest",
    "ModelManifest",
    "ModelRecord",
    "Parity",
    "check_place",
    "load_bundle",
    "pooled_engine",
    "read_checksums",
    "write_bundle",
]
