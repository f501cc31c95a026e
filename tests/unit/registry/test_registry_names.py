"""How versions are named, where the registry is, and what is not a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from wearcast.errors import RegistryError, UsageError
from wearcast.registry.reading import artifact_root, default_uri, open_registry
from wearcast.registry.records import Reference
from wearcast.registry.writing import check_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pumps@champion", Reference("pumps", alias="champion")),
        ("pumps/3", Reference("pumps", version="3")),
        ("press line 4@challenger", Reference("press line 4", alias="challenger")),
        ("a@b@champion", Reference("a@b", alias="champion")),
    ],
)
def test_a_reference_is_a_name_with_an_alias_or_a_number(text: str, expected: Reference):
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pumps",
        "pumps@",
        "@champion",
        "pumps/0",
        "pumps/-1",
        "pumps/x",
        "../3",
        "a/b/3",
        "a:b/3",
        "pumps/1e9",
        "/3",
        f"{'x' * 257}/1",
        "pumps@champion;drop",
        "pumps/3 ",
        "a\nb/1",
        "..@champion",
        "pumps/99999999999999999999",
    ],
)
def test_anything_else_is_refused_with_how_to_write_it(text: str):
    with pytest.raises(RegistryError, match="NAME@ALIAS"):
        Reference.parse(text)


@pytest.mark.parametrize("name", ["a/b", "two words", "..", ".", "", "-x", "x" * 101, "a@b", "é", "a\n"])
def test_a_model_is_not_registered_under_such_a_name(name: str):
    with pytest.raises(UsageError, match="not a name for a model"):
        check_name(name)
    assert check_name("pumps-2.b_1") == "pumps-2.b_1"


@pytest.mark.parametrize("uri", ["", "mlruns", "file:///tmp/mlruns", "ftp://x", "mysql://me:secret@host/db"])
def test_another_kind_of_registry_is_refused_without_its_password(uri: str):
    with pytest.raises(UsageError, match="sqlite:///PATH") as caught:
        open_registry(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["postgresql://me:secret@127.0.0.1:9/db", "http://me:secret@127.0.0.1:9"])
def test_no_message_holds_a_password(uri: str):
    with pytest.raises(RegistryError) as caught:
        open_registry(uri, timeout_s=0.5).models()
    assert "secret" not in str(caught.value)
    assert "secret" not in open_registry(uri).uri


def test_the_registry_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("WEARCAST_REGISTRY", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_uri() == f"sqlite:///{tmp_path}/wearcast/registry.db"
    assert artifact_root(default_uri()) == f"file://{tmp_path}/wearcast/registry-artifacts"
    assert artifact_root("https://mlflow.plant") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.plant")
    assert default_uri() == "https://mlflow.plant"
    monkeypatch.setenv("WEARCAST_REGISTRY", "postgresql://db/registry")
    assert default_uri() == "postgresql://db/registry"
    monkeypatch.setenv("WEARCAST_REGISTRY_ARTIFACTS", "s3://bucket/registry")
    assert artifact_root(default_uri()) == "s3://bucket/registry"
