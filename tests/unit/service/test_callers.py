"""Whose address it is, and by which names the service is called."""

from __future__ import annotations

import pytest

from wearcast.service.callers import Callers, Hosts
from wearcast.service.limits import address_key

TRUSTED = ("10.0.0.0/8", "fd00::/8")


def address(peer: str, forwarded: str | None, trusted: tuple[str, ...] = TRUSTED) -> str:
    given = None if forwarded is None else forwarded.encode()
    return Callers(trusted).address({"client": (peer, 1)}, given)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),  # the client wrote 1.1.1.1 itself
        ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.2.3.4", "203.0.113.9"),
        ("10.0.0.1", "10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("203.0.113.5", "1.1.1.1", "203.0.113.5"),  # no proxy of ours
    ],
)
def test_the_last_address_that_is_not_ours(peer: str, forwarded: str | None, expected: str) -> None:
    assert address(peer, forwarded) == expected


def test_without_proxies_nobody_is_believed() -> None:
    assert address("10.0.0.1", "1.1.1.1", ()) == "10.0.0.1"


def test_a_socket_of_unix_has_no_address() -> None:
    assert Callers(TRUSTED).address({"client": None}, b"1.1.1.1") == "unknown"


def test_a_network_of_a_customer_is_one() -> None:
    assert address_key("2001:db8:1:2:aaaa::1") == address_key("2001:db8:1:2:bbbb::9") == "2001:db8:1:2::"
    assert address_key("2001:db8:1:3::1") != address_key("2001:db8:1:2::1")
    assert address_key("::ffff:203.0.113.9") == address_key("203.0.113.9") == "203.0.113.9"
    assert address_key("fe80::1%eth0") == "fe80::"
    assert address_key("un:known") == "un:known"


HOSTS = Hosts(["api.example", "*.plant.example", "127.0.0.1", "[::1]"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.example", True), ("API.Example", True), ("api.example:8443", True), ("a.plant.example", True),
        ("a.b.plant.example:1", True), ("127.0.0.1:8000", True), ("[::1]", True), ("[::1]:8000", True),
        ("plant.example", False), ("plant.example.attacker.example", False), ("attacker-api.example", False),
        ("api.example.", False), ("api.example:x", False), ("api.example:80:90", False), ("", False), ("[::2]", False),
        ("127.0.0.2", False), ("api.example@attacker.example", False), ("api.example/..", False),
    ],
)  # fmt: skip
def test_names_of_the_service(host: str, expected: bool) -> None:
    assert HOSTS.allows(host.encode()) is expected


def test_every_name_where_that_is_asked_for() -> None:
    assert Hosts(["*"]).allows(b"anything")
    assert not Hosts([]).allows(b"anything")
