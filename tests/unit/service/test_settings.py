"""Settings come from a profile, a file, the environment and flags; what is wrong is said where it was written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from wearcast.errors import ConfigError
from wearcast.service.loading import load_settings
from wearcast.service.preflight import check, is_loopback
from wearcast.service.settings import Settings

SERVED = {"models.bundle": "/models/pumps"}
# What prod asks for, by flag.
PROD = {**SERVED, "tls.behind_proxy": True, "tls.trusted_proxies": ["10.0.0.0/8"], "hosts": ["api.plant.example"]}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("WEARCAST_"):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "service.yaml"
    path.write_text(text)
    return path


def refusal(profile: str, changes: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as refused:
        check(load_settings(profile, None, {**(PROD if profile == "prod" else SERVED), **changes}))
    return str(refused.value)


# ------------------------------------------------------------------ loading


def test_dev_is_open_on_this_machine_only() -> None:
    settings = load_settings()
    assert (settings.profile, settings.host, settings.auth.required) == ("dev", "127.0.0.1", False)
    check(load_settings(overrides=SERVED))


@pytest.mark.parametrize("profile", ["staging", "prod"])
def test_other_profiles_ask_for_a_token(profile: str) -> None:
    assert load_settings(profile).auth.required


def test_later_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "profile: staging\nport: 1\nlimits: {rows: 10, units: 20, queue: 30}\n")
    monkeypatch.setenv("WEARCAST_LIMITS__ROWS", "11")
    monkeypatch.setenv("WEARCAST_LIMITS__UNITS", "21")
    settings = load_settings(file=file, overrides={"limits.units": 22, "port": None})
    assert (settings.profile, settings.port) == ("staging", 1)
    assert (settings.limits.rows, settings.limits.units, settings.limits.queue) == (11, 22, 30)


def test_the_environment_names_file_and_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEARCAST_SETTINGS", str(write(tmp_path, "port: 81\n")))
    monkeypatch.setenv("WEARCAST_PROFILE", "staging")
    assert (load_settings().profile, load_settings().port) == ("staging", 81)
    assert load_settings("dev").profile == "dev"


def test_variables_are_read_by_the_type_of_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SERVICE__HOSTS": "a.example, b.example",
        "CORS__ORIGINS": "[https://a.example]",
        "AUTH__AUDIENCE": "0123",
        "AUTH__REQUIRED": "true",
        "LIMITS__BATCH_WAIT_MS": "1.5",
        "LIMITS__RATES__FORECAST": "5/second",
        "LOGS__LEVELS": "{wearcast.service.access: warning}",
        "SERVICE__REDIS_URL": "redis://:1234@host/0",
        "SERVICE__REGISTRY_URL": "",
        "MODELS__BUNDLE": "/models/1",
        "SERVICE__PORT": "9000",
    }.items():
        monkeypatch.setenv(f"WEARCAST_{name}", value)
    settings = load_settings()
    assert settings.hosts == ("a.example", "b.example")
    assert settings.cors.origins == ("https://a.example",)
    assert (settings.auth.audience, settings.auth.required) == ("0123", True)
    assert settings.limits.batch_wait_ms == 1.5
    assert settings.limits.rates.forecast == "5/second"
    assert settings.logs.levels == {"wearcast.service.access": "warning"}
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:1234@host/0"
    assert (settings.registry_url, settings.models.bundle) == (None, Path("/models/1"))
    assert settings.port == 9_000


def test_variables_of_kubernetes_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEARCAST_PORT", "tcp://10.0.0.1:8000")
    monkeypatch.setenv("WEARCAST_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("WEARCAST_DATA_DIR", "/data")
    assert load_settings().port == 8_000


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WEARCAST_LIMITS__ROW", "3", "WEARCAST_LIMITS__ROW: unknown key limits.row (did you mean 'rows'?)"),
        ("WEARCAST_LIMIT__ROWS", "3", "WEARCAST_LIMIT__ROWS: no setting has this name (did you mean"),
        ("WEARCAST_SERVICE__PROT", "3", "WEARCAST_SERVICE__PROT: unknown key prot (did you mean 'port'?)"),
        ("WEARCAST_LIMITS__ROWS", "many", "WEARCAST_LIMITS__ROWS: limits.rows: expected a whole number"),
        ("WEARCAST_LIMITS__ROWS", "0", "WEARCAST_LIMITS__ROWS: limits.rows: expected greater than or equal to 1"),
        ("WEARCAST_LIMITS__RATES__FORECAST", "often", "limits.rates.forecast: expected text that matches"),
        ("WEARCAST_PROFILE", "production", "WEARCAST_PROFILE: profile: expected one of dev, staging, prod"),
        ("WEARCAST_SERVICE__PORT", "80: 90: [", "WEARCAST_SERVICE__PORT"),
        ("WEARCAST_AUTH__ISSUER", "keycloak", "WEARCAST_AUTH__ISSUER: auth.issuer: expected 'builtin' or a URL"),
        ("WEARCAST_AUTH__ALGORITHMS", "", "WEARCAST_AUTH__ALGORITHMS: auth.algorithms: without an algorithm"),
        ("WEARCAST_VAULT__TOKEN", "vault:a#b", "what opens the vault cannot lie in one"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        load_settings()
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port: 80\nlimts: {}\n", ":2: unknown key limts (did you mean 'limits'?)"),
        ("auth:\n  audience: 7\n", ":2: auth.audience: expected text, got 7"),
        ("port: '80'\n", ':1: port: expected a whole number, got "80"'),
        ("logs: {level: loud}\n", ":1: logs.level: expected one of 'debug'"),
        ("profile: pord\n", ":1: profile: expected one of dev, staging, prod, got 'pord' (did you mean 'prod'?)"),
        ("auth: yes\n", ":1: auth: expected"),
        ("- a\n", "expected `key: value` lines"),
    ],
)
def test_a_wrong_file_is_answered_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(file=write(tmp_path, text))
    assert told in str(refused.value)


def test_a_flag_over_what_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=":1: limits: expected a mapping"):
        load_settings(file=write(tmp_path, "limits: 3\n"), overrides={"limits.rows": 3})


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(ConfigError, match="--port: port: expected less than or equal to 65535"):
        load_settings(overrides={"port": 70_000})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


# ------------------------------------------------------------------ no secrets


def test_a_secret_written_down_where_a_reference_belongs_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(file=write(tmp_path, "auth:\n  signing_key: hunter2hunter2\n"))
    assert "auth.signing_key" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(refused.value)


def test_the_text_of_settings_holds_no_secret() -> None:
    settings = load_settings(
        overrides={"state_url": "postgresql://me:hunter2@db/wearcast", "redis_url": "redis://:hunter2@host"}
    )
    for text in (str(settings), repr(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "hunter2" not in text


# ------------------------------------------------------------------ what is refused before a port opens

REFUSED_IN_PROD: dict[str, tuple[dict[str, Any], str]] = {
    "no authentication": ({"auth.required": False}, "auth.required: prod does not answer without a token"),
    "no TLS": ({"tls.behind_proxy": False, "tls.trusted_proxies": []}, "tls: prod does not speak plain HTTP"),
    "an unnamed proxy": ({"tls.trusted_proxies": []}, "tls.trusted_proxies: behind a proxy, but nobody says which"),
    "every proxy": ({"tls.trusted_proxies": ["0.0.0.0/0"]}, "tls.trusted_proxies: 0.0.0.0/0 believes everybody"),
    "no HSTS": ({"tls.hsts_s": 0}, "tls.hsts_s: prod tells browsers to stay with HTTPS"),
    "HS256": (
        {"auth.algorithms": ["HS256"], "auth.signing_key": "env:X"},
        "auth.algorithms: who can check an HS256 token can make one",
    ),
    "any origin": ({"cors.origins": ["*"]}, "cors.origins: '*' lets every page call the service"),
    "an origin without TLS": (
        {"cors.origins": ["http://a.example"]},
        "cors.origins: http://a.example is not encrypted",
    ),
    "any host": ({"hosts": ["*"]}, "hosts: '*' believes any Host header"),
    "no host": ({"hosts": []}, "hosts: nobody says by which names the service is called"),
    "payload in logs": ({"logs.payload": True}, "logs.payload: prod does not write what clients send"),
    "an issuer over HTTP": ({"auth.issuer": "http://issuer.example"}, "auth.issuer: keys that come over plain HTTP"),
    "a Vault over HTTP": (
        {"vault.address": "http://vault:8200"},
        "vault.address: secrets do not travel over plain HTTP",
    ),
    "SQLite and workers": ({"workers": 2}, "state_url: SQLite under 2 workers"),
}


@pytest.mark.parametrize(("changes", "told"), REFUSED_IN_PROD.values(), ids=REFUSED_IN_PROD.keys())
def test_prod_refuses(changes: dict[str, Any], told: str) -> None:
    assert told in refusal("prod", changes)


def test_prod_starts_with_what_it_asks_for() -> None:
    check(load_settings("prod", None, PROD))


def test_all_complaints_come_at_once() -> None:
    told = refusal("prod", {"auth.required": False, "hosts": ["*"], "logs.payload": True})
    assert "and 2 more:" in told
    assert len(told.splitlines()) == 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "open to others": ({"auth.required": False, "host": "10.0.0.1"}, "host: without authentication only this machine"),
    "nothing to serve": ({"models.bundle": ""}, "models: nothing to serve"),
    "two models": ({"models.reference": "pumps@champion"}, "models: a bundle and a reference are two answers"),
    "a certificate alone": ({"tls.certificate": "/nowhere.pem"}, "tls.key: a certificate and its key go together"),
    "no such certificate": (
        {"tls.certificate": "/nowhere.pem", "tls.key": "/nowhere.key"},
        "tls.certificate: there is no file /nowhere.pem",
    ),
    "a client authority alone": ({"tls.client_ca": "/nowhere.pem"}, "tls.client_ca: there is no file"),
    "a proxy that is no address": (
        {"tls.behind_proxy": True, "tls.trusted_proxies": ["proxy.local"]},
        "tls.trusted_proxies: 'proxy.local' is no address or network",
    ),
    "trusted without a proxy": ({"tls.trusted_proxies": ["10.0.0.1"]}, "tls.behind_proxy: proxies are trusted"),
    "Redis without a server": ({"limits.storage": "redis"}, "redis_url: limits.storage is redis, but no server"),
    "a cache without a server": ({"cache.kind": "redis"}, "redis_url: cache.kind is redis, but no server"),
    "another database": ({"state_url": "mysql://db"}, "state_url: not a place for the state"),
    "limits by worker": (
        {"state_url": "postgresql://db/wearcast", "workers": 3},
        "limits.storage: each of 3 workers would count for itself",
    ),
    "mixed algorithms": (
        {"auth.algorithms": ["HS256", "RS256"], "auth.signing_key": "env:X"},
        "auth.algorithms: HS256 beside an asymmetric algorithm",
    ),
    "HS256 without a secret": ({"auth.algorithms": ["HS256"]}, "auth.signing_key: HS256 needs the shared text"),
    "HS256 of others": (
        {"auth.algorithms": ["HS256"], "auth.issuer": "https://issuer.example"},
        "auth.algorithms: an outside issuer's tokens are checked by its keys",
    ),
    "keys of nobody": (
        {"auth.jwks_url": "https://issuer.example/keys"},
        "auth.jwks_url: the built-in issuer has its own",
    ),
}


@pytest.mark.parametrize(("changes", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_every_profile_refuses(changes: dict[str, Any], told: str) -> None:
    if changes.get("models.bundle") == "":
        with pytest.raises(ConfigError, match="nothing to serve"):
            check(load_settings("dev"))
        return
    assert told in refusal("dev", changes)


def test_staging_is_not_open_either() -> None:
    assert "auth.required: staging does not answer without a token" in refusal("staging", {"auth.required": False})


def test_a_certificate_and_a_key_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    for name in ("a.pem", "a.key"):
        (tmp_path / name).write_text("-----BEGIN NOTHING-----\n")
    told = refusal("dev", {"tls.certificate": str(tmp_path / "a.pem"), "tls.key": str(tmp_path / "a.key")})
    assert "tls.certificate:" in told
    assert "cannot be used" in told


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("LocalHost", True),
     ("::", False), ("10.0.0.1", False), ("localhost.example", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_every_setting_has_a_default() -> None:
    assert Settings().profile == "dev"


# ------------------------------------------------------------------ jobs and records


def test_limits_of_jobs_and_records_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"JOBS__AT_ONCE": "2", "JOBS__KEEP_S": "3600", "RECORDS__DAYS": "30"}.items():
        monkeypatch.setenv(f"WEARCAST_{name}", value)
    settings = load_settings()
    assert (settings.jobs.at_once, settings.jobs.keep_s, settings.records.days) == (2, 3_600, 30)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jobs.at_once": 0}, "jobs.at_once"),
        ({"jobs.body_bytes": 2**30, "jobs.budget_bytes": 2**29}, "not one job of that size would ever fit"),
        ({"records.days": 0}, "records.days"),
    ],
)
def test_limits_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_settings(overrides=changes)
