"""What browsers are told: which pages may call (CORS), and what they must not do with an answer."""

from __future__ import annotations

from wearcast.service.settings import CorsSettings, Settings

__all__ = ["Browsers", "Header", "security_headers"]

Header = tuple[bytes, bytes]

_EXPOSED = b"retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset, x-request-id"
_SENT = b"accept, authorization, content-type, x-request-id"
_API = b"default-src 'none'; frame-ancestors 'none'"
# The page of the API's documentation: text and its style, no program.
_PAGE = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def security_headers(settings: Settings, *, page: bool) -> tuple[Header, ...]:
    """The headers of every answer; the first one is left out where a route says itself how long it may be kept."""
    headers = [
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"content-security-policy", _PAGE if page else _API),
        (b"cross-origin-resource-policy", b"same-origin" if not settings.cors.origins else b"cross-origin"),
        (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    ]
    if settings.encrypted and settings.tls.hsts_s:
        headers.append((b"strict-transport-security", b"max-age=%d; includeSubDomains" % settings.tls.hsts_s))
    return tuple(headers)


class Browsers:
    """Cross-origin requests: those of named origins only, and never with cookies."""

    def __init__(self, cors: CorsSettings) -> None:
        self._origins = frozenset(origin.lower().encode() for origin in cors.origins)
        self._every = b"*" in self._origins
        self._max_age = b"%d" % cors.max_age_s

    def may(self, origin: bytes, host: bytes) -> bool:
        """Whether a page of this origin may call: it is one of those named, or the service's own."""
        origin = origin.lower()
        return self._every or origin in self._origins or origin in (b"https://" + host, b"http://" + host)

    def answer(self, origin: bytes) -> tuple[Header, ...]:
        """The headers of an answer that a page may read."""
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
        )

    def preflight(self, methods: tuple[str, ...]) -> tuple[Header, ...]:
        """The further headers of the answer to a question before a request."""
        return (
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", _SENT),
            (b"access-control-max-age", self._max_age),
        )
