"""Mixed load at saturation while parts are killed: every request gets a status, every answer is of the model it names.

    python benchmarks/service_soak.py [--minutes 30]

Sixteen connections ask without a pause for forecasts, add readings to units, list, and misbehave; meanwhile versions
are promoted and taken back, Redis and the MLflow server are killed and come back, and the service gets SIGTERM and is
started again, as a supervisor would. Each forecast is compared with what the version that it names says of the same
readings. A connection that was refused was never a request: it is tried again. Memory is that of the last process of
the service, which lives for two thirds of the time: its second quarter against its last.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from service_load import BODIES, ROWS, Bodies, free_port, train_bundle, tree_mib

CONNECTIONS = 16
CLI = [sys.executable, "-m", "wearcast"]


class Process:
    """Something that is started, killed and started again."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.command, self.log, self.environment = command, log, environment or {}
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.running = subprocess.Popen(
                self.command, stdout=out, stderr=out, env={**os.environ, **self.environment}, start_new_session=True
            )

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it; its exit status."""
        if self.running is None:
            return 0
        group = self.running.pid
        with suppress(ProcessLookupError):
            os.killpg(group, number) if number == signal.SIGKILL else os.kill(group, number)
        code = self.running.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self.running = None
        return code


class Truth:
    """What each version says of each body."""

    def __init__(self, folder: Path, bodies: Bodies, versions: dict[str, Path]) -> None:
        from wearcast import load_bundle
        from wearcast.readings import Readings

        self.json = [(folder / "wearcast" / str(i + 1)).read_bytes() for i in range(BODIES)]
        offsets = np.arange(257) * ROWS
        history = Readings(tuple(range(256)), offsets, np.tile(np.arange(1, ROWS + 1), 256), bodies.columns)
        self.rul = {
            version: load_bundle(path, threads=1).predict(history).columns()["rul"].to_numpy()
            for version, path in versions.items()
        }

    def is_true(self, version: str, body: int, rul: float) -> bool:
        return version in self.rul and abs(self.rul[version][body] - rul) < 1e-3


class Client:
    """One connection that asks and checks, until it is told to stop."""

    def __init__(self, number: int, port: int, tokens: Tokens, truth: Truth, count: Counts) -> None:
        self.number, self.port, self.tokens, self.truth, self.count = number, port, tokens, truth, count
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.time = 0
        self.life = 0

    async def run(self, stop: asyncio.Event) -> None:
        kinds = ["forecast"] * 12 + ["reading"] * 5 + ["list", "wrong", "stranger"]
        for i in itertools.count(self.number):
            if stop.is_set():
                return
            await self._one(kinds[i * 7 % len(kinds)], i)

    async def _one(self, kind: str, i: int) -> None:
        method, path, body, token = self._request(kind, i)
        began = time.perf_counter()
        try:
            status, answer = await self._ask(method, path, body, token)
        except NotConnectedError:
            self.count.refused += 1
            await asyncio.sleep(0.05)
            return
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.count.lost.append(f"{kind}: {type(error).__name__} {error}")
            self._close()
            return
        self.count.latencies.append(time.perf_counter() - began)
        self.count.status[kind, status] += 1
        self._check(kind, i, status, answer)
        if status in (429, 503):
            await asyncio.sleep(0.05)

    def _request(self, kind: str, i: int) -> tuple[str, str, bytes, str]:
        if kind == "forecast":
            return "POST", "/v1/forecast", self.truth.json[i % BODIES], self.tokens.value
        if kind == "reading":
            self.time += 1
            if self.time > 800:
                self.time, self.life = 1, self.life + 1
            body = json.loads(self.truth.json[i % BODIES])["units"][0]["columns"]
            columns = {name: values[:1] for name, values in body.items()}
            unit = f"soak-{self.number}-{self.life}"
            return (
                "POST",
                f"/v1/units/{unit}/readings",
                json.dumps({"time": [self.time], "columns": columns}).encode(),
                self.tokens.value,
            )
        if kind == "list":
            return "GET", ("/v1/models", "/v1/units", "/health/ready")[i % 3], b"", self.tokens.value
        if kind == "wrong":
            body = self.truth.json[i % BODIES]
            return (
                "POST",
                "/v1/forecast",
                (body[: len(body) // 2], b"[" * 5000, b'{"units": []}')[i % 3],
                self.tokens.value,
            )
        return "POST", "/v1/forecast", self.truth.json[i % BODIES], "not.a.token"

    def _check(self, kind: str, i: int, status: int, answer: bytes) -> None:
        good = {"wrong": {400, 422}, "stranger": {401, 429}}.get(kind, {200, 201})
        if status not in good | {429, 503}:
            self.count.strange.append(f"{kind}: {status} {answer[:200]!r}")
        if kind == "forecast" and status == 200:
            said = json.loads(answer)
            version, row = said["model"]["version"], said["forecasts"][0]
            if row["version"] != f"pumps/{version}" or not self.truth.is_true(version, i % BODIES, row["rul"]):
                self.count.untrue.append(f"{row['version']} said {row['rul']}")
            self.count.by_version[version] += 1

    async def _ask(self, method: str, path: str, body: bytes, token: str) -> tuple[int, bytes]:
        if self.writer is None:
            try:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as error:
                raise NotConnectedError from error
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        assert self.reader is not None
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        first = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)
        lines = first.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        answer = await self.reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self._close()
        return int(lines[0].split()[1]), answer

    def _close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class NotConnectedError(Exception):
    """Nobody listened, so there was no request."""


class Counts:
    """What came of all requests."""

    def __init__(self) -> None:
        self.status: Counter[tuple[str, int]] = Counter()
        self.by_version: Counter[str] = Counter()
        self.lost: list[str] = []
        self.untrue: list[str] = []
        self.strange: list[str] = []
        self.latencies: list[float] = []
        self.refused = 0


class Tokens:
    """A token of each client, renewed before it ends."""

    def __init__(self, port: int, settings: Path) -> None:
        self.port = port
        made = [
            *CLI,
            "auth",
            "client",
            "create",
            "soak",
            "--scope",
            "forecast,write,admin,monitor",
            "--settings",
            str(settings),
            "--json",
        ]
        self.client = json.loads(subprocess.run(made, capture_output=True, text=True, check=True).stdout)
        self.value = ""

    async def renew(self) -> None:
        form = f"grant_type=client_credentials&client_id={self.client['id']}&client_secret={self.client['secret']}"
        status, answer = await once(
            self.port, "POST", "/oauth/token", form.encode(), kind="application/x-www-form-urlencoded"
        )
        if status == 200:
            self.value = json.loads(answer)["access_token"]


async def once(
    port: int, method: str, path: str, body: bytes = b"", *, token: str = "", kind: str = "application/json"
) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{bearer}"
    head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    said = await asyncio.wait_for(reader.read(), 150)
    writer.close()
    first, _, rest = said.partition(b"\r\n\r\n")
    return int(first.split()[1]), rest


async def ready(port: int, seconds: float = 120) -> None:
    """Wait until it answers that it is ready."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError, IndexError):
            if (await once(port, "GET", "/health/ready"))[0] == 200:
                return
        await asyncio.sleep(0.05)
    raise SystemExit("the service did not become ready")


