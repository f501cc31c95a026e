"""Malformed requests by the hundred thousand: each must be answered with a status below 500, and without a leak.

    python benchmarks/service_fuzz.py BUNDLE [--count 100000] [--seed 0]

The application runs in this process behind its gate (profile dev, state in a temporary folder) and is called as an ASGI
server would call it, so that a hundred thousand requests take minutes. Bodies are made from good ones: cut, overwritten
byte by byte, with values, keys and structure exchanged, doubled, nested or blown up. Prints one JSON object with the
number of answers by status and kind; exit code 1 if anything was a 5xx or said too much.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import io
import json
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import structlog
from service_load import bundle_or_new

from wearcast.service.app import create_app
from wearcast.service.loading import load_settings
from wearcast.service.openapi import ARROW

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))

LEAK = re.compile(
    rb"Traceback|\.py\b|site-packages|line \d+, in |/root|/home|/tmp|/usr|/work|object at 0x|sqlalchemy|sqlite"
)
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, -1e308, 1e39, 2**31, 2**53, 2**63, 2**64, 10**30, "", "0", "x", "N",
    "2026-05-18T10:00:00Z", "9999-12-31T23:59:59.999999+14:00", "\x00", "\u202e", "é" * 50, "../../etc/passwd",
    "' OR 1=1 --", "${jndi:ldap://x}", "a" * 300, [], {}, [[]], [None], {"": None}, [1, "a", None], {"unit": {}},
]  # fmt: skip
NAMES = ["unit", "time", "columns", "statics", "units", "model", "every", "__proto__", "", "flow", "\u0000"]


def walk(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path]
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        found += walk(one, (*path, key))
    return found


class Maker:
    """Makes bad bodies from good ones."""

    def __init__(self, columns: tuple[str, ...], rng: random.Random) -> None:
        self.rng = rng
        self.columns = columns
        self.bases = [self._document(units) for units in (1, 1, 1, 3)]
        self.streams = [self._stream(units, kind) for units in (1, 3) for kind in (pl.String, pl.Int64, pl.Categorical)]
        self.ways: list[Callable[[], tuple[str, bytes]]] = [
            self.other_value, self.other_value, self.other_value, self.bytes_changed, self.cut, self.doubled_key,
            self.deep, self.text, self.arrow_changed, self.arrow_changed, self.arrow_cut, self.arrow_table, self.noise,
        ]  # fmt: skip

    def odd(self) -> Any:
        """A value of the wrong kind, of its own: what is put into it stays there."""
        return copy.deepcopy(self.rng.choice(ODD))

    def _document(self, units: int) -> dict[str, Any]:
        listed = []
        for unit in range(units):
            rows = self.rng.randint(1, 12)
            columns = {name: [round(self.rng.gauss(0, 1), 3) for _ in range(rows)] for name in self.columns}
            listed.append({"unit": f"u{unit}", "time": list(range(1, rows + 1)), "columns": columns})
        return {"units": listed}

    def _stream(self, units: int, kind: Any) -> bytes:
        rows = 5 * units
        unit = pl.Series("unit", [str(i // 5) for i in range(rows)]).cast(kind)
        data = {name: np.random.default_rng(0).normal(size=rows).astype("f4") for name in self.columns}
        return self._written(pl.DataFrame({"unit": unit, "time": [i % 5 for i in range(rows)], **data}))

    @staticmethod
    def _written(table: pl.DataFrame, **options: Any) -> bytes:
        buffer = io.BytesIO()
        table.write_ipc_stream(buffer, **options)
        return buffer.getvalue()

    def make(self) -> tuple[str, bytes]:
        """One body and its format."""
        return self.rng.choice(self.ways)()

    def _changed(self) -> Any:
        document = json.loads(json.dumps(self.rng.choice(self.bases)))
        for _ in range(self.rng.randint(1, 3)):
            path = self.rng.choice(walk(document))
            if not path:
                if self.rng.random() < 0.1:
                    return self.odd()
                continue
            at = document
            try:
                for step in path[:-1]:
                    at = at[step]
                action = self.rng.random()
                if action < 0.6:
                    at[path[-1]] = self.odd()
                elif action < 0.75:
                    del at[path[-1]]
                elif isinstance(at, dict):
                    at[self.rng.choice(NAMES)] = at.pop(path[-1]) if action < 0.9 else self.odd()
                else:
                    at.insert(path[-1], self.odd())
            except (KeyError, IndexError, TypeError):
                continue  # an earlier change took the place away
        if isinstance(document, dict) and self.rng.random() < 0.1:
            document[self.rng.choice(("model", "every"))] = self.odd()
        return document

    def other_value(self) -> tuple[str, bytes]:
        """Values, keys or structure exchanged."""
        return "json", json.dumps(self._changed()).encode()

    def bytes_changed(self) -> tuple[str, bytes]:
        """Bytes overwritten."""
        body = bytearray(json.dumps(self.rng.choice(self.bases)).encode())
        for _ in range(self.rng.randint(1, 6)):
            body[self.rng.randrange(len(body))] = self.rng.randrange(256)
        return "json", bytes(body)

    def cut(self) -> tuple[str, bytes]:
        """The end is missing."""
        body = json.dumps(self.rng.choice(self.bases)).encode()
        return "json", body[: self.rng.randrange(len(body))]

    def doubled_key(self) -> tuple[str, bytes]:
        """A key twice, plain or escaped."""
        body = json.dumps(self._changed())
        name = self.rng.choice(("unit", "time", "columns", "units"))
        other = name if self.rng.random() < 0.5 else f"\\u{ord(name[0]):04x}{name[1:]}"
        return "json", body.replace(f'"{name}":', f'"{other}": {json.dumps(self.odd())}, "{name}":', 1).encode()

    def deep(self) -> tuple[str, bytes]:
        """Nested, somewhere."""
        depth = self.rng.choice((10, 500, 1_000, 2_000, 20_000))
        inner = b"[" * depth + b"]" * depth if self.rng.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth
        frames = (
            b"%b",
            b'{"units": %b}',
            b'{"units": [{"unit": 1, "time": [1], "columns": %b}]}',
            b'{"units": 1, "a": %b}',
        )
        return "json", self.rng.choice(frames) % inner

    def text(self) -> tuple[str, bytes]:
        """Another thing altogether."""
        return "json", self.rng.choice(
            (
                b"",
                b" ",
                b"null",
                b"[]",
                b"0",
                b'"x"',
                b"N",
                b"{}",
                b"unit,time\n1,2\n",
                b"\xff\xfe{\x00}\x00",
                b"\x1f\x8b\x08",
            )
        )

    def noise(self) -> tuple[str, bytes]:
        """Bytes at random."""
        return self.rng.choice(("json", "arrow")), self.rng.randbytes(self.rng.randrange(300))

    def arrow_changed(self) -> tuple[str, bytes]:
        """A stream with bytes overwritten, most of them in its metadata."""
        body = bytearray(self.rng.choice(self.streams))
        for _ in range(self.rng.randint(1, 5)):
            at = self.rng.randrange(min(len(body), self.rng.choice((64, 1_000, 100_000))))
            if self.rng.random() < 0.5:
                body[at] = self.rng.choice((0, 1, 127, 128, 255, self.rng.randrange(256)))
            else:
                body[at : at + 8] = self.rng.choice((2**31, 2**40, 2**63 - 1, 2**64 - 1, 0)).to_bytes(8, "little")
        return "arrow", bytes(body)

    def arrow_cut(self) -> tuple[str, bytes]:
        """A stream whose end, beginning or middle is missing."""
        body = self.rng.choice(self.streams)
        first, last = sorted(self.rng.randrange(len(body) + 1) for _ in range(2))
        return "arrow", self.rng.choice((body[:last], body[first:], body[:first] + body[last:]))

    def arrow_table(self) -> tuple[str, bytes]:
        """A whole stream of a wrong table."""
        rows = self.rng.randint(0, 6)
        odd: list[list[Any]] = [
            [self.rng.choice(["a", "b", None, "../x", ""]) for _ in range(rows)],
            [self.rng.choice([1, 2, None, 2**62]) for _ in range(rows)],
            [self.rng.choice([1.0, None, float("nan"), float("inf"), 1e300]) for _ in range(rows)],
            [True] * rows,
            [[1, 2]] * rows,
            [{"a": 1}] * rows,
            [b"x"] * rows,
            [None] * rows,
        ]
        names = [name for name in ("unit", "time", *self.columns, "unknown") if self.rng.random() < 0.9]
        right = {"unit": 0, "time": 1}
        data = {name: self.rng.choice(odd) if self.rng.random() < 0.15 else odd[right.get(name, 2)] for name in names}
        options = {"compression": self.rng.choice(("zstd", "lz4"))} if self.rng.random() < 0.1 else {}
        return "arrow", self._written(pl.DataFrame(data, strict=False), **options)


async def call(app: Any, path: str, kind: str, body: bytes) -> tuple[int, bytes]:
    """One request, as a server makes it."""
    parts: list[bytes] = []
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    headers = [
        (b"host", b"localhost"),
        (b"content-type", ARROW.encode() if kind == "arrow" else b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return status, b"".join(parts)


async def run(app: Any, count: int, seed: int) -> dict[str, Any]:
    """Send the bodies and count the answers."""
    rng = random.Random(seed)
    statuses: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    bad: list[dict[str, Any]] = []
    async with app.router.lifespan_context(app):
        service = app.state.service
        columns = service.scorer.layouts.of(service.deployment.champion()).columns
        maker = Maker(columns, rng)
        began = time.perf_counter()
        for _ in range(count):
            kind, body = maker.make()
            path = "/v1/forecast"
            if kind == "json" and rng.random() < 0.25:
                path = f"/v1/units/f{rng.randrange(50)}/readings"
                body = body.replace(b'{"units": [{"unit": "u0", ', b"{", 1).removesuffix(b"]}")
            try:
                status, answer = await call(app, path, kind, body)
            except Exception:
                traceback.print_exc()
                status, answer = 599, b""
            statuses[str(status)] += 1
            told = json.loads(answer) if status >= 400 and answer else {}
            problems[told.get("type", "answered").removeprefix("/problems/")] += 1
            if status >= 500 or (status >= 400 and (set(told) < {"type", "title", "status"} or LEAK.search(answer))):
                bad.append({"status": status, "path": path, "body": repr(body[:2000]), "answer": answer.decode()[:500]})
        seconds = time.perf_counter() - began
    return {
        "requests": count, "seed": seed, "seconds": round(seconds, 1), "statuses": dict(statuses.most_common()),
        "problems": dict(problems.most_common()), "bad": bad[:20], "n_bad": len(bad),
    }  # fmt: skip


def main() -> int:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="one is trained unless given")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, bundle_or_new(given.bundle) as bundle:
        rate = "999999999/second"
        settings = load_settings(
            "dev",
            None,
            {
                "models.bundle": bundle,
                "state_url": f"sqlite:///{folder}/state.sqlite",
                "logs.level": "error",
                "limits.rates.forecast": rate,
                "limits.rates.write": rate,
                "limits.rows": 5_000,
            },
        )
        result = asyncio.run(run(create_app(settings), given.count, given.seed))
    print(json.dumps(result, indent=2))
    return int(result["n_bad"] > 0)


if __name__ == "__main__":
    sys.exit(main())
