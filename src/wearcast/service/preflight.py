"""What is refused before a port is opened: settings that are each well formed and not safe together."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from wearcast.errors import ConfigError
from wearcast.service.settings import BUILTIN, Settings

__all__ = ["check", "is_loopback"]


def check(settings: Settings) -> None:
    """Refuse what must not be served, all complaints in one error.

    Raises:
        ConfigError: the first complaint with its key; further ones follow, one a line.
    """
    found = [complaint for rule in _ALWAYS for complaint in rule(settings)]
    if settings.profile == "prod":
        found += [complaint for rule in _PROD for complaint in rule(settings)]
    if not found:
        return
    first, rest = found[0], found[1:]
    if not rest:
        raise first
    lines = "".join(f"\n  {error}" for error in rest)
    hint = f" ({first.hint})" if first.hint else ""
    raise ConfigError(f"{first.what}{hint}\nand {len(rest)} more:{lines}", where=first.where)


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine reaches a server bound there."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


Complaints = Iterator[ConfigError]


def _refuse(where: str, what: str, hint: str) -> ConfigError:
    return ConfigError(what, where=where, hint=hint)


# ------------------------------------------------------------------ in every profile


def _open_only_in_dev(settings: Settings) -> Complaints:
    if settings.auth.required:
        return
    if settings.profile != "dev":
        yield _refuse("auth.required", f"{settings.profile} does not answer without a token", "leave auth.required out")
    elif not is_loopback(settings.host):
        yield _refuse(
            "host",
            f"without authentication only this machine may ask, and {settings.host} is open to others",
            "bind 127.0.0.1, or set auth.required: true",
        )


def _a_model(settings: Settings) -> Complaints:
    if settings.models.bundle is not None and settings.models.reference is not None:
        yield _refuse("models", "a bundle and a reference are two answers to one question", "give one of them")
    if settings.models.bundle is None and settings.models.reference is None:
        yield _refuse("models", "nothing to serve", "--bundle DIR or --model NAME@ALIAS")


def _tls_files(settings: Settings) -> Complaints:
    tls = settings.tls
    if (tls.certificate is None) != (tls.key is None):
        lacking = "tls.key" if tls.key is None else "tls.certificate"
        yield _refuse(lacking, "a certificate and its key go together", f"name {lacking} too")
    for name in ("certificate", "key", "client_ca"):
        path: Path | None = getattr(tls, name)
        if path is not None and not path.is_file():
            yield _refuse(f"tls.{name}", f"there is no file {path}", "PEM, readable by the user who serves")
    if tls.client_ca is not None and tls.certificate is None:
        yield _refuse("tls.client_ca", "clients show certificates over TLS only", "name tls.certificate and tls.key")
    if tls.certificate and tls.key and tls.certificate.is_file() and tls.key.is_file() and tls.key_password is None:
        yield from _pair(tls.certificate, tls.key)


def _pair(certificate: Path, key: Path) -> Complaints:
    def no_password() -> str:  # without it, OpenSSL would ask on the terminal
        raise ValueError("the key is encrypted; tls.key_password says where its password is kept")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        said = getattr(error, "reason", None) or str(error)
        yield _refuse("tls.certificate", f"{certificate} and {key} cannot be used: {said}", "a PEM chain and its key")


def _proxies(settings: Settings) -> Complaints:
    tls = settings.tls
    for text in tls.trusted_proxies:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield _refuse("tls.trusted_proxies", f"{text!r} is no address or network", "such as 10.0.0.0/8")
            continue
        if network.prefixlen == 0:
            yield _refuse("tls.trusted_proxies", f"{text} believes everybody", "name the proxy's own network")
    if tls.trusted_proxies and not tls.behind_proxy:
        yield _refuse("tls.behind_proxy", "proxies are trusted, but there is said to be none", "tls.behind_proxy: true")


def _stores(settings: Settings) -> Complaints:
    wanted = [
        name
        for name, kind in (("limits.storage", settings.limits.storage), ("cache.kind", settings.cache.kind))
        if kind == "redis"
    ]
    if wanted and settings.redis_url is None:
        yield _refuse("redis_url", f"{wanted[0]} is redis, but no server is named", "redis_url: redis://host:6379/0")
    state = settings.state_url.get_secret_value()
    known = ("sqlite:///", "postgresql://", "postgresql+psycopg://", "file:/", "env:", "vault:", "aws:")
    if not state.startswith(known):
        yield _refuse(
            "state_url", "not a place for the state", "sqlite:///PATH, postgresql://… or file:/, env:, vault:"
        )
    if state.startswith("sqlite") and settings.workers > 1:
        yield _refuse("state_url", f"SQLite under {settings.workers} workers waits on its one lock", "postgresql://…")
    if settings.limits.storage == "memory" and settings.workers > 1:
        yield _refuse(
            "limits.storage",
            f"each of {settings.workers} workers would count for itself, so every limit would be {settings.workers} "
            "times as high",
            "limits.storage: redis",
        )


def _algorithms(settings: Settings) -> Complaints:
    auth = settings.auth
    if "HS256" in auth.algorithms:
        if len(auth.algorithms) > 1:
            yield _refuse(
                "auth.algorithms",
                "HS256 beside an asymmetric algorithm invites a public key to be taken for a shared secret",
                "one kind or the other",
            )
        if auth.issuer != BUILTIN:
            yield _refuse("auth.algorithms", "an outside issuer's tokens are checked by its keys", "ES256 or RS256")
        elif auth.signing_key is None:
            yield _refuse(
                "auth.signing_key", "HS256 needs the shared text", "file:/path or env:NAME, 32 bytes at least"
            )
    if auth.issuer == BUILTIN and auth.jwks_url is not None:
        yield _refuse("auth.jwks_url", "the built-in issuer has its own keys", "name the issuer's URL as auth.issuer")


# ------------------------------------------------------------------ in prod


def _prod_transport(settings: Settings) -> Complaints:
    if not settings.encrypted:
        yield _refuse(
            "tls",
            "prod does not speak plain HTTP: tokens could be read on the way",
            "tls.certificate and tls.key, or tls.behind_proxy: true and tls.trusted_proxies",
        )
    if settings.tls.behind_proxy and not settings.tls.trusted_proxies:
        yield _refuse("tls.trusted_proxies", "behind a proxy, but nobody says which one", "its address or network")
    if settings.encrypted and settings.tls.hsts_s == 0:
        yield _refuse("tls.hsts_s", "prod tells browsers to stay with HTTPS", "leave tls.hsts_s out")


def _prod_names(settings: Settings) -> Complaints:
    if not settings.hosts:
        yield _refuse("hosts", "nobody says by which names the service is called", "hosts: [wearcast.plant.example]")
    if any(host.strip("*.") == "" for host in settings.hosts):
        yield _refuse("hosts", "'*' believes any Host header", "the names by which the service is called")
    for origin in settings.cors.origins:
        if "*" in origin:
            yield _refuse("cors.origins", "'*' lets every page call the service", "the origins of your own pages")
        elif not origin.startswith("https://"):
            yield _refuse("cors.origins", f"{origin} is not encrypted", "https://…")


def _prod_tokens(settings: Settings) -> Complaints:
    auth = settings.auth
    if "HS256" in auth.algorithms:
        yield _refuse("auth.algorithms", "who can check an HS256 token can make one; it is for dev", "ES256 or RS256")
    for name, url in (("auth.issuer", auth.issuer), ("auth.jwks_url", auth.jwks_url or "")):
        if url.startswith("http://"):
            yield _refuse(name, "keys that come over plain HTTP can be exchanged on the way", "https://…")
    if (settings.vault.address or "").startswith("http://"):
        yield _refuse("vault.address", "secrets do not travel over plain HTTP", "https://…")


def _prod_logs(settings: Settings) -> Complaints:
    if settings.logs.payload:
        yield _refuse("logs.payload", "prod does not write what clients send into its log", "leave logs.payload out")


Rule = Callable[[Settings], Complaints]
_ALWAYS: tuple[Rule, ...] = (_open_only_in_dev, _a_model, _tls_files, _proxies, _stores, _algorithms)
_PROD: tuple[Rule, ...] = (_prod_transport, _prod_names, _prod_tokens, _prod_logs)
