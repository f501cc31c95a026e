"""Libraries that greet, advertise and give tips are hushed while they work for us, and only then."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from wearcast.logging import logger

__all__ = ["hushed"]


@contextmanager
def hushed(*names: str) -> Iterator[None]:
    """Let these loggers say errors only, unless Wearcast's own log is on at `info`."""
    loggers = [] if logger.isEnabledFor(logging.INFO) else [logging.getLogger(name) for name in names]
    levels = [chatty.level for chatty in loggers]
    for chatty in loggers:
        chatty.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for chatty, level in zip(loggers, levels, strict=True):
            chatty.setLevel(level)
