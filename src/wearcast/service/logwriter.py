"""Log lines on their way to a file descriptor, without ever keeping the event loop waiting."""

from __future__ import annotations

import os
import threading
from collections import deque

__all__ = ["LogWriter"]

_MOST = 20_000  # lines: some 10 MB, and 5 s of a service at its limit whose reader stands still
_GATHER_S = 0.02


class LogWriter:
    """Writes lines from a thread of its own; when the reader of the pipe stands still, lines are dropped and counted.

    Several lines become one write. A line is on its way within some 20 ms; `flush` waits for those that are here.
    """

    def __init__(self, descriptor: int, *, most: int = _MOST) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._most = most
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take one line, with its end of line."""
        if len(self._lines) >= self._most or self._closing:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():  # once a batch, not once a line
            self._idle.clear()
            self._wake.set()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was taken is written; False if the reader did not take it in time."""
        return self._idle.wait(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is here and end; later lines are dropped."""
        self.flush(timeout_s)
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        gather = threading.Event()  # never set: a pause that costs no lock of its own
        while True:
            self._wake.wait()
            if not self._closing:
                gather.wait(_GATHER_S)
            self._wake.clear()
            self._write_all()
            if not self._lines:
                if not self._wake.is_set():
                    self._idle.set()
                if self._closing:
                    return

    def _write_all(self) -> None:
        count = len(self._lines)
        if count == 0:
            return
        data = b"".join(self._lines.popleft() for _ in range(count))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # nobody reads any more; the service goes on, and metrics say so
            self.dropped += count
