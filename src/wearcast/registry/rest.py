"""An MLflow server, asked by its REST API.

Who is asking is said by `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, as with
MLflow's own client; `MLFLOW_TRACKING_SERVER_CERT_PATH` names the certificates to trust.
"""

from __future__ import annotations

import functools
import json
import os
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from wearcast.errors import NoRegistryError, RegistryError, RegistryUnavailableError, require
from wearcast.registry.artifacts import BUNDLE_FOLDER, download_bundle
from wearcast.registry.connections import shown_uri
from wearcast.registry.records import ModelVersion, RegisteredModel, Run
from wearcast.registry.store import Store

__all__ = ["RestStore"]

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
PASSES = (408, 425, 429)
"""Statuses below 500 that may be another a moment later."""
LARGEST_ANSWER = 64 << 20
BLOCK = 1 << 18


class RestStore(Store):
    """A registry behind an MLflow server. Each question opens a connection of its own, so threads do not meet."""

    def __init__(self, uri: str, *, timeout_s: float = 5.0) -> None:
        self._httpx = require("httpx", extra="registry")
        self._base = uri.rstrip("/")
        self._timeout_s = timeout_s
        try:
            encrypted = self._httpx.URL(self._base).scheme == "https"
            # Made once: reading the certificates takes longer than a question.
            self._trust = _certificates() if encrypted else False
        except (OSError, self._httpx.InvalidURL) as error:
            raise NoRegistryError(f"not a server: {error}", where=shown_uri(uri)) from error

    @property
    def uri(self) -> str:
        """Where it is, without a password."""
        return shown_uri(self._base)

    def models(self) -> tuple[str, ...]:
        """Names of the registered models, sorted."""
        return tuple(sorted(str(row["name"]) for row in self._pages("registered-models/search", "registered_models")))

    def model(self, name: str) -> RegisteredModel:
        """Aliases and tags of a model.

        Raises:
            NotRegisteredError: there is no such model.
        """
        found = self._call("GET", "registered-models/get", {"name": name}, absent=lambda: self._no_model(name))
        record = found["registered_model"]
        aliases = {row["alias"]: str(row["version"]) for row in record.get("aliases", ())}
        return RegisteredModel(name, aliases, _pairs(record))

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Every version of a model, oldest first.

        Raises:
            NotRegisteredError: there is no such model.
        """
        aliases = self.model(name).aliases
        quoted = f'"{name}"' if "'" in name else f"'{name}'"
        rows = self._pages("model-versions/search", "model_versions", filter=f"name={quoted}")
        found = [_version(row, [a for a, number in aliases.items() if number == str(row["version"])]) for row in rows]
        return tuple(sorted(found, key=lambda version: int(version.version)))

    def version(self, name: str, number: str) -> ModelVersion:
        """One version of a model.

        Raises:
            NotRegisteredError: there is no such version.
        """
        asked = {"name": name, "version": number}
        row = self._call("GET", "model-versions/get", asked, absent=lambda: self._no_version(name, number))
        return _version(row["model_version"], row["model_version"].get("aliases", ()))

    def run(self, run_id: str) -> Run:
        """What a run recorded.

        Raises:
            RegistryError: there is no such run.
        """
        absent = RegistryError(f"there is no run {run_id!r}", where=self.uri)
        data = self._call("GET", "runs/get", {"run_id": run_id}, absent=lambda: absent)["run"].get("data", {})
        metrics = {row["key"]: float(row["value"]) for row in data.get("metrics", ())}
        return Run(run_id, {row["key"]: row["value"] for row in data.get("params", ())}, metrics, _pairs(data))

    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        """The directory of the bundle in `cache`, downloaded if it is not there yet; every byte checked.

        Raises:
            RegistryError: the version has no whole bundle.
        """
        place = functools.cache(lambda: self._place(version))

        def download(name: str, to: Path) -> None:
            path, params = self._artifact(place(), f"{BUNDLE_FOLDER}/{name}", version)
            self._download(path, params, to, f"{version.reference}: {name}")

        return download_bundle(version, cache, download)

    def _place(self, version: ModelVersion) -> str:
        """Where the artifacts of a version lie, as the server has it; asked only if they are not here yet."""
        asked = {"name": version.name, "version": version.version}
        absent = lambda: self._no_version(version.name, version.version)  # noqa: E731
        return str(self._call("GET", "model-versions/get-download-uri", asked, absent=absent)["artifact_uri"])

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias stand for a version; the server does it in one transaction.

        Raises:
            NotRegisteredError: there is no such version.
        """
        body = {"name": name, "alias": alias, "version": version}
        self._call("POST", "registered-models/alias", body, absent=lambda: self._no_version(name, version))

    def set_tag(self, name: str, key: str, value: str) -> None:
        """Write a tag of a model.

        Raises:
            NotRegisteredError: there is no such model.
        """
        body = {"name": name, "key": key, "value": value}
        self._call("POST", "registered-models/set-tag", body, absent=lambda: self._no_model(name))

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Write a tag of a version.

        Raises:
            NotRegisteredError: there is no such version.
        """
        body = {"name": name, "version": version, "key": key, "value": value}
        self._call("POST", "model-versions/set-tag", body, absent=lambda: self._no_version(name, version))

    def delete_tag(self, name: str, key: str) -> None:
        """Remove a tag of a model, if it is there."""
        absent = lambda: self._no_model(name)  # noqa: E731
        self._call("DELETE", "registered-models/delete-tag", {"name": name, "key": key}, absent=absent)

    def _artifact(self, place: str, name: str, version: ModelVersion) -> tuple[str, dict[str, str]]:
        """Where a file of a version is downloaded: by the artifact proxy, or as the server reads its store."""
        parts = urlsplit(place)
        if parts.scheme == "mlflow-artifacts":
            return f"{PROXY}{quote(parts.path)}/{quote(name)}", {}
        return "/model-versions/get-artifact", {"name": version.name, "version": version.version, "path": name}

    def _download(self, path: str, params: dict[str, str], to: Path, where: str) -> None:
        with self._answer("GET", path, params=params) as response:
            if response.status_code >= 400:
                content = self._content(response)
                if _is_absent(response):
                    raise RegistryError(
                        "the registry names this version, but this file of it is gone",
                        where=where,
                        hint="register the bundle again",
                    )
                self._refuse(response, content)
            with to.open("wb") as file:
                for block in response.iter_bytes(BLOCK):
                    file.write(block)

    def _pages(self, path: str, key: str, **params: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._call("GET", path, params | ({"page_token": token} if token else {}))
            yield from page.get(key, ())
            token = page.get("next_page_token", "")
            if not token:
                return

    def _call(
        self, method: str, path: str, values: dict[str, str], *, absent: Callable[[], RegistryError] | None = None
    ) -> dict[str, Any]:
        """The server's answer; `absent` says what it means that there is no such thing."""
        sent: dict[str, Any] = {"params": values} if method == "GET" else {"json": values}
        with self._answer(method, f"{API}/{path}", **sent) as response:
            content = self._content(response)
            if response.status_code >= 400:
                if absent is not None and _is_absent(response):
                    raise absent()
                self._refuse(response, content)
        answer = _object(content)
        if response.status_code >= 300 or answer is None:
            raise NoRegistryError(
                f"the answer is not that of an MLflow server (status {response.status_code})",
                where=self.uri,
                hint="give the URL that its own page opens under",
            )
        return answer

    def _content(self, response: Any) -> bytes:
        """The whole answer, which must be here within the time of one question however slowly it trickles."""
        until = time.monotonic() + self._timeout_s
        parts, length = [], 0
        for block in response.iter_bytes(BLOCK):
            parts.append(block)
            length += len(block)
            if time.monotonic() > until:
                raise RegistryUnavailableError(f"no whole answer within {self._timeout_s:g} s", where=self.uri)
            if length > LARGEST_ANSWER:
                raise NoRegistryError("the answer is larger than any of MLflow's", where=self.uri)
        return b"".join(parts)

    @contextmanager
    def _answer(self, method: str, path: str, **sent: Any) -> Iterator[Any]:
        """A streamed response; what the network does to it is said in our words."""
        try:
            with (
                self._httpx.Client(
                    timeout=self._timeout_s, verify=self._trust, headers=_token(), auth=_login()
                ) as client,
                client.stream(method, f"{self._base}{path}", **sent) as response,
            ):
                yield response
        except self._httpx.TimeoutException as error:
            raise RegistryUnavailableError(f"no answer within {self._timeout_s:g} s", where=self.uri) from error
        except self._httpx.UnsupportedProtocol as error:
            raise NoRegistryError(f"not a server: {error}", where=self.uri) from error
        except self._httpx.HTTPError as error:
            raise RegistryUnavailableError(f"the server does not answer: {error}", where=self.uri) from error

    def _refuse(self, response: Any, content: bytes) -> NoReturn:
        status, said = response.status_code, _message(response, content)
        if status in (401, 403):
            raise NoRegistryError(
                f"the server does not let us in (status {status})",
                where=self.uri,
                hint="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            )
        if status >= 500 or status in PASSES:
            raise RegistryUnavailableError(f"the server answers with status {status}: {said}", where=self.uri)
        refused = RegistryError if _is_mlflows(content) else NoRegistryError
        raise refused(f"the server refuses (status {status}): {said}", where=self.uri)


def _certificates() -> ssl.SSLContext:
    """Those to trust: of the file that the environment names, else of this machine."""
    return ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)


