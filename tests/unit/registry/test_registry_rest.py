"""What a server may do to us: nothing of it is taken for an answer, and what may pass is told from what will not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.http_server import Reply, Server, running_server

from wearcast.errors import NoRegistryError, RegistryError, RegistryUnavailableError
from wearcast.registry.reading import open_registry, open_store

API = "/api/2.0/mlflow"
SEARCH = f"{API}/registered-models/search"
GET = f"{API}/registered-models/get?name=pumps"


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(value).encode(), status, {"Content-Type": "application/json", **headers})


def absent() -> Reply:
    return answer({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}, 404)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass(server: Server, status: int):
    server.serve(SEARCH, answer({"message": "busy"}, status))
    with pytest.raises(RegistryUnavailableError, match=f"status {status}: busy"):
        open_registry(server.url).models()


@pytest.mark.parametrize("status", [400, 404, 405, 411])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}, RegistryError),
        ({"message": "no"}, NoRegistryError),
        (["no"], NoRegistryError),
    ],
    ids=["of MLflow", "of another server", "no object"],
)
def test_a_status_that_will_not_pass(server: Server, status: int, reply: Any, error: type[RegistryError]):
    server.serve(SEARCH, answer(reply, status))
    with pytest.raises(RegistryError, match=f"refuses .status {status}") as caught:
        open_registry(server.url).models()
    assert type(caught.value) is error


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_let_in_is_told_how(server: Server, status: int):
    server.serve(SEARCH, answer({}, status))
    with pytest.raises(RegistryError, match="MLFLOW_TRACKING_TOKEN"):
        open_registry(server.url).models()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>hello</html>", 200, {"Content-Type": "text/html"}),
        answer([1, 2]),
        Reply(b'{"a":' * 100_000, 200, {"Content-Type": "application/json"}),
        answer({}, 302, Location="http://127.0.0.1:1/"),
        Reply(b"", 204),
    ],
)
def test_what_is_no_mlflow_server_is_said(server: Server, reply: Reply):
    server.serve(SEARCH, reply)
    with pytest.raises(RegistryError, match="not that of an MLflow server"):
        open_registry(server.url).models()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b'{"registered_models": []}', stop_after=3, stall=True),
        Reply(b'{"registered_models": []}', stop_after=0, stall=True),
        Reply(b'{"registered_models": []}', claim=900),
    ],
)
def test_silence_and_a_lost_connection_may_pass(server: Server, reply: Reply):
    server.serve(SEARCH, reply)
    began = time.monotonic()
    with pytest.raises(RegistryUnavailableError):
        open_registry(server.url, timeout_s=0.3).models()
    assert time.monotonic() - began < 4


def test_nobody_there_may_pass():
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        open_registry("http://127.0.0.1:9", timeout_s=1).models()


def test_token_and_password_are_those_of_mlflows_client(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.serve(SEARCH, answer({"registered_models": [{"name": "pumps"}]}))
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    said = []
    for token, login in (("", ""), ("abc", ""), ("abc", "me")):
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", login)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", login)
        assert open_registry(server.url).models() == ("pumps",)
        headers = {key.lower(): value for key, value in server.asked[-1][1].items()}
        said.append(headers.get("authorization", ""))
    assert said == ["", "Bearer abc", "Basic bWU6bWU="]


def test_pages_are_followed(server: Server):
    server.serve(SEARCH, answer({"registered_models": [{"name": "b"}], "next_page_token": "x"}))
    server.serve(f"{SEARCH}?page_token=x", answer({"registered_models": [{"name": "a"}]}))
    assert open_registry(server.url).models() == ("a", "b")


def test_a_certificate_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nowhere/ca.pem")
    with pytest.raises(RegistryError, match="not a server"):
        open_registry("https://127.0.0.1:9")


def test_what_is_absent_is_said_with_what_is_there(server: Server):
    server.serve(SEARCH, answer({"registered_models": [{"name": "pumps"}]}))
    server.serve(f"{API}/registered-models/get?name=plumps", absent())
    server.serve(
        GET, answer({"registered_model": {"name": "pumps", "aliases": [{"alias": "champion", "version": "1"}]}})
    )
    server.serve(f"{API}/runs/get?run_id=x", absent())
    registry = open_registry(server.url)
    with pytest.raises(RegistryError, match=r"no model is registered as 'plumps' \(there are pumps; "):
        registry.model("plumps")
    with pytest.raises(RegistryError, match=r"no alias 'x' \(there are champion \(version 1\)\)"):
        registry.resolve("pumps@x")
    with pytest.raises(RegistryError, match="no run 'x'"):
        registry.run("x")


VERSION = {
    "name": "pumps",
    "version": "1",
    "creation_timestamp": 1000,
    "source": "mlflow-artifacts:/1/r/artifacts/model",
}
PLACE = f"{API}/model-versions/get-download-uri?name=pumps&version=1"
FILE = "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/model/bundle/SHA256SUMS"


@pytest.fixture
def half(server: Server) -> Server:
    """A server that knows version 1 of pumps."""
    server.serve(f"{API}/model-versions/get?name=pumps&version=1", answer({"model_version": VERSION}))
    server.serve(PLACE, answer({"artifact_uri": VERSION["source"]}))
    return server


@pytest.mark.parametrize(
    ("reply", "said", "passes"),
    [
        (absent(), "this file of it is gone", False),
        (answer({"message": "boom"}, 500), "status 500: boom", True),
        (Reply(b"hello"), "not a bundle", False),
        (Reply(b"x" * 64, stop_after=10), "does not answer", True),
        (Reply(b"x" * 64, stop_after=10, stall=True), "no answer within", True),
    ],
)
def test_a_download_that_fails_leaves_the_cache_empty(
    half: Server, tmp_path: Path, reply: Reply, said: str, passes: bool
):
    half.serve(FILE, reply)
    registry = open_registry(half.url, timeout_s=0.4)
    with pytest.raises(RegistryError, match=said) as caught:
        registry.fetch(registry.resolve("pumps/1"), tmp_path)
    assert isinstance(caught.value, RegistryUnavailableError) is passes
    assert list(tmp_path.iterdir()) == []


def test_files_that_do_not_lie_behind_the_proxy_are_asked_of_the_server(half: Server, tmp_path: Path):
    half.serve(PLACE, answer({"artifact_uri": "s3://bucket/model"}))
    asked = "/model-versions/get-artifact?name=pumps&version=1&path=bundle%2FSHA256SUMS"
    half.serve(asked, Reply(b"hello"))
    registry = open_registry(half.url)
    with pytest.raises(RegistryError, match="not a bundle"):
        registry.fetch(registry.resolve("pumps/1"), tmp_path)
    assert half.asked[-1][0] == asked


def test_a_write_is_refused_by_a_server_that_takes_none(server: Server):
    with pytest.raises(RegistryUnavailableError, match="status 501"):
        open_store(server.url).set_tag("pumps", "a", "b")
