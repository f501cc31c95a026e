"""The process: from settings to a port that answers, and from SIGTERM to an end that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from wearcast.errors import ConfigError
from wearcast.service.app import create_app
from wearcast.service.lifecycle import Lifecycle
from wearcast.service.logs import Logs, configure, get_logger
from wearcast.service.secrets import Secrets

if TYPE_CHECKING:
    from fastapi import FastAPI

    from wearcast.service.settings import Settings

__all__ = ["DrainingServer", "bind", "serve"]

_STOP_S = 2.0  # of the drain: to park jobs, close what is open and flush the log
_LINGER_S = 1.0  # for connections that were taken in and have not said anything yet
_LINGER_ROUNDS = 50

log = get_logger("wearcast.service.run")


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. The settings were checked before (`preflight.check`).

    Raises:
        ConfigError: the parts cannot be put together, or the port is taken; no request has been answered then.
        BundleError: the bundle to serve is not whole.
    """
    logs = configure(settings.logs.level, settings.logs.levels, form=settings.logs.format)
    try:
        with bind(settings.host, settings.port) as listener:
            lifecycle = Lifecycle()
            app = create_app(settings, lifecycle=lifecycle, logs=logs)
            server = DrainingServer(app, settings, lifecycle, logs)
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(server.serve([listener]))
        log.info("ended")
    finally:
        logs.close()


def bind(host: str, port: int) -> socket.socket:
    """The port, taken but not listening yet: nobody connects before there is somebody to answer.

    Raises:
        ConfigError: it is taken, not ours to take, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        said = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot serve on port {port}: {said}", where=host, hint="--host and --port choose"
        ) from error
    listener.setblocking(False)
    return listener


class DrainingServer(uvicorn.Server):
    """uvicorn, which ends in steps: say so, go on listening, answer what has come, park, close.

    On the first signal readiness turns to 503 and each answer closes its connection, while new ones are still taken
    in for `drain_notice_s`: a balancer needs that moment to notice. Then the port closes and what is under way is
    answered.
    """

    def __init__(self, app: FastAPI, settings: Settings, lifecycle: Lifecycle, logs: Logs) -> None:
        super().__init__(_config(app, settings))
        self._app = app
        self._settings = settings
        self._lifecycle = lifecycle
        self._logs = logs

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, answer until the end has come, and stop."""
        with self.capture_signals():
            async with self._app.router.lifespan_context(self._app):
                await self._serve(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals begin the drain; unlike uvicorn's own way the process then ends with 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.begin_drain)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def begin_drain(self) -> None:
        """Begin to end; a second time, end at once."""
        if self._lifecycle.draining:
            self.should_exit = self.force_exit = True
            return
        self._lifecycle.draining = True
        notice_s = min(self._settings.drain_notice_s, self._settings.drain_s)
        log.info("draining", in_flight=self._lifecycle.in_flight, notice_s=notice_s, drain_s=self._settings.drain_s)
        asyncio.get_running_loop().call_later(notice_s, self._end_listening)
        _end_anyway_after(self._settings.drain_s, self._logs.close)

    def _end_listening(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        _settle()
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            shown = f"[{host}]" if ":" in host else host
            log.info("listening", **{"url.full": f"{scheme}://{shown}:{port}", "server.port": port})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, let those who are connected say what they came for, then uvicorn's own end."""
        loop = asyncio.get_running_loop()
        waiting = [connection for listener in sockets or () for connection in _close_port(listener)]
        for server in self.servers:
            server.close()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)
        for _ in range(_LINGER_ROUNDS):  # rounds of the loop, not seconds: a loop that lags has requests to read yet
            if self.force_exit or not self.server_state.connections:
                break
            await asyncio.sleep(_LINGER_S / _LINGER_ROUNDS)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        kind: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state={})


def _close_port(listener: socket.socket) -> list[socket.socket]:
    """Stop listening; the connections that the system has made and nobody has taken yet: else it would reset them."""
    waiting: list[socket.socket] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            waiting.append(listener.accept()[0])
    with contextlib.suppress(OSError):  # a system that closes no port so does it a moment later
        listener.shutdown(socket.SHUT_RDWR)
    for connection in waiting:
        connection.setblocking(False)
    return waiting


def _settle() -> None:
    """Set apart what was made by now: a full collection would else walk all of it, a tenth of a second each time.

    Threads change places five times as often as Python's default, so that an answer waits less for a forecast.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(1e-3)


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    patience_s = max(1, int(settings.drain_s - settings.drain_notice_s - _LINGER_S - _STOP_S))
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",  # run by `serve`, where an error of the start is still an error
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the gate knows whom to believe
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=patience_s,
        **_tls(settings),
    )


def _tls(settings: Settings) -> dict[str, Any]:
    tls = settings.tls
    if tls.certificate is None:
        return {}
    password = None if tls.key_password is None else Secrets(settings.vault).reveal(tls.key_password)

    def modern(config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    return {
        "ssl_certfile": tls.certificate,
        "ssl_keyfile": tls.key,
        "ssl_keyfile_password": password,
        "ssl_ca_certs": None if tls.client_ca is None else str(tls.client_ca),
        "ssl_cert_reqs": ssl.CERT_NONE if tls.client_ca is None else ssl.CERT_REQUIRED,
        "ssl_context_factory": modern,
    }


def _end_anyway_after(seconds: float, flush: Callable[[float], None]) -> None:
    """End the process when something outside the event loop hangs: whoever stops it would else kill it in the end."""

    def end() -> None:
        log.error("the drain took too long; ending all the same")
        flush(1.0)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
