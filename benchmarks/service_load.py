"""The service under load, beside `mlflow models serve` and a plain FastAPI handler, in one run.

    python benchmarks/service_load.py [--seconds 8] [--rounds 3] [--bundle DIR]

One graph serves all three: that of a bundle (CNN and LSTM) with windows of 30 readings of 14 sensors. The peers get the
finished window as JSON, run the graph and answer its numbers. Wearcast gets the readings, and also checks the token,
the rate and each cell, scales, calibrates, counts and writes a line to its log. Bodies differ from request to request,
and the cache of forecasts is off, so every answer is computed. `wrk` (https://github.com/wg/wrk) is the client, on the
same machine. Rounds go through the contestants in turn, so that a machine that is busy for a while is so for all; each
figure is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

ROWS, SENSORS, BODIES = 30, 14, 64
MIB = 2**20

LUA = """
local bodies = {}
for i = 1, @COUNT@ do
  local file = io.open("@FOLDER@/" .. i, "rb")
  bodies[i] = file:read("*a")
  file:close()
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "@TYPE@"
@AUTH@
local at = 0
request = function()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
response = function(status) if status >= 300 then wrong = (wrong or 0) + 1 end end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nJSON {"requests": %d, "seconds": %f, "p50": %f, "p95": %f, "p99": %f, "errors": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"""

PLAIN = '''
"""What one writes first: FastAPI, a pydantic model, ONNX Runtime."""
import os
import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["GRAPH"], options, providers=["CPUExecutionProvider"])
names = {i.name for i in session.get_inputs()}
app = FastAPI()


class Window(BaseModel):
    past: list[list[list[float]]]
    mask: list[list[bool]]


@app.post("/forecast")
def forecast(window: Window) -> dict[str, list[list[float]]]:
    feeds = {"past": np.array(window.past, dtype=np.float32), "mask": np.array(window.mask)}
    return {"output": session.run(None, {k: v for k, v in feeds.items() if k in names})[0].tolist()}
'''


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def tree_mib(pid: int) -> float:
    """Resident memory of a process and those that it started."""
    top = psutil.Process(pid)
    return sum(p.memory_info().rss for p in (top, *top.children(recursive=True))) / MIB


@contextmanager
def server(command: list[str], url: str, log: Path, environment: dict[str, str]) -> Iterator[tuple[int, float]]:
    """A server, from its first answer on; its process and the seconds that this took."""
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **environment}, start_new_session=True
        )
    try:
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - began > 120:
                    raise SystemExit(f"{command[0]} did not start:\n{log.read_text()[-3000:]}") from None
                time.sleep(0.01)
        yield process.pid, time.perf_counter() - began
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def train_bundle(folder: Path, seed: int = 0) -> Path:
    """A bundle with windows of 30 readings of 14 sensors."""
    from wearcast import Experiment, Fleet, train

    rng = np.random.default_rng(0)
    life = rng.integers(60, 120, size=20)
    wear = np.concatenate([np.linspace(0, 1, n) ** 2 for n in life])
    table = {"pump": np.repeat(np.arange(20), life), "cycle": np.concatenate([np.arange(1, n + 1) for n in life])}
    table |= {f"s{i}": wear * rng.normal() + 0.1 * rng.normal(size=len(wear)) for i in range(SENSORS)}
    sensors = [f"s{i}" for i in range(SENSORS)]
    fleet = Fleet.from_frame(pl.DataFrame(table), unit="pump", cycle="cycle", sensors=sensors, events="last_row")
    overrides = (
        f"window.context_length={ROWS}",
        "trainer.max_epochs=3",
        "target.max_rul=60",
        "dataset.kind=simulated",
        f"seed={seed}",
    )
    train(Experiment.from_yaml("cnn-bilstm", overrides), fleet, out=folder)
    return folder


@contextmanager
def bundle_or_new(given: Path | None) -> Iterator[Path]:
    """The bundle that was named, else one that is trained now and gone at the end."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="wearcast-bundle-") as folder:
        yield train_bundle(Path(folder) / "bundle")


class Bodies:
    """What the contestants are sent: the same windows, each in the form that it reads."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        from wearcast import load_bundle
        from wearcast.readings import Readings
        from wearcast.windows import Windows

        self.folder = folder
        self.bundle = load_bundle(bundle, threads=1)
        engine = self.bundle.engine
        rng = np.random.default_rng(0)
        scales = {s.column: (s.mean[0], s.sd[0]) for s in engine.preprocessing.sensors}
        self.columns = {
            name: np.float32(scales[name][0] + scales[name][1] * rng.normal(size=256 * ROWS)).round(4)
            if name in scales
            else np.zeros(256 * ROWS, np.float32)
            for name in self.bundle.columns
        }
        offsets = np.arange(257) * ROWS
        history = Readings(tuple(range(256)), offsets, np.tile(np.arange(ROWS), 256), self.columns)
        channels = engine.preprocessing.transform(history)
        batch = Windows(channels, engine.window, offsets[1:] - 1).batch(slice(0, BODIES))
        self.windows = [(batch.past[i : i + 1].tolist(), batch.mask[i : i + 1].tolist()) for i in range(BODIES)]

    def wearcast(self) -> Path:
        def one(i: int) -> bytes:
            rows = slice(i * ROWS, (i + 1) * ROWS)
            columns = {name: values[rows].astype(float).round(4).tolist() for name, values in self.columns.items()}
            unit = {"unit": f"pump-{i}", "time": list(range(1, ROWS + 1)), "columns": columns}
            return json.dumps({"units": [unit]}).encode()

        return self._written("wearcast", one)

    def arrow(self) -> Path:
        """Requests of 256 units."""

        def one(i: int) -> bytes:
            from io import BytesIO

            unit = pl.Series([f"pump-{i}-{n}" for n in range(256)]).gather(np.repeat(np.arange(256), ROWS))
            table = pl.DataFrame({"unit": unit, "time": np.tile(np.arange(1, ROWS + 1), 256), **self.columns})
            buffer = BytesIO()
            table.write_ipc_stream(buffer)
            return buffer.getvalue()

        return self._written("arrow", one, 4)

    def plain(self) -> Path:
        return self._written(
            "plain", lambda i: json.dumps(dict(zip(("past", "mask"), self.windows[i], strict=True))).encode()
        )

    def mlflow(self, names: list[str]) -> Path:
        def one(i: int) -> bytes:
            window = dict(zip(("past", "mask"), self.windows[i], strict=True))
            return json.dumps({"inputs": {name: window[name] for name in names}}).encode()

        return self._written("mlflow", one)

    def _written(self, name: str, one: Callable[[int], bytes], count: int = BODIES) -> Path:
        folder = self.folder / name
        folder.mkdir()
        for i in range(count):
            (folder / str(i + 1)).write_bytes(one(i))
        return folder


def wrk(
    url: str, bodies: Path, connections: int, seconds: float, *, token: str = "", kind: str = "application/json"
) -> dict[str, float]:
    """Requests a second and milliseconds of latency."""
    script = bodies.with_name(f"{bodies.name}.lua")
    auth = f'wrk.headers["Authorization"] = "Bearer {token}"' if token else ""
    lua = LUA.replace("@COUNT@", str(len(list(bodies.iterdir())))).replace("@FOLDER@", str(bodies))
    script.write_text(lua.replace("@TYPE@", kind).replace("@AUTH@", auth))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(re.search(r"^JSON (.*)$", done.stdout, re.M)[1])  # type: ignore[index]
    if found["errors"]:
        raise SystemExit(f"{found['errors']} requests to {url} failed: {done.stdout}")
    return {**found, "rate": found["requests"] / found["seconds"]}


def start_wearcast(stack: ExitStack, folder: Path, bundle: Path) -> tuple[str, str, int, float]:
    """Its address, a token, its process and the seconds until it was ready."""
    port = free_port()
    settings = folder / "service.yaml"
    high = dict.fromkeys(("forecast", "write"), "100000000/minute")
    settings.write_text(
        json.dumps(
            {
                "profile": "prod",
                "port": port,
                "hosts": ["127.0.0.1"],
                "state_url": f"sqlite:///{folder / 'state.sqlite'}",
                "tls": {"behind_proxy": True, "trusted_proxies": ["127.0.0.1"]},
                "models": {"bundle": str(bundle)},
                "cache": {"kind": "none"},
                "limits": {"rates": high},
            }
        )
    )
    cli = [sys.executable, "-m", "wearcast"]
    made = subprocess.run(
        [*cli, "auth", "client", "create", "bench", "--scope", "forecast,write", "--settings", str(settings), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    client = json.loads(made.stdout)
    url = f"http://127.0.0.1:{port}"
    command = [*cli, "serve", "--settings", str(settings)]
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    with server(command, f"{url}/health/ready", folder / "first.log", compiled):
        pass  # modules are compiled once, as when a package is installed
    pid, ready_s = stack.enter_context(server(command, f"{url}/health/ready", folder / "wearcast.log", compiled))
    form = f"grant_type=client_credentials&client_id={client['id']}&client_secret={client['secret']}"
    token = json.load(urllib.request.urlopen(f"{url}/oauth/token", form.encode()))["access_token"]
    return url, token, pid, ready_s


def start_plain(stack: ExitStack, folder: Path, bundle: Path) -> str:
    (folder / "plain_handler.py").write_text(PLAIN)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "plain_handler:app",
        "--app-dir",
        str(folder),
        "--port",
        str(port),
        "--no-access-log",
    ]
    url = f"http://127.0.0.1:{port}"
    graph = {"GRAPH": str(bundle / "model.onnx")}
    stack.enter_context(server(command, f"{url}/openapi.json", folder / "plain.log", graph))
    return f"{url}/forecast"


def start_mlflow(stack: ExitStack, folder: Path, bundle: Path) -> tuple[str, list[str]]:
    import mlflow.onnx
    import onnx

    model = onnx.load(bundle / "model.onnx")
    options = {"intra_op_num_threads": 1}
    place = folder / "mlflow-model"
    mlflow.onnx.save_model(model, place, onnx_session_options=options, pip_requirements=["onnxruntime"])
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(place),
        "-p",
        str(port),
        "--env-manager",
        "local",
    ]
    url = f"http://127.0.0.1:{port}"
    beside = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # it calls uvicorn by name
    stack.enter_context(server(command, f"{url}/ping", folder / "mlflow.log", beside))
    return f"{url}/invocations", [one.name for one in model.graph.input]


def stateful(url: str, token: str, bodies: Bodies, seconds: float) -> list[float]:
    """Milliseconds of each reading of a unit that has 500 rows, and of the new forecast in the answer."""
    import http.client

    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(url.removeprefix("http://"))

    def post(time_from: int, rows: int) -> float:
        columns = {name: values[:rows].astype(float).tolist() for name, values in bodies.columns.items()}
        body = json.dumps({"time": list(range(time_from, time_from + rows)), "columns": columns})
        began = time.perf_counter()
        connection.request("POST", "/v1/units/pump-500/readings", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{answer.status}: {said.decode()[:500]}")
        return (time.perf_counter() - began) * 1e3

    post(1, 500)
    took, at, end = [], 501, time.perf_counter() + seconds
    while time.perf_counter() < end:
        took.append(post(at, 1))
        at += 1
    return took


def in_process(bodies: Bodies) -> list[float]:
    """Milliseconds of a forecast of one unit with 100 readings, preprocessing and calibration included."""
    from wearcast.readings import Readings

    columns = {name: values[:100] for name, values in bodies.columns.items()}
    history = Readings(("pump",), np.array([0, 100]), np.arange(100), columns)
    took = []
    for _ in range(2_000):
        began = time.perf_counter()
        bodies.bundle.predict(history)
        took.append((time.perf_counter() - began) * 1e3)
    return took[200:]


def row(name: str, value: str, ratio: float | None = None, wanted: str = "") -> None:
    print(f"{name:66s}{value:>14s}{'' if ratio is None else f'{ratio:9.2f} x':>12s}   {wanted}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run of wrk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bundle", type=Path, help="serve this one instead of training one; 14 sensors")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed; Debian and Ubuntu: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="wearcast-load-") as name, ExitStack() as stack:
        folder = Path(name)
        bundle = args.bundle or train_bundle(folder / "bundle")
        bodies = Bodies(bundle, folder)
        measure(args, stack, folder, bundle.resolve(), bodies)


def measure(args: argparse.Namespace, stack: ExitStack, folder: Path, bundle: Path, bodies: Bodies) -> None:
    alone = in_process(bodies)
    plain = start_plain(stack, folder, bundle)
    mlflow, names = start_mlflow(stack, folder, bundle)
    url, token, pid, ready_s = start_wearcast(stack, folder, bundle)
    contestants = {
        "wearcast": (f"{url}/v1/forecast", bodies.wearcast(), token),
        "plain FastAPI": (plain, bodies.plain(), ""),
        "mlflow models serve": (mlflow, bodies.mlflow(names), ""),
    }
    arrow = bodies.arrow()
    results: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for address, sent, bearer in contestants.values():  # what starts slowly has started
        wrk(address, sent, 4, 1, token=bearer)
    for _ in range(args.rounds):
        for connections in (1, 16):
            for name, (address, sent, bearer) in contestants.items():
                found = wrk(address, sent, connections, args.seconds, token=bearer)
                results.setdefault((name, connections), []).append(found)
        found = wrk(
            f"{url}/v1/forecast", arrow, 2, args.seconds, token=token, kind="application/vnd.apache.arrow.stream"
        )
        results.setdefault(("arrow", 2), []).append(found)
    rss = tree_mib(pid)
    fed = stateful(url, token, bodies, args.seconds)

    def middle(name: str, connections: int, figure: str) -> float:
        return statistics.median(found[figure] for found in results[name, connections])

    print(f"{'':66s}{'':>14s}{'wearcast is':>12s}   wanted")
    for connections in (1, 16):
        ours = middle("wearcast", connections, "rate")
        for name, least in zip(contestants, ("", "1.2 x", "4 x"), strict=True):
            rate, p50, p99 = (middle(name, connections, figure) for figure in ("rate", "p50", "p99"))
            title = f"{name}, {connections} connections: requests/s (p50 {p50:.1f} ms, p99 {p99:.1f} ms)"
            row(title, f"{rate:,.0f}", None if name == "wearcast" else ours / rate, least)
    row("p99 at 16 connections, ms", f"{middle('wearcast', 16, 'p99'):.1f}", None, "20 ms")
    windows = 256 * middle("arrow", 2, "rate")
    best = max(middle("mlflow models serve", c, "rate") for c in (1, 16))
    row("256 units a request in Arrow: windows/s", f"{windows:,.0f}", windows / best, "20 x MLflow's windows/s")
    row("a reading of a unit with 500 rows, p95 ms", f"{np.percentile(fed, 95):.2f}", None, "5 ms")
    row("in process, window of 100 readings, p95 ms", f"{np.percentile(alone, 95):.2f}", None, "1 ms")
    row("resident memory after all of this, MiB", f"{rss:.0f}", None, "300 MiB")
    row("start to ready, s", f"{ready_s:.2f}", None, "3 s")


if __name__ == "__main__":
    main()
