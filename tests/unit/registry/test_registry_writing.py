"""A bundle goes in: once, with all that is known of it, as a model that MLflow itself can load."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.fixtures.bundles import TrainedByKind, TrainedEnsemble
from tests.fixtures.registries import NAME, altered, client_of

from wearcast.errors import FleetError, RegistryError, UsageError
from wearcast.registry.card import LONGEST, model_card
from wearcast.registry.facts import flattened
from wearcast.registry.reading import open_store
from wearcast.registry.store import Store
from wearcast.registry.writing import register

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_a_version_says_where_its_bundle_comes_from(store: Store, trained: TrainedByKind):
    bundle = trained("cnn_bilstm").bundle
    tags = store.version(NAME, "1").tags
    assert tags["wearcast.data_fingerprint"] == bundle.manifest.data.fingerprint
    assert tags["wearcast.recipe"] == "test-cnn-bilstm"
    assert json.loads(tags["wearcast.target"])["kind"] == "rul"
    assert json.loads(tags["wearcast.columns"]) == ["load", "s0", "s1", "s2"]
    assert float(tags["wearcast.metric.validation_crps"]) == bundle.manifest.metrics["validation_crps"]
    assert int(tags["wearcast.size_bytes"]) > 10_000
    assert tags["wearcast.recipe_sha256"] != store.version(NAME, "2").tags["wearcast.recipe_sha256"]


def test_the_run_has_settings_epochs_and_pictures(store: Store, trained: TrainedByKind, uri: str):
    bundle, version = trained("cnn_bilstm").bundle, store.version(NAME, "1")
    client = client_of(uri)
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["backbone.kind"] == "cnn_bilstm"
    assert run.data.params["trainer.max_epochs"] == "5"
    losses = client.get_metric_history(version.run_id, "val_loss")
    assert [(one.step, one.value) for one in losses] == [
        (index, epoch["val_loss"]) for index, epoch in enumerate(bundle.history)
    ]
    assert run.data.metrics["validation_crps"] == bundle.manifest.metrics["validation_crps"]
    assert [one.path for one in client.list_artifacts(version.run_id, "pictures")] == [
        "pictures/learning-curve-model.png"
    ]


def test_the_card_says_what_it_is_for_and_what_it_is_not(store: Store, ensemble: TrainedEnsemble):
    card = store.version(NAME, "1").description
    for part in (
        "Intended use",
        "cycles, up to 30",
        "`load`",
        "Data",
        "Protocol",
        "Held-out figures",
        "Limits",
        "90 %",
    ):
        assert part in card
    assert "An ensemble" in model_card(ensemble.bundle)


def test_a_card_fits_into_mlflows_column(trained: TrainedByKind, tmp_path: Path):
    def verbose(manifest: dict[str, Any]) -> None:
        manifest["data"]["notes"] = ["x" * 3000] * 5

    assert len(model_card(altered(trained("lightgbm").bundle, tmp_path / "b", verbose))) <= LONGEST


def test_the_same_bundle_is_the_same_version(store: Store, trained: TrainedByKind, uri: str):
    again = register(trained("lightgbm").bundle, NAME, uri=uri)
    assert (again.new, again.version) == (False, store.version(NAME, "2"))
    assert len(store.versions(NAME)) == 2


def test_an_ensemble_is_one_version_with_its_parent(store: Store, ensemble: TrainedEnsemble, uri: str, tmp_path: Path):
    store.set_alias(NAME, "champion", "2")
    done = register(ensemble.bundle, NAME, uri=uri, parent=f"{NAME}@champion")
    assert (done.new, done.version.version, done.version.tags["wearcast.parent"]) == (True, "3", "pumps/2")
    assert not register(ensemble.bundle, NAME, uri=uri).new
    place = store.fetch(done.version, tmp_path)
    assert len(list((place / "models").iterdir())) == len(ensemble.manifest.models)
    model = loaded(uri, "3")
    forecast = model.predict(ensemble.fleet.frame.to_pandas())
    assert list(forecast["unit"]) == list(ensemble.fleet.units)
    with pytest.raises(RegistryError, match="no alias 'nobody'"):
        register(ensemble.bundle, "other", uri=uri, parent=f"{NAME}@nobody")


def test_a_version_whose_files_are_gone_is_registered_anew(store: Store, trained: TrainedByKind, uri: str):
    (Path(store.version(NAME, "2").source.removeprefix("file://")) / "bundle" / "model.onnx").unlink()
    done = register(trained("lightgbm").bundle, NAME, uri=uri)
    assert (done.new, done.version.version) == (True, "3")


def test_a_bad_name_is_refused_before_anything_is_made(trained: TrainedByKind, tmp_path: Path):
    for name in ("a/b", "..", "two words", "x" * 200):
        with pytest.raises(UsageError, match="not a name"):
            register(trained("lightgbm").bundle, name, uri=f"sqlite:///{tmp_path}/new/registry.db")
    assert list(tmp_path.iterdir()) == []


def test_a_kill_during_register_leaves_no_version_and_the_next_one_clears_up(
    uri: str, trained: TrainedByKind, tmp_path: Path
):
    def other_seed(manifest: dict[str, Any]) -> None:
        manifest["seed"] = 7

    bundle = altered(trained("lightgbm").bundle, tmp_path / "other", other_seed)
    script = f"""
