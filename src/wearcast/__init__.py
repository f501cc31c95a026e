"""Wearcast: from the sensor history of a fleet to a maintenance decision.

from wearcast import Experiment, Fleet, load_bundle, load_dataset, train
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wearcast.bundle import Bundle, load_bundle
    from wearcast.datasets import load_dataset
    from wearcast.errors import WearcastError
    from wearcast.fleet import Fleet
    from wearcast.forecast import Forecast
    from wearcast.training import Ensemble, Experiment, train

__version__ = "0.1.0"

# Where each public name lives; imported on first use, so that `import wearcast` costs nothing.
_HOMES = {
    "Bundle": "wearcast.bundle",
    "Ensemble": "wearcast.training",
    "Experiment": "wearcast.training",
    "Fleet": "wearcast.fleet",
    "Forecast": "wearcast.forecast",
    "WearcastError": "wearcast.errors",
    "load_bundle": "wearcast.bundle",
    "load_dataset": "wearcast.datasets",
    "train": "wearcast.training",
}

__all__ = [
    "Bundle",
    "Ensemble",
    "Experiment",
    "Fleet",
    "Forecast",
    "WearcastError",
    "__version__",
    "load_bundle",
    "load_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wearcast' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
