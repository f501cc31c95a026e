"""Threads that stand back for those that answer requests."""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["step_back"]

BEHIND = 10
"""On Linux each thread has a niceness of its own."""


def step_back() -> None:
    """Let this thread have the processor only where the others do not want it; where the system cannot, do nothing."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BEHIND)
