"""Secrets by reference: a setting says where a secret is kept, and only this module knows its value.

    file:/run/secrets/db        the text of a file, without the line break at its end
    env:WEARCAST_DB             a variable of the environment
    vault:wearcast/db#url       a key of a secret in Vault or OpenBao (KV version 2)
    aws:wearcast/db#url         a secret of AWS Secrets Manager, and of its JSON one key; without `#` all of its text

A value is never part of a message: neither of an error nor of a log line.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from wearcast.errors import ConfigError, require
from wearcast.service.settings import VaultSettings, is_reference

if TYPE_CHECKING:
    import httpx

    from wearcast.service.outside import Outside

__all__ = ["Secrets"]

T = TypeVar("T")
MAX_BYTES = 64 * 1024


class Secrets:
    """Reads secrets where the references say that they are; each once."""

    def __init__(self, vault: VaultSettings | None = None, outside: Outside | None = None) -> None:
        """Nothing is asked yet.

        Args:
            vault: the server behind `vault:`.
            outside: the guard of calls to it.
        """
        self._vault = vault or VaultSettings()
        self._outside = outside
        self._vault_token: SecretStr | None = None
        self._known: dict[str, SecretStr] = {}

    def resolve(self, reference: str) -> SecretStr:
        """The secret behind a reference.

        Raises:
            ConfigError: it is not there, or its keeper does not answer.
        """
        if (known := self._known.get(reference)) is not None:
            return known
        if not is_reference(reference):
            raise ConfigError(
                "not a reference to a secret", hint="file:/path, env:NAME, vault:path#key or aws:name#key"
            )
        keeper, _, place = reference.partition(":")
        value = _READERS[keeper](self, place, reference)
        if not value:
            raise ConfigError("the secret is empty", where=reference)
        self._known[reference] = SecretStr(value)
        return self._known[reference]

    def reveal(self, value: SecretStr | str) -> str:
        """The text of a setting that may be written down or be a reference."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        return self.resolve(text).get_secret_value() if is_reference(text) else text

    # -------------------------------------------------------------- keepers

    def _from_file(self, place: str, reference: str) -> str:
        path = Path(place)
        if not path.is_absolute():
            raise ConfigError("the path of a secret begins with /", where=reference)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=reference) from error
        if len(data) > MAX_BYTES:
            raise ConfigError(f"larger than {MAX_BYTES} bytes: this is not a secret", where=reference)
        return _text(data, reference).rstrip("\r\n")

    def _from_environment(self, place: str, reference: str) -> str:
        value = os.environ.get(place)
        if value is None:
            raise ConfigError("there is no such variable", where=reference)
        return value

    def _from_vault(self, place: str, reference: str) -> str:
        path, _, key = place.partition("#")
        if not path or not key or ".." in path.split("/"):
            raise ConfigError("expected vault:path#key", where=reference)
        address = (self._vault.address or os.environ.get("VAULT_ADDR", "")).rstrip("/")
        if not address:
            raise ConfigError("no Vault is named", where=reference, hint="vault.address or VAULT_ADDR")
        answer = self._guarded(lambda: self._ask_vault(address, path.strip("/"), reference), reference)
        content = answer.get("data", {}).get("data")
        return _one_key(content, key, reference)

    def _from_aws(self, place: str, reference: str) -> str:
        name, _, key = place.partition("#")
        boto3 = require("boto3", extra="aws")
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        patience = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3})
        try:
            answer = boto3.client("secretsmanager", config=patience).get_secret_value(SecretId=name)
        except ClientError as error:
            raise ConfigError(f"refused: {error.response['Error']['Code']}", where=reference) from error
        except BotoCoreError as error:
            hint = "region and credentials come from the environment, a profile or the machine's role"
            raise ConfigError(f"cannot be asked: {type(error).__name__}", where=reference, hint=hint) from error
        text = answer.get("SecretString")
        if text is None:
            raise ConfigError("binary secrets are not read", where=reference)
        if not key:
            return str(text)
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"not JSON, so it has no key {key!r}", where=reference) from error
        return _one_key(content, key, reference)

    # -------------------------------------------------------------- Vault

    def _guarded(self, call: Callable[[], T], reference: str) -> T:
        import httpx

        from wearcast.service.outside import OutsideDownError

        try:
            return call() if self._outside is None else self._outside.call_sync(call)
        except (httpx.HTTPError, OutsideDownError) as error:
            hint = f"vault.address, or VAULT_ADDR, is {self._vault.address or os.environ.get('VAULT_ADDR')}"
            raise ConfigError("Vault does not answer", where=reference, hint=hint) from error

    def _ask_vault(self, address: str, path: str, reference: str) -> dict[str, Any]:
        with self._client(address) as client:
            answer = client.get(f"/v1/{self._vault.mount}/data/{path}", headers=self._key_to_vault(client, reference))
            if answer.status_code == 403 and self._vault.role_id is not None:  # the log-in has run out
                self._vault_token = None
                headers = self._key_to_vault(client, reference)
                answer = client.get(f"/v1/{self._vault.mount}/data/{path}", headers=headers)
        if answer.status_code == 404:
            raise ConfigError("Vault has no such secret", where=reference, hint="the path comes after the mount")
        if answer.status_code in (400, 403):
            raise ConfigError("Vault refuses", where=reference, hint="does the token's policy allow to read it?")
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    def _client(self, address: str) -> httpx.Client:
        import httpx

        context = ssl.create_default_context(cafile=self._vault.ca) if self._vault.ca else True
        headers = {"X-Vault-Request": "true"}
        if self._vault.namespace:
            headers["X-Vault-Namespace"] = self._vault.namespace
        # Redirects would carry the token elsewhere.
        timeout = self._vault.timeout_s
        return httpx.Client(base_url=address, headers=headers, timeout=timeout, verify=context, follow_redirects=False)

    def _key_to_vault(self, client: httpx.Client, reference: str) -> dict[str, str]:
        if self._vault_token is None:
            self._vault_token = self._open_vault(client, reference)
        return {"X-Vault-Token": self._vault_token.get_secret_value()}

    def _open_vault(self, client: httpx.Client, reference: str) -> SecretStr:
        vault = self._vault
        if vault.token is not None:
            return self.resolve(vault.token)
        if vault.role_id is not None and vault.secret_id is not None:
            role, secret = (self.resolve(part).get_secret_value() for part in (vault.role_id, vault.secret_id))
            answer = client.post("/v1/auth/approle/login", json={"role_id": role, "secret_id": secret})
            if answer.status_code in (400, 403):
                raise ConfigError("Vault refuses the role", where=reference, hint="vault.role_id, vault.secret_id")
            answer.raise_for_status()
            return SecretStr(str(answer.json()["auth"]["client_token"]))
        token = os.environ.get("VAULT_TOKEN", "")
        if not token:
            hint = "vault.token, vault.role_id with vault.secret_id, or VAULT_TOKEN"
            raise ConfigError("nothing opens the Vault", where=reference, hint=hint)
        return SecretStr(token)


_READERS: dict[str, Callable[[Secrets, str, str], str]] = {
    "file": Secrets._from_file,
    "env": Secrets._from_environment,
    "vault": Secrets._from_vault,
    "aws": Secrets._from_aws,
}


def _text(data: bytes, reference: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8 text", where=reference) from None  # the cause would hold the bytes


def _one_key(content: Any, key: str, reference: str) -> str:
    if not isinstance(content, dict) or key not in content:
        known = ", ".join(sorted(map(str, content))) if isinstance(content, dict) else "none"
        raise ConfigError(f"the secret has no key {key!r}", where=reference, hint=f"it has: {known}")
    if not isinstance(content[key], str):
        raise ConfigError(f"the key {key!r} is not text", where=reference)
    return str(content[key])
