"""What an operator may set, as frozen models. `loading` fills them, `preflight` refuses what is not safe together."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from wearcast.config import Strict

__all__ = [
    "BUILTIN",
    "Algorithm",
    "AuthSettings",
    "CacheSettings",
    "CorsSettings",
    "JobsSettings",
    "LimitsSettings",
    "LogLevel",
    "LogsSettings",
    "ModelsSettings",
    "Profile",
    "RateSettings",
    "RecordsSettings",
    "SecretRef",
    "Settings",
    "TlsSettings",
    "TracingSettings",
    "VaultSettings",
    "is_reference",
    "state_folder",
]

BUILTIN = "builtin"
"""`auth.issuer` of a service that issues its own tokens."""

Profile = Literal["dev", "staging", "prod"]
Algorithm = Literal["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "HS256"]
LogLevel = Literal["debug", "info", "warning", "error"]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0)]


def is_reference(text: str) -> bool:
    """Whether a text says where a secret is kept rather than being one."""
    return re.match(r"(file|env|vault|aws):.", text) is not None


def _checked_reference(text: str) -> str:
    if not is_reference(text):
        # The value itself is not shown: somebody may have written the secret here.
        raise ValueError("expected where the secret is kept: file:/path, env:NAME, vault:path#key or aws:name#key")
    return text


SecretRef = str
"""Where a secret is kept, never the secret: `file:/path`, `env:NAME`, `vault:path#key`, `aws:name#key`."""


class ModelsSettings(Strict):
    """Which models answer."""

    bundle: Path | None = None
    """A folder to serve as it is, without a registry."""
    reference: str | None = None
    """A model of the registry: `pumps@champion`, `pumps/3`."""
    cache_dir: Path | None = None
    """Where bundles from the registry are kept."""
    refresh_s: Seconds = 30.0
    challenger_share: Share = 0.0
    shadow: bool = False
    stop_losing: bool = False


class AuthSettings(Strict):
    """Who may come in: tokens, and the issuer that is believed."""

    required: bool = True
    issuer: str = BUILTIN
    """`builtin`, or the URL of an OpenID Connect issuer, compared byte by byte with `iss`."""
    audience: str = Field("wearcast", min_length=1, max_length=512)
    jwks_url: str | None = None
    """Keys of an outside issuer; None asks its `/.well-known/openid-configuration`."""
    algorithms: tuple[Algorithm, ...] = ("ES256", "RS256")
    """Those that are believed; the first is the one that the built-in issuer signs with."""
    signing_key: SecretRef | None = None
    """Of the built-in issuer: a PEM private key, or the text shared by HS256; None keeps keys in the database."""
    token_ttl_s: int = Field(600, ge=30, le=86_400)
    leeway_s: int = Field(30, ge=0, le=300)
    max_token_bytes: int = Field(8_192, ge=512, le=65_536)
    revocation_s: float = Field(5.0, gt=0, le=60)
    """At most so long a token of a revoked client is still believed by a process."""

    @field_validator("algorithms")
    @classmethod
    def _is_not_empty(cls, value: tuple[Algorithm, ...]) -> tuple[Algorithm, ...]:
        if not value:
            raise ValueError("without an algorithm no token can be believed; name one, such as ES256")
        return value

    @field_validator("signing_key")
    @classmethod
    def _is_a_reference(cls, value: str | None) -> str | None:
        return value if value is None else _checked_reference(value)

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value in (None, BUILTIN) or str(value).startswith(("https://", "http://")):
            return value
        raise ValueError(f"expected {BUILTIN!r} or a URL that begins with https://, got {value!r}")


class VaultSettings(Strict):
    """The server behind `vault:` references; `VAULT_ADDR` and `VAULT_TOKEN` are read where nothing is said here."""

    address: str | None = None
    mount: str = "secret"
    namespace: str | None = None
    token: SecretRef | None = None
    role_id: SecretRef | None = None
    secret_id: SecretRef | None = None
    ca: Path | None = None
    timeout_s: Seconds = 5.0

    @field_validator("token", "role_id", "secret_id")
    @classmethod
    def _is_a_reference(cls, value: str | None) -> str | None:
        if value is not None and value.startswith(("vault:", "aws:")):
            raise ValueError("what opens the vault cannot lie in one: expected file:/path or env:NAME")
        return value if value is None else _checked_reference(value)


_RATE = r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$"
Rate = Annotated[str, Field(pattern=_RATE)]


class RateSettings(Strict):
    """How often one client may ask, by the class of the route: `6000/minute`."""

    forecast: Rate = "6000/minute"
    write: Rate = "6000/minute"
    admin: Rate = "120/minute"
    monitor: Rate = "600/minute"
    token: Rate = "20/minute"  # noqa: S105 - a rate
    """Of one address, not of a client: nobody is known there yet."""
    public: Rate = "600/minute"
    """Likewise of one address."""


class LimitsSettings(Strict):
    """How often, how much and how long."""

    rates: RateSettings = RateSettings()
    storage: Literal["memory", "redis"] = "memory"
    body_bytes: int = Field(8 * 2**20, ge=1_024, le=2**30)
    rows: int = Field(200_000, ge=1)
    units: int = Field(2_000, ge=1)
    request_timeout_s: Seconds = 10.0
    queue: int = Field(512, ge=1)
    batch_max: int = Field(256, ge=1)
    batch_wait_ms: float = Field(0.0, ge=0, le=100)
    moment_ms: float = Field(8.0, ge=0, le=100)
    """Forecasts that take no longer are made by the event loop itself; 0 leaves all to a thread."""


class JobsSettings(Strict):
    """Batch jobs: how many, how large, and how long they are kept."""

    at_once: int = Field(1, ge=1, le=32)
    """Jobs that one process works on at the same time."""
    waiting: int = Field(100, ge=1, le=100_000)
    """Jobs of all clients that are not ended."""
    of_a_client: int = Field(20, ge=1, le=100_000)
    """Likewise of one client."""
    body_bytes: int = Field(256 * 2**20, ge=1_024, le=2**34)
    budget_bytes: int = Field(4 * 2**30, ge=2**20)
    """What all jobs together may take of the disk."""
    keep_s: float = Field(86_400.0, ge=60, le=365 * 86_400)
    """How long a result is kept."""

    @model_validator(mode="after")
    def _one_fits(self) -> JobsSettings:
        if self.body_bytes > self.budget_bytes:
            raise ValueError("body_bytes is more than budget_bytes: not one job of that size would ever fit")
        return self


class RecordsSettings(Strict):
    """Forecasts that were given, kept for the comparison of models."""

    days: float = Field(90.0, gt=0, le=3_650)
    """How long they are kept."""
    each_s: float = Field(1.0, ge=0, le=86_400)
    """Of one unit and arm at most one in so many seconds."""
    waiting: int = Field(2_000, ge=1, le=1_000_000)
    """Answers that may wait to be written; what does not fit is left out and counted."""


class CacheSettings(Strict):
    """Forecasts that were given before."""

    kind: Literal["memory", "redis", "none"] = "memory"
    entries: int = Field(10_000, ge=1)
    ttl_s: Seconds = 300.0


class TlsSettings(Strict):
    """HTTPS here, or at a proxy in front."""

    certificate: Path | None = None
    key: Path | None = None
    key_password: SecretRef | None = None
    client_ca: Path | None = None
    """Clients must then show a certificate of this authority."""
    behind_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    hsts_s: int = Field(31_536_000, ge=0)

    @field_validator("key_password")
    @classmethod
    def _is_a_reference(cls, value: str | None) -> str | None:
        return value if value is None else _checked_reference(value)


class CorsSettings(Strict):
    """Pages of other origins that a browser may let call this service."""

    origins: tuple[str, ...] = ()
    max_age_s: int = Field(600, ge=0, le=86_400)


class LogsSettings(Strict):
    """What is told, and how."""

    level: LogLevel = "info"
    levels: dict[str, LogLevel] = Field(default_factory=dict)
    format: Literal["json", "console"] = "json"
    payload: bool = False
    """Bodies of requests at `debug`: on a developer's own machine only."""


