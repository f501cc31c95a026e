"""Log lines on their way to a file descriptor, without ever keeping the event loop waiting."""

from __future__ import annotations

import os
import threading
import time
from collections import deque

__all__ = ["LogWriter"]

_MOST = 20_000  # lines: some 10 MB, and 5 s of a service at its limit whose reader stands still
_GATHER_S = 0.02
_AWAKE = 25  # rounds without a line before the thread sleeps until it is called


class LogWriter:
    """Writes lines from a thread of its own; when the reader of the pipe stands still, lines are dropped and counted.

    Several lines become one write. A line is on its way within some 20 ms; `flush` waits for those that are here. While
    lines come, the thread looks for them by itself: to wake it costs the caller more than to make the line.
    """

    def __init__(self, descriptor: int, *, most: int = _MOST) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._most = most
        self._lines: deque[bytes] = deque()
        self._awake = threading.Event()
        self._writing = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take one line, with its end of line."""
        if len(self._lines) >= self._most or self._closing:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._awake.is_set():
            self._awake.set()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was taken is written; False if the reader did not take it in time."""
        end = time.monotonic() + timeout_s
        while self._lines or self._writing:
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is here and end; later lines are dropped."""
        self.flush(timeout_s)
        self._closing = True
        self._awake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        idle = 0
        while not (self._closing and not self._lines):
            self._awake.wait()
            if not self._closing:
                time.sleep(_GATHER_S)
            idle = 0 if self._write_all() else idle + 1
            if idle > _AWAKE and not self._closing:
                self._awake.clear()
                if self._lines or self._closing:  # somebody came while it was being cleared
                    self._awake.set()
                idle = 0

    def _write_all(self) -> int:
        self._writing = True  # before the lines are taken, so that `flush` sees them in the one place or the other
        count = len(self._lines)
        data = b"".join(self._lines.popleft() for _ in range(count))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # nobody reads any more; the service goes on, and metrics say so
            self.dropped += count
        self._writing = False
        return count
