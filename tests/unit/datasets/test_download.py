"""Downloads over a real socket from a server that drops, stalls, lies and changes its mind."""

from __future__ import annotations

import hashlib
import socket
import ssl
import urllib.error
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.fixtures.http_server import Reply, Server, running_server

from wearcast.datasets import download as module
from wearcast.datasets.download import Retries, digest_of, download, is_url
from wearcast.errors import DataError, FormatError, SourceNotFoundError, UsageError

BODY = bytes(range(256)) * 4000  # a megabyte
TAG = {"ETag": '"one"'}
FAST = Retries(attempts=3, base_s=0.001, timeout_s=5.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """A server that no proxy is asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as running:
        yield running


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Where the bytes go."""
    return tmp_path / "data.part"


def test_a_whole_file_arrives_and_progress_is_told(server: Server, part: Path):
    seen: list[tuple[int, int | None]] = []
    url = server.serve("/f", Reply(BODY))
    download(url, part, progress=lambda done, total: seen.append((done, total)))
    assert part.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_a_dropped_download_goes_on_from_where_it_was(server: Server, part: Path):
    url = server.serve("/f", Reply(BODY, headers=TAG, stop_after=400_000), Reply(BODY, headers=TAG))
    download(url, part, retries=FAST)
    assert part.read_bytes() == BODY
    assert server.ranges() == [None, "bytes=400000-"]
    assert server.asked[1][1]["If-Range"] == '"one"'


def test_a_weak_tag_is_no_proof_but_the_date_is(server: Server, part: Path):
    headers = {"ETag": 'W/"one"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    url = server.serve("/f", Reply(BODY, headers=headers, stop_after=9), Reply(BODY, headers=headers))
    download(url, part, retries=FAST)
    assert server.asked[1][1]["If-Range"] == headers["Last-Modified"]
    assert part.read_bytes() == BODY


def test_many_drops_are_borne_as_long_as_each_brings_something(server: Server, part: Path):
    drops = [Reply(BODY, headers=TAG, stop_after=100_000)] * 10
    download(server.serve("/f", *drops, Reply(BODY, headers=TAG)), part, retries=FAST)
    assert part.read_bytes() == BODY
    assert len(server.asked) == 11


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(Reply(BODY, headers=TAG, ranges=False), id="ignores Range"),
        pytest.param(Reply(BODY, headers={"ETag": '"two"'}), id="changed"),
    ],
)
def test_a_server_that_sends_all_again_is_believed(second: Reply, server: Server, part: Path):
    other = bytes(reversed(BODY))
    first = Reply(other, headers=TAG, stop_after=400_000)
    download(server.serve("/f", first, second), part, retries=FAST)
    assert part.read_bytes() == BODY


def test_without_a_validator_it_starts_again(server: Server, part: Path):
    download(server.serve("/f", Reply(BODY, stop_after=400_000), Reply(BODY)), part, retries=FAST)
    assert server.ranges() == [None, None]
    assert part.read_bytes() == BODY


def test_another_part_than_the_one_asked_for_is_thrown_away(server: Server, part: Path):
    cut, shifted = Reply(BODY, headers=TAG, stop_after=400_000), Reply(BODY, headers=TAG, shift=7)
    download(server.serve("/f", cut, shifted, Reply(BODY, headers=TAG)), part, retries=FAST)
    assert server.ranges() == [None, "bytes=400000-", None]
    assert part.read_bytes() == BODY


def test_the_next_run_goes_on(server: Server, part: Path):
    url = server.serve(
        "/f", Reply(BODY, headers=TAG, stop_after=400_000), *[Reply(status=503)] * 3, Reply(BODY, headers=TAG)
    )
    with pytest.raises(FormatError, match=r"503 .*run it again: it goes on from there"):
        download(url, part, retries=FAST)
    assert part.stat().st_size == 400_000
    download(url, part, retries=FAST)
    assert server.ranges()[-1] == "bytes=400000-"
    assert part.read_bytes() == BODY


def test_what_is_whole_already_is_not_sent_again(server: Server, part: Path):
    url = server.serve("/f", Reply(BODY, headers=TAG))
    download(url, part)
    download(url, part)
    assert part.read_bytes() == BODY
    assert server.ranges() == [None, f"bytes={len(BODY)}-"]


def test_a_shorter_file_than_what_is_here_is_another_one(server: Server, part: Path):
    url = server.serve("/f", Reply(BODY, headers=TAG, stop_after=400_000), Reply(BODY[:1000], headers=TAG))
    download(url, part, retries=FAST)
    assert part.read_bytes() == BODY[:1000]


def test_a_part_of_another_url_is_not_gone_on_from(server: Server, part: Path):
    first = server.serve("/a", Reply(BODY, headers=TAG, stop_after=400_000), Reply(status=503))
    with pytest.raises(DataError):
        download(first, part, retries=FAST)
    download(server.serve("/b", Reply(BODY, headers=TAG)), part)
    assert server.ranges()[-1] is None
    assert part.read_bytes() == BODY


def test_a_busy_server_is_asked_again(server: Server, part: Path):
    url = server.serve("/f", Reply(status=503), Reply(status=429, headers={"Retry-After": "0"}), Reply(BODY))
    download(url, part, retries=FAST)
    assert part.read_bytes() == BODY
    assert len(server.asked) == 3