class TracingSettings(Strict):
    """OpenTelemetry."""

    endpoint: str | None = None
    sample: Share = 1.0


def state_folder() -> Path:
    """Where the service keeps what must survive a restart: `XDG_STATE_HOME`, else `~/.local/state`, and `wearcast`."""
    chosen = os.environ.get("XDG_STATE_HOME", "").strip()
    base = Path(chosen) if chosen and Path(chosen).is_absolute() else Path.home() / ".local" / "state"
    return base / "wearcast"


def _state_url() -> SecretStr:
    return SecretStr(f"sqlite:///{state_folder() / 'service.sqlite'}")


class Settings(Strict):
    """All of it."""

    profile: Profile = "dev"
    host: str = "127.0.0.1"
    port: int = Field(8_000, ge=0, le=65_535)
    workers: int = Field(1, ge=1, le=64)
    """Processes that serve together, each started by a command of its own; while Redis is away each gives out its share
    of the rates."""
    state_url: SecretStr = Field(default_factory=_state_url)
    """`sqlite:///…` or `postgresql://…`, or a reference to a secret that holds it."""
    registry_url: str | None = None
    redis_url: SecretStr | None = None
    """Likewise, for `limits.storage` and `cache.kind`."""
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Names that the Host header may hold, without a port; `*.plant.example` covers what lies below."""
    keep_alive_s: int = Field(65, ge=1, le=3_600)
    """An idle connection is closed after so long; a proxy in front must do so sooner, or it would use a closed one."""
    drain_s: Seconds = 20.0
    """The end, from SIGTERM to the last answer, takes no longer."""
    drain_notice_s: float = Field(1.0, ge=0, le=600)
    """So long of it new connections are still taken in, for a balancer to notice that the service is not ready."""
    docs: bool | None = None
    """The page `/docs`; None has it in dev only."""
    models: ModelsSettings = ModelsSettings()
    auth: AuthSettings = AuthSettings()
    vault: VaultSettings = VaultSettings()
    limits: LimitsSettings = LimitsSettings()
    jobs: JobsSettings = JobsSettings()
    records: RecordsSettings = RecordsSettings()
    cache: CacheSettings = CacheSettings()
    tls: TlsSettings = TlsSettings()
    cors: CorsSettings = CorsSettings()
    logs: LogsSettings = LogsSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def encrypted(self) -> bool:
        """Whether clients speak HTTPS, here or to the proxy in front."""
        return self.tls.certificate is not None or self.tls.behind_proxy

    @property
    def algorithm(self) -> Algorithm:
        """What the built-in issuer signs with."""
        return self.auth.algorithms[0]
