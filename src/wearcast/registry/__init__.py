"""Bundles in and out of a model registry; what is promoted, by whom and why, and the way back.

The registry is MLflow's: its database, or its server. Reading it, and moving its aliases, needs no MLflow here, so that
a service and the commands that only read are light; putting a bundle in does (`pip install 'wearcast[registry]'`).
"""

from __future__ import annotations

from wearcast.registry.reading import ModelVersion, RegistryReader, open_registry

__all__ = ["ModelVersion", "RegistryReader", "open_registry"]
