"""`mlflow models serve` on a registered bundle: a table of readings in, forecasts out, as from the bundle itself."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.mlflow_server import mlflow_process
from tests.fixtures.registries import NAME, copy_registry, shared_registry

from wearcast.registry.reading import open_store

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("WEARCAST_SLOW_TESTS") != "1", reason="MLflow's scoring server takes ten seconds to start"
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_mlflow_serves_the_champion(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, trained: TrainedByKind):
    uri = copy_registry(shared_registry(tmp_path_factory.getbasetemp(), trained), tmp_path / "registry")
    open_store(uri).set_alias(NAME, "champion", "2")
    command = ["models", "serve", "-m", f"models:/{NAME}@champion", "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts uvicorn by its name
    fleet = trained("lightgbm").fleet
    table = json.dumps({"dataframe_split": json.loads(fleet.frame.to_pandas().to_json(orient="split", index=False))})
    with mlflow_process(command, "/ping", tmp_path, MLFLOW_TRACKING_URI=uri, PATH=path) as url:
        request = urllib.request.Request(  # noqa: S310
            f"{url}/invocations", table.encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            found = json.load(response)["predictions"]
    expected = trained("lightgbm").bundle.predict(fleet).to_frame()
    assert [row["unit"] for row in found] == expected["unit"].to_list()
    assert [row["rul"] for row in found] == pytest.approx(expected["rul"].to_list(), abs=1e-3)