class Soak:
    """The parts, and what happens to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.redis_port, self.mlflow_port = free_port(), free_port(), free_port()
        registry = f"http://127.0.0.1:{self.mlflow_port}"
        settings = {
            "profile": "prod",
            "port": self.port,
            "hosts": ["127.0.0.1"],
            "state_url": f"sqlite:///{folder / 'state.sqlite'}",
            "registry_url": registry,
            "redis_url": f"redis://127.0.0.1:{self.redis_port}/0",
            "tls": {"behind_proxy": True, "trusted_proxies": ["127.0.0.1"]},
            "models": {"reference": "pumps@champion", "cache_dir": str(folder / "cache"), "refresh_s": 5},
            "cache": {"kind": "redis"},
            "auth": {"token_ttl_s": 3600},
            "limits": {"storage": "redis", "rates": {"forecast": "1000000/minute", "write": "1000000/minute"}},
            "logs": {"level": "warning"},
        }
        self.settings = folder / "service.yaml"
        self.settings.write_text(json.dumps(settings))
        self.registry = {"WEARCAST_REGISTRY": registry}
        self.service = Process([*CLI, "serve", "--settings", str(self.settings)], folder / "service.log")
        redis = ["redis-server", "--port", str(self.redis_port), "--save", "", "--dir", str(folder)]
        self.redis = Process(redis, folder / "redis.log")
        mlflow = [sys.executable, "-m", "mlflow", "server", "--port", str(self.mlflow_port), "--workers", "1"]
        mlflow += [
            "--backend-store-uri",
            f"sqlite:///{folder / 'mlflow.sqlite'}",
            "--artifacts-destination",
            str(folder / "artifacts"),
        ]
        beside = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # workers that nobody needs here
        }
        self.mlflow = Process(mlflow, folder / "mlflow.log", beside)
        self.events: list[str] = []
        self.memory: list[tuple[float, float]] = []
        self.exits: list[int] = []
        self.tokens: Tokens

    def say(self, what: str) -> None:
        self.events.append(what)
        print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)

    async def admin(self, what: str, path: str, body: dict[str, Any]) -> None:
        for _ in range(3):  # MLflow or the service itself may just be away
            with suppress(OSError, IndexError):
                status, answer = await once(self.port, "POST", path, json.dumps(body).encode(), token=self.tokens.value)
                self.say(f"{what}: {status} {'' if status == 200 else answer[:160].decode(errors='replace')}")
                if status in (200, 409, 422):
                    return
            await asyncio.sleep(2)

    async def restart_service(self) -> None:
        code = await asyncio.to_thread(self.service.kill, signal.SIGTERM)
        self.exits.append(code)
        self.say(f"service ended by SIGTERM with {code}")
        self.memory.clear()
        self.service.start()
        await ready(self.port)
        self.say("service is back")

    async def away(self, name: str, process: Process, seconds: float) -> None:
        process.kill()
        self.say(f"{name} killed")
        await asyncio.sleep(seconds)
        process.start()
        self.say(f"{name} started again")

    async def watch_memory(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if self.service.running is not None:
                with suppress(Exception):
                    self.memory.append((time.monotonic(), tree_mib(self.service.running.pid)))
            await asyncio.sleep(2)

    async def faults(self, seconds: float) -> None:
        """Two restarts in the first third, then one process to the end; the other faults all along."""
        pause = max(2.0, seconds / 40)
        acts: list[Callable[[], Any]] = [
            lambda: self.admin("promote 2", "/v1/models/pumps/promote", {"version": "2", "override": "soak"}),
            lambda: self.away("Redis", self.redis, pause),
            lambda: self.admin("roll back", "/v1/models/pumps/rollback", {"reason": "soak"}),
            lambda: self.away("MLflow", self.mlflow, pause),
        ]
        end, third = time.monotonic() + seconds, time.monotonic() + seconds / 3
        restarts = 0
        for act in itertools.cycle(acts):
            if time.monotonic() > end - 2 * pause:
                return
            await act()
            await asyncio.sleep(pause)
            if restarts < 2 and time.monotonic() < third:
                await self.restart_service()
                restarts += 1

    async def run(self, seconds: float, truth: Truth) -> Counts:
        count, stop = Counts(), asyncio.Event()
        await ready(self.port)
        await self.tokens.renew()
        clients = [
            asyncio.create_task(Client(n, self.port, self.tokens, truth, count).run(stop)) for n in range(CONNECTIONS)
        ]
        memory = asyncio.create_task(self.watch_memory(stop))
        began = time.monotonic()
        await self.faults(seconds)
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        stop.set()
        await asyncio.gather(memory, *clients)
        return count


def prepare(soak: Soak) -> Truth:
    """Two versions in the registry, the first of them champion, and the service on it."""
    first, second = soak.folder / "first", soak.folder / "second"
    train_bundle(first)
    train_bundle(second, seed=1)
    bodies = Bodies(first, soak.folder)
    bodies.wearcast()
    soak.mlflow.start()
    for attempt in range(60):
        done = subprocess.run(
            [*CLI, "registry", "register", str(first), "--name", "pumps"],
            env={**os.environ, **soak.registry}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            break
        time.sleep(1)
        if attempt == 59:
            raise SystemExit(done.stderr)
    for command in (
        ["register", str(second), "--name", "pumps"],
        ["promote", "pumps/1", "--override", "the first one"],
    ):
        subprocess.run(
            [*CLI, "registry", *command], env={**os.environ, **soak.registry}, check=True, capture_output=True
        )
    soak.tokens = Tokens(soak.port, soak.settings)
    soak.redis.start()
    soak.service.start()
    return Truth(soak.folder, bodies, {"1": first, "2": second})


def report(soak: Soak, count: Counts, seconds: float) -> bool:
    total = sum(count.status.values())
    took = np.array(count.latencies) * 1e3
    print(f"\n{total:,} requests in {seconds / 60:.1f} min ({total / seconds:,.0f}/s), "
          f"p50 {np.percentile(took, 50):.1f} ms, p99 {np.percentile(took, 99):.1f} ms")  # fmt: skip
    for (kind, status), n in sorted(count.status.items()):
        print(f"  {kind:10s}{status:5d}{n:12,d}")
    print(f"forecasts by version: {dict(count.by_version)}; connections refused while it was away: {count.refused:,}")
    half = [mib for _, mib in soak.memory]
    early, late = (float(np.median(part)) for part in (half[len(half) // 4 : len(half) // 2], half[-len(half) // 4 :]))
    checks = {
        "requests without a status": (len(count.lost), 0, count.lost[:3]),
        "answers that are not of the version they name": (len(count.untrue), 0, count.untrue[:3]),
        "statuses that should not be": (len(count.strange), 0, count.strange[:3]),
        "exits other than 0": (sum(code != 0 for code in soak.exits), 0, soak.exits),
        "growth of memory, %": (round(100 * (late / early - 1), 1), 5, [f"{early:.0f} MiB, then {late:.0f} MiB"]),
    }
    good = True
    for name, (found, most, examples) in checks.items():
        good &= found <= most
        print(f"{name:50s}{found:10}   at most {most}   {examples}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    args = parser.parse_args()
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not installed; Debian and Ubuntu: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="wearcast-soak-") as name, ExitStack() as stack:
        soak = Soak(Path(name))
        for process in (soak.service, soak.redis, soak.mlflow):
            stack.callback(process.kill)
        truth = prepare(soak)
        count = asyncio.run(soak.run(60 * args.minutes, truth))
        good = report(soak, count, 60 * args.minutes)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
