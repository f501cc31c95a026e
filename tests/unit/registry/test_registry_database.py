"""MLflow's database: our answers are those of MLflow's own client, and what is wrong with it is said."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.fixtures.registries import NAME, client_of

from wearcast.errors import RegistryError, RegistryUnavailableError
from wearcast.registry.reading import RegistryReader, open_registry, open_store
from wearcast.registry.store import Store

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_each_answer_is_that_of_mlflows_own_client(store: Store, uri: str):
    """A changed schema of MLflow is noticed here."""
    store.set_alias(NAME, "champion", "2")
    store.set_tag(NAME, "site", "north")
    client = client_of(uri)
    assert store.models() == tuple(sorted(model.name for model in client.search_registered_models())) == (NAME,)
    theirs = client.get_registered_model(NAME)
    ours = store.model(NAME)
    assert (ours.aliases, ours.tags) == ({"champion": "2"}, {"site": "north"})
    assert {alias: str(version) for alias, version in theirs.aliases.items()} == ours.aliases
    assert theirs.tags == ours.tags
    for version in store.versions(NAME):
        told = client.get_model_version(NAME, version.version)
        assert version.aliases == tuple(sorted(told.aliases))
        assert (version.run_id, version.source, version.tags) == (told.run_id, told.source, told.tags)
        assert (version.description, version.status) == (told.description, told.status)
        assert round(version.created.timestamp() * 1000) == told.creation_timestamp
        run = client.get_run(version.run_id)
        ran = store.run(str(version.run_id))
        assert (ran.params, ran.metrics, ran.tags) == (run.data.params, run.data.metrics, run.data.tags)
    assert store.resolve(f"{NAME}@champion") == store.version(NAME, "2")
    assert client.get_model_version_by_alias(NAME, "champion").version == 2


def test_what_we_write_mlflow_reads(store: Store, uri: str):
    client = client_of(uri)
    for version in ("1", "2"):
        store.set_alias(NAME, "champion", version)
        assert str(client.get_model_version_by_alias(NAME, "champion").version) == version
        store.set_version_tag(NAME, version, "checked", "yes")
        store.set_version_tag(NAME, version, "checked", "twice")
        assert client.get_model_version(NAME, version).tags["checked"] == "twice"
    store.set_tag(NAME, "site", "north")
    store.delete_tag(NAME, "site")
    store.delete_tag(NAME, "site")
    assert "site" not in client.get_registered_model(NAME).tags


def test_a_version_that_mlflow_deleted_is_gone(store: Store, uri: str):
    client_of(uri).delete_model_version(NAME, "1")
    assert [version.version for version in store.versions(NAME)] == ["2"]
    with pytest.raises(RegistryError, match=r"no version 1 \(there are 2\)"):
        store.set_alias(NAME, "champion", "1")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda store: store.resolve(f"{NAME}@champion"), "no alias 'champion' (no alias is set"),
        (lambda store: store.resolve(f"{NAME}/7"), "no version 7 (there are 1, 2)"),
        (lambda store: store.resolve("plumps@champion"), "no model is registered as 'plumps' (there are pumps; "),
        (lambda store: store.versions("x' OR '1'='1"), "no model is registered as"),
        (lambda store: store.run("0" * 32), "there is no run"),
        (lambda store: store.set_alias(NAME, "champion", "9"), "no version 9"),
        (lambda store: store.set_tag("plumps", "a", "b"), "no model is registered"),
        (lambda store: store.set_version_tag(NAME, "9", "a", "b"), "no version 9"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(store: Store, ask: Callable[[Store], object], said: str):
    with pytest.raises(RegistryError) as caught:
        ask(store)
    assert said in str(caught.value)
    assert not isinstance(caught.value, RegistryUnavailableError)


def test_an_alias_that_is_absent_is_answered_with_those_that_are_there(store: Store):
    store.set_alias(NAME, "champion", "2")
    with pytest.raises(RegistryError, match=r"no alias 'champoin' \(there are champion \(version 2\)\)"):
        store.resolve(f"{NAME}@champoin")


def test_a_place_without_a_registry_is_not_made_by_looking(tmp_path: Path):
    with pytest.raises(RegistryError, match="there is no registry here yet"):
        open_registry(f"sqlite:///{tmp_path}/none.db").models()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RegistryError, match="names no file"):
        open_registry("sqlite://")


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_an_empty_or_foreign_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(RegistryError, match=r"not a registry of MLflow 3|not a database") as caught:
        open_registry(f"sqlite:///{tmp_path}/x.db").models()
    assert not isinstance(caught.value, RegistryUnavailableError)


def test_a_database_with_other_columns_is_refused(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        for table in ("registered_models", "model_versions", "model_version_tags", "registered_model_aliases"):
            database.execute(f"CREATE TABLE {table} (name TEXT, version INTEGER)")
            database.execute(f"INSERT INTO {table} VALUES ('pumps', 1)")  # noqa: S608
        database.commit()
    with pytest.raises(RegistryError, match="not a registry of MLflow 3: there is no column"):
        open_registry(f"sqlite:///{tmp_path}/x.db").versions("pumps")


def test_models_of_another_workspace_are_not_ours(store: Store, uri: str):
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        database.execute("INSERT INTO registered_models (workspace, name) VALUES ('other', 'presses')")
        database.commit()
    assert store.models() == (NAME,)


def test_a_writer_that_holds_the_database_is_a_passing_trouble(uri: str):
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RegistryUnavailableError, match="busy"):
            open_store(uri, timeout_s=0.05).set_alias(NAME, "champion", "1")
        with pytest.raises(RegistryUnavailableError, match="busy"):
            open_store(uri, timeout_s=0.05).models()
    open_store(uri).set_alias(NAME, "champion", "1")


def test_reading_and_promoting_import_no_mlflow(uri: str, tmp_path: Path):
    """Nor pandas or torch: the service does all of this."""
    script = f"""
import sys
from pathlib import Path
from wearcast.registry.reading import open_registry, open_store, RegistryReader
from wearcast.registry.promotion import promote, rollback, weigh
store = open_store({uri!r})
assert isinstance(open_registry({uri!r}), RegistryReader)
version = store.resolve("pumps/1")
store.fetch(version, Path({str(tmp_path)!r}))
promote(store, version, weigh(store, version, cache=Path({str(tmp_path)!r})))
heavy = {{"mlflow", "pandas", "torch", "matplotlib", "scipy", "sqlalchemy"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert open_store(uri).model(NAME).aliases == {"champion": "1"}


def test_every_store_is_a_reader(store: Store):
    assert isinstance(store, RegistryReader)
