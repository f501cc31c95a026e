"""Secrets in real keepers: OpenBao for Vault, moto for AWS; started here and stopped again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fixtures.outside_servers import Vault, moto_server, no_moto, no_vault, vault_server

from wearcast.errors import ConfigError
from wearcast.service.outside import outside_services
from wearcast.service.secrets import Secrets
from wearcast.service.settings import VaultSettings

POLICY = 'path "secret/data/wearcast/*" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    """A Vault with one secret and a role that may read it."""
    if reason := no_vault():
        pytest.skip(reason)
    with vault_server() as running:
        running.ask("POST", "secret/data/wearcast/db", data={"url": "postgresql://me:hunter2@db/x", "port": 5432})
        running.ask("POST", "secret/data/others/db", data={"url": "not for us"})
        running.ask("PUT", "sys/policies/acl/wearcast", policy=POLICY)
        running.ask("POST", "sys/auth/approle", type="approle")
        running.ask("POST", "auth/approle/role/wearcast", **{"token_policies": "wearcast", "token_ttl": "1h"})
        yield running


@pytest.fixture
def role(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> VaultSettings:
    """What a service is given to open it with."""
    role_id = vault.ask("GET", "auth/approle/role/wearcast/role-id").json()["data"]["role_id"]
    secret_id = vault.ask("POST", "auth/approle/role/wearcast/secret-id").json()["data"]["secret_id"]
    monkeypatch.setenv("ROLE_ID", role_id)
    monkeypatch.setenv("SECRET_ID", secret_id)
    return VaultSettings(address=vault.address, role_id="env:ROLE_ID", secret_id="env:SECRET_ID")  # noqa: S106


def refusal(secrets: Secrets, reference: str) -> str:
    with pytest.raises(ConfigError) as refused:
        secrets.resolve(reference)
    assert "hunter2" not in str(refused.value)
    return str(refused.value)


def test_vault_by_a_token(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", vault.root)
    secrets = Secrets(VaultSettings(address=vault.address, token="env:THE_TOKEN"), outside_services()["vault"])  # noqa: S106
    assert secrets.resolve("vault:wearcast/db#url").get_secret_value() == "postgresql://me:hunter2@db/x"


def test_vault_by_its_own_variables(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", vault.address)
    monkeypatch.setenv("VAULT_TOKEN", vault.root)
    assert Secrets().resolve("vault:wearcast/db#url").get_secret_value().startswith("postgresql://")


def test_vault_by_a_role(role: VaultSettings) -> None:
    secrets = Secrets(role, outside_services()["vault"])
    assert secrets.reveal("vault:wearcast/db#url") == "postgresql://me:hunter2@db/x"


def test_vault_logs_in_again_when_its_token_has_run_out(vault: Vault, role: VaultSettings) -> None:
    secrets = Secrets(role)
    secrets.resolve("vault:wearcast/db#url")
    token = secrets._vault_token
    assert token is not None
    vault.ask("POST", "auth/token/revoke", token=token.get_secret_value())
    vault.ask("POST", "secret/data/wearcast/key", data={"pem": "-----BEGIN"})
    assert secrets.resolve("vault:wearcast/key#pem").get_secret_value() == "-----BEGIN"


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("vault:wearcast/nothing#url", "Vault has no such secret"),
        ("vault:wearcast/db#password", "the secret has no key 'password' (it has: port, url)"),
        ("vault:wearcast/db#port", "the key 'port' is not text"),
        ("vault:others/db#url", "Vault refuses"),
    ],
)
def test_vault_says_what_is_not_there(role: VaultSettings, reference: str, told: str) -> None:
    assert told in refusal(Secrets(role), reference)


def test_vault_refuses_a_wrong_token_and_a_wrong_role(
    vault: Vault, role: VaultSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_ID", "hunter2")
    assert "Vault refuses the role" in refusal(Secrets(role), "vault:wearcast/db#url")
    monkeypatch.setenv("VAULT_TOKEN", "hunter2")
    assert "Vault refuses" in refusal(Secrets(VaultSettings(address=vault.address)), "vault:wearcast/db#url")


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    """An AWS with two secrets, and an environment that leads there."""
    if reason := no_moto():
        pytest.skip(reason)
    with moto_server() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        import boto3

        client = boto3.client("secretsmanager")
        client.create_secret(Name="wearcast/db", SecretString='{"url": "postgresql://me:hunter2@db/x", "port": 5432}')
        client.create_secret(Name="wearcast/key", SecretString="hunter2 hunter2")
        client.create_secret(Name="wearcast/bytes", SecretBinary=b"hunter2")
        yield


@pytest.mark.usefixtures("aws")
def test_aws_by_key_and_whole() -> None:
    secrets = Secrets()
    assert secrets.resolve("aws:wearcast/db#url").get_secret_value() == "postgresql://me:hunter2@db/x"
    assert secrets.resolve("aws:wearcast/key").get_secret_value() == "hunter2 hunter2"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("aws:wearcast/nothing", "refused: ResourceNotFoundException"),
        ("aws:wearcast/db#password", "the secret has no key 'password' (it has: port, url)"),
        ("aws:wearcast/key#url", "not JSON, so it has no key 'url'"),
        ("aws:wearcast/bytes", "binary secrets are not read"),
    ],
)
def test_aws_says_what_is_not_there(reference: str, told: str) -> None:
    assert told in refusal(Secrets(), reference)


@pytest.mark.usefixtures("aws")
def test_aws_without_a_region_says_where_it_would_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert "region and credentials come from the environment" in refusal(Secrets(), "aws:wearcast/db#url")