import os, signal
from wearcast import load_bundle
from wearcast.registry import writing
writing.lay_out = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
writing.register(load_bundle({str(bundle.path)!r}), {NAME!r}, uri={uri!r})
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    store = open_store(uri)
    assert [version.version for version in store.versions(NAME)] == ["1", "2"]
    client = client_of(uri)
    experiment = client.get_experiment_by_name(NAME).experiment_id
    assert [run.info.status for run in client.search_runs([experiment])].count("RUNNING") == 1
    assert register(bundle, NAME, uri=uri).version.version == "3"
    assert [run.info.status for run in client.search_runs([experiment])].count("RUNNING") == 0
    assert not [key for key in store.model(NAME).tags if key.startswith("wearcast.lock")]


def test_a_foreign_file_is_left_as_it_is(trained: TrainedByKind, tmp_path: Path):
    (tmp_path / "text.db").write_bytes(b"not a database" * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE orders (id INTEGER)")
        other.commit()
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    for name, said in (("text.db", "not a database"), ("other.db", "holds something else: orders")):
        with pytest.raises(RegistryError, match=said):
            register(trained("lightgbm").bundle, NAME, uri=f"sqlite:///{tmp_path}/{name}")
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_settings_are_flattened_within_mlflows_limits():
    found = flattened({"a": {"b": 1, "c": [1, 2], "d": None}, "e f": "x" * 9000, "ü$": True, "g": {}})
    assert found == {"a.b": "1", "a.c": "[1, 2]", "e f": "x" * 5999 + "…", "ü_": "true", "g": "{}"}


# ---------------------------------------------------------------------- as MLflow's own model


def loaded(uri: str, number: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        mlflow.set_tracking_uri(uri)
        return mlflow.pyfunc.load_model(f"models:/{NAME}/{number}")


@pytest.fixture(scope="module", autouse=True)
def own_tracking() -> Iterator[None]:
    """MLflow's global URI is as it was."""
    yield
    import mlflow

    mlflow.set_tracking_uri("")


@pytest.mark.parametrize(("number", "kind"), [("1", "cnn_bilstm"), ("2", "lightgbm")])
def test_mlflow_forecasts_what_the_bundle_forecasts(uri: str, trained: TrainedByKind, number: str, kind: str):
    fleet = trained(kind).fleet
    expected = trained(kind).bundle.predict(fleet).to_frame()
    found = loaded(uri, number).predict(fleet.frame.to_pandas())
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == expected.columns
    assert found["rul"].to_list() == expected["rul"].to_list()


def test_mlflow_is_told_which_column_is_missing(uri: str, trained: TrainedByKind):
    table = trained("lightgbm").fleet.frame.to_pandas().drop(columns=["s1", "unit"])
    with pytest.raises(FleetError, match="columns are missing: unit, s1"):
        loaded(uri, "2").predict(table)