@pytest.mark.parametrize("after", ["4000", formatdate(4_000_000_000, usegmt=True)])
def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(after: str, server: Server, part: Path):
    url = server.serve("/f", Reply(status=429, headers={"Retry-After": after}))
    with pytest.raises(SourceNotFoundError, match="the host answers 429"):
        download(url, part, retries=FAST)
    assert len(server.asked) == 1


def test_a_wait_that_makes_no_sense_is_not_kept(server: Server, part: Path):
    url = server.serve("/f", Reply(status=503, headers={"Retry-After": "soon"}), Reply(BODY))
    download(url, part, retries=FAST)
    assert part.read_bytes() == BODY


def test_a_stalled_connection_is_given_up_and_gone_on_with(server: Server, part: Path):
    stalled = Reply(BODY, headers=TAG, stop_after=300_000, stall=True)
    quick = Retries(attempts=2, base_s=0.001, timeout_s=0.2)
    download(server.serve("/f", stalled, Reply(BODY, headers=TAG)), part, retries=quick)
    assert server.ranges() == [None, "bytes=300000-"]
    assert part.read_bytes() == BODY


def test_a_server_that_is_always_silent_is_named(server: Server, part: Path):
    url = server.serve("/f", Reply(BODY, stop_after=10, stall=True))
    with pytest.raises(DataError, match=r"silent for 0\.1 s after 10 bytes"):
        download(url, part, retries=Retries(attempts=2, base_s=0.001, timeout_s=0.1))
    assert not part.exists()


@pytest.mark.parametrize("status", [404, 403, 410])
def test_what_is_not_there_is_not_asked_for_again(status: int, server: Server, part: Path):
    url = server.serve("/f", Reply(status=status))
    with pytest.raises(SourceNotFoundError, match=rf"the host answers {status}.*\(do this\)"):
        download(url, part, retries=FAST, hint="do this")
    assert len(server.asked) == 1
    assert not part.exists()


def test_a_promise_of_more_than_there_is_is_refused(server: Server, part: Path):
    url = server.serve("/f", Reply(BODY, claim=len(BODY) + 5, ranges=False))
    with pytest.raises(FormatError, match=rf"{len(BODY)} of {len(BODY) + 5} bytes arrived"):
        download(url, part, retries=FAST)
    assert len(server.asked) == 3


def test_wrong_bytes_are_refused_and_forgotten(server: Server, part: Path):
    url = server.serve("/f", Reply(BODY[:-1] + b"x", headers=TAG))
    with pytest.raises(FormatError, match="the SHA-256 differs"):
        download(url, part, sha256=hashlib.sha256(BODY).hexdigest())
    assert list(part.parent.glob("data.part*")) == []


def test_a_promise_of_less_than_there_is_shows_in_the_checksum(server: Server, part: Path):
    url = server.serve("/f", Reply(BODY, claim=1000))
    with pytest.raises(FormatError, match="the SHA-256 differs"):
        download(url, part, sha256=hashlib.sha256(BODY).hexdigest())
    assert not part.exists()


def test_a_stream_without_an_end_is_cut_off(server: Server, part: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(FormatError, match="more than 1000 bytes"):
        download(server.serve("/f", Reply(BODY)), part, retries=FAST)


def test_a_closed_port_is_tried_again_and_then_named(part: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceNotFoundError, match=r"out of reach: .*refused"):
        download(f"http://127.0.0.1:{port}/f", part, retries=FAST)
    assert list(part.parent.glob("data.part")) == []


@pytest.mark.parametrize(
    "reason", [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), ssl.SSLCertVerificationError("expired")]
)
def test_no_such_host_and_a_wrong_certificate_are_final(reason: OSError, part: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def fail(*args: object, **kwargs: object) -> None:
        asked.append(1)
        raise urllib.error.URLError(reason)

    monkeypatch.setattr("urllib.request.OpenerDirector.open", fail)
    with pytest.raises(SourceNotFoundError, match="out of reach"):
        download("https://host.invalid/f", part, retries=FAST)
    assert len(asked) == 1


def test_a_proxy_of_the_environment_is_used(server: Server, part: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    server.serve("http://data.invalid/f", Reply(BODY))
    download("http://data.invalid/f", part)
    assert server.asked[0][0] == "http://data.invalid/f"
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("url", ["ftp://host/f", "/a/path", "C:/a"])
def test_only_http_is_downloaded(url: str, part: Path):
    assert not is_url(url)
    with pytest.raises(UsageError, match="not an http"):
        download(url, part)


def test_a_url_that_is_none_is_answered_so(part: Path):
    with pytest.raises(UsageError, match="not a URL"):
        download("http://host/with a blank", part, retries=FAST)


def test_two_downloads_of_one_file_do_not_mix(server: Server, part: Path):
    pytest.importorskip("fcntl")
    url = server.serve("/f", Reply(BODY))
    with module._alone(part), pytest.raises(DataError, match="under way"):
        download(url, part)
    download(url, part)
    assert digest_of(part) == hashlib.sha256(BODY).hexdigest()


def test_waits_grow_are_drawn_at_random_and_are_capped():
    patient = Retries(base_s=1.0, cap_s=8.0)
    waits = [[patient.wait_s(failures, None) for _ in range(200)] for failures in (1, 2, 3, 9)]
    assert [max(drawn) <= limit for drawn, limit in zip(waits, (1, 2, 4, 8), strict=True)] == [True] * 4
    assert max(waits[3]) > 4 > min(waits[3])
    assert patient.wait_s(1, 20.0) >= 20.0
