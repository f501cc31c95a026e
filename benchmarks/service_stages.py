"""Where the time of one forecast over HTTP goes, stage by stage, without a server.

    python benchmarks/service_stages.py BUNDLE [--rows 30] [--repeats 300] [--units 256]

Prints median, 95th percentile and minimum of each stage in microseconds: on a machine that others use, the minimum is
the one to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from service_load import bundle_or_new

from wearcast.service.answers import as_json
from wearcast.service.cache import content_key
from wearcast.service.layout import Layouts
from wearcast.service.parsing import RequestLimits, read_forecast
from wearcast.service.scoring import Scorer, forecast
from wearcast.service.served import load_served
from wearcast.service.tables import read_table, write_table

LIMITS = RequestLimits()


def show(name: str, seconds: list[float]) -> None:
    """One line."""
    p50, p95 = np.percentile(seconds, [50, 95]) * 1e6
    print(f"{name:44s} {p50:10.1f} {p95:10.1f} {min(seconds) * 1e6:10.1f}", flush=True)


def timed(name: str, work: Callable[[], Any], repeats: int) -> None:
    """Time a stage."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    show(name, seconds)


async def through_thread(scorer: Scorer, served: Any, units: Any, repeats: int) -> None:
    """The same forecast through the queue."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        await scorer.score(served, units, deadline_s=10)
        seconds.append(time.perf_counter() - began)
    show("forecast through the scoring thread", seconds)


def main() -> None:
    """Read the arguments, time, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="one is trained unless given")
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--units", type=int, default=256)
    given = parser.parse_args()
    with bundle_or_new(given.bundle) as bundle:
        served = load_served(bundle, arm="fixed")
    layouts, rows, rng = Layouts(), given.rows, np.random.default_rng(0)
    layout, accepted = layouts.of(served), layouts.accepted((served,))
    if layout.texts or layout.is_clock:
        parser.error("a bundle without text columns that counts in cycles is needed")
    columns = {name: rng.normal(0, 1, rows).round(4).tolist() for name in layout.columns}
    body = orjson.dumps({"units": [{"unit": "pump-7", "time": list(range(1, rows + 1)), "columns": columns}]})
    units = read_forecast(body, accepted, LIMITS).units
    scored = forecast(served, units, layout)
    n = given.repeats
    print(f"{len(body)} bytes, {rows} readings of {len(layout.columns)} columns; {served.reference}")
    print(f"{'microseconds':44s} {'median':>10s} {'p95':>10s} {'least':>10s}")
    timed("orjson alone", lambda: orjson.loads(body), n)
    timed("read and check the body", lambda: read_forecast(body, accepted, LIMITS), n)
    timed("columns of the model", lambda: layout.check(units, "m"), n)
    timed("key of the content", lambda: content_key(served, units[0], None), n)
    timed("forecast", lambda: forecast(served, units, layout), n)
    asyncio.run(through_thread(Scorer(), served, units, n))
    timed("JSON of the forecast", lambda: [as_json(row) for row in scored.rows()], n)

    count = given.units
    data = {name: rng.normal(0, 1, count * rows).astype(np.float32) for name in layout.columns}
    names, time_ = np.repeat([f"u{i}" for i in range(count)], rows), np.tile(np.arange(rows), count)
    buffer = io.BytesIO()
    pl.DataFrame({"unit": names, "time": time_, **data}).write_ipc_stream(buffer)
    stream = buffer.getvalue()
    many = read_table(stream, accepted, LIMITS).units
    found = forecast(served, many, layout)
    print(f"{count} units as Arrow, {len(stream)} bytes")
    timed("read and check the stream", lambda: read_table(stream, accepted, LIMITS), n // 10)
    timed("forecast", lambda: forecast(served, many, layout), n // 10)
    timed("Arrow of the forecasts", lambda: write_table(found.columns), n // 10)
    timed("JSON of the forecasts", lambda: [as_json(row) for row in found.rows()], n // 10)


if __name__ == "__main__":
    main()
