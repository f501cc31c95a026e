"""A bundle as a folder that MLflow takes for a model: `MLmodel`, requirements and the bundle, nothing pickled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import wearcast
from wearcast.bundle import Bundle
from wearcast.errors import require
from wearcast.registry.artifacts import BUNDLE_FOLDER
from wearcast.registry.facts import bundle_files

__all__ = ["LOADER", "lay_out"]

LOADER = "wearcast.registry.pyfunc"
_REQUIREMENTS = f"wearcast=={wearcast.__version__}\nmlflow\npandas\npyarrow\n"


def lay_out(bundle: Bundle, folder: Path, run_id: str) -> None:
    """Write the folder of a model for MLflow.

    Args:
        bundle: found whole.
        folder: empty.
        run_id: of the run that it is recorded under.
    """
    for name in bundle_files(bundle.path):
        place = folder / BUNDLE_FOLDER / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / name, place)
    (folder / "requirements.txt").write_text(_REQUIREMENTS, encoding="utf-8")
    models: Any = require("mlflow.models", extra="registry")
    pyfunc: Any = require("mlflow.pyfunc", extra="registry")
    model = models.Model(
        artifact_path="model", run_id=run_id, metadata={"wearcast": bundle.manifest.model, "name": bundle.manifest.name}
    )
    pyfunc.add_to_model(model, loader_module=LOADER, data=BUNDLE_FOLDER)
    model.save(str(folder / "MLmodel"))
