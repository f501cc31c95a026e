"""Where a request comes from, and by which name the service was called."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Callers", "Hosts"]

_MOST_KNOWN = 4_096


class Callers:
    """The address of whoever asks; a proxy is believed only if it is one of ours."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)
        self._known: dict[str, bool] = {}

    def address(self, scope: Mapping[str, Any], forwarded: bytes | None) -> str:
        """The last address on the way here that is not a proxy of ours: what lies before it, the client may invent."""
        peer = scope.get("client")
        address = str(peer[0]) if peer else "unknown"
        if forwarded is None or not self._trusted or not self._is_trusted(address):
            return address
        for step in reversed(forwarded.decode("latin-1").split(",")):
            hop = _bare(step.strip())
            if hop is None:
                break
            address = hop
            if not self._is_trusted(hop):
                break
        return address

    def _is_trusted(self, address: str) -> bool:
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            try:
                parsed: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
            except ValueError:  # a name, a socket of Unix
                return False
            if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
                parsed = parsed.ipv4_mapped
            known = self._known[address] = any(parsed in network for network in self._trusted)
        return known


def _bare(text: str) -> str | None:
    """An address without its port, None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


class Hosts:
    """The names by which the service may be called, against DNS rebinding and forged links."""

    def __init__(self, names: Iterable[str]) -> None:
        lowered = [name.lower().encode() for name in names]
        self._every = b"*" in lowered
        self._exact = frozenset(name for name in lowered if not name.startswith(b"*"))
        self._below = tuple(name[1:] for name in lowered if name.startswith(b"*."))

    def allows(self, host: bytes) -> bool:
        """Whether a Host header holds one of them, with or without a port."""
        if host in self._exact or self._every:
            return True
        name = host.lower()
        if not name.endswith(b"]"):  # an IPv6 address in brackets, without a port
            before, colon, port = name.rpartition(b":")
            if colon:
                if not port.isdigit():
                    return False
                name = before
        return name in self._exact or (bool(self._below) and name.endswith(self._below))