def _token() -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    return {"Authorization": f"Bearer {token}"} if token and not _login() else {}


def _login() -> tuple[str, str] | None:
    """Name and password, which MLflow's own client prefers to a token."""
    name, password = (os.environ.get(f"MLFLOW_TRACKING_{part}", "") for part in ("USERNAME", "PASSWORD"))
    return (name, password) if name and password else None


def _is_absent(response: Any) -> bool:
    return response.status_code == 404 and "text/html" not in response.headers.get("content-type", "")


def _message(response: Any, content: bytes) -> str:
    said = str((_object(content) or {}).get("message", response.reason_phrase))
    return " ".join(said.split())[:300]


def _is_mlflows(content: bytes) -> bool:
    """Whether MLflow says it, which names each error; a page in between, or another server, does not."""
    return "error_code" in (_object(content) or {})


def _object(content: bytes) -> dict[str, Any] | None:
    """What an answer holds; None if it is no JSON object, or one that is nested without end."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _pairs(record: dict[str, Any]) -> dict[str, str]:
    return {row["key"]: row.get("value", "") for row in record.get("tags", ())}


def _version(row: dict[str, Any], aliases: Iterable[str]) -> ModelVersion:
    return ModelVersion(
        name=row["name"],
        version=str(row["version"]),
        aliases=tuple(sorted(aliases)),
        run_id=row.get("run_id") or None,
        source=row.get("source", ""),
        created=datetime.fromtimestamp(int(row.get("creation_timestamp", 0)) / 1000, UTC),
        tags=_pairs(row),
        description=row.get("description", ""),
        status=row.get("status", "READY"),
    )
