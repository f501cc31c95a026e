"""What the service's gate costs a request, and what lies behind a token: one process, no network but Redis.

    python benchmarks/gate.py

Processor time (so that other work on the machine does not count), the median of rounds. Redis is left out where
`redis-server` is not installed.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from wearcast.service import database
from wearcast.service.clients import Clients
from wearcast.service.gate import Gate
from wearcast.service.issuer import authority
from wearcast.service.limits import Limiter
from wearcast.service.loading import load_settings
from wearcast.service.outside import outside_services
from wearcast.service.secrets import Secrets
from wearcast.service.settings import LimitsSettings

ROUNDS, EACH = 15, 2_000
PORT = 16_379


async def nothing(*_: Any) -> None:
    """An app, a receive and a send that do nothing."""


async def microseconds(
    call: Callable[[int], Awaitable[Any]], each: int = EACH, clock: Any = time.process_time
) -> float:
    rounds: list[float] = []
    for turn in range(ROUNDS):
        began = clock()
        for i in range(each):
            await call(turn * each + i)
        rounds.append((clock() - began) / each * 1e6)
    return statistics.median(rounds)


async def tokens(algorithm: str, folder: Path) -> None:
    settings = load_settings(
        "staging", overrides={"auth.algorithms": [algorithm], "limits.rates.forecast": "900000000/day"}
    )
    engine = database.open(f"sqlite:///{folder / algorithm}.sqlite")
    who, clients = authority(settings, engine, Secrets()), Clients(engine)
    client = clients.create("bench", ["forecast"])
    assert who.issuer is not None
    began = time.perf_counter()
    await who.issuer.grant(client.id, "wrong", None)
    print(f"{algorithm}  a wrong secret (scrypt)        {(time.perf_counter() - began) * 1e3:8.1f} ms")
    many = [await who.issuer.grant(client.id, client.secret.get_secret_value(), None) for _ in range(300)]
    raw = [grant.token.encode() for grant in many if grant is not None]
    took = []
    for token in raw:
        began = time.process_time()
        await who.verifier.verify(token)
        took.append((time.process_time() - began) * 1e6)
    print(f"{algorithm}  a token, first time             {statistics.median(took):8.1f} us")
    gate = Gate(nothing, settings=settings, verifier=who.verifier, limiter=Limiter(settings.limits))
    headers = [
        (b"host", b"127.0.0.1:8000"), (b"user-agent", b"wrk"), (b"accept", b"*/*"), (b"content-length", b"8000"),
        (b"content-type", b"application/json"), (b"authorization", b"Bearer " + raw[0]),
    ]  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": "/v1/forecast", "headers": headers, "client": ("10.0.0.1", 1)}
    gated = await microseconds(lambda _: gate({**scope, "state": {}}, nothing, nothing))  # type: ignore[arg-type]
    print(f"{algorithm}  the gate, token known           {gated:8.1f} us")
    engine.dispose()


async def counting() -> None:
    limits = LimitsSettings.model_validate({"rates": {"forecast": "900000000/day"}})
    ours = Limiter(limits)

    async def here(_: int) -> None:
        ours.hit_here("forecast", "client")

    print(f"a count in the process               {await microseconds(here):8.1f} us")
    if shutil.which("redis-server") is None:
        return
    command = ["redis-server", "--port", str(PORT), "--save", "", "--bind", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        time.sleep(1)
        shared = Limiter(
            limits.model_copy(update={"storage": "redis"}),
            redis_url=f"redis://127.0.0.1:{PORT}/0",
            outside=outside_services()["redis"],
        )
        redis = await microseconds(lambda _: shared.hit("forecast", "client"), 200, time.perf_counter)
        print(f"a count in Redis (wall clock)        {redis:8.1f} us{', DEGRADED' if shared.degraded else ''}")
        await shared.close()
        server.terminate()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for algorithm in ("ES256", "RS256"):
            asyncio.run(tokens(algorithm, Path(folder)))
    asyncio.run(counting())


if __name__ == "__main__":
    main()
