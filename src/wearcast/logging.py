"""Where Wearcast's own log lines go. A library that imports Wearcast hears nothing unless it asks."""

from __future__ import annotations

import logging
import sys
from typing import Literal

__all__ = ["Level", "configure", "logger"]

Level = Literal["debug", "info", "warning", "error"]

logger = logging.getLogger("wearcast")
logger.addHandler(logging.NullHandler())


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the `sys.stderr` of the moment, so that a redirection is followed."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self.stream = sys.stderr
        super().emit(record)


def configure(level: Level = "warning") -> None:
    """Send log lines of this level and above to stderr; calling it again only changes the level."""
    logger.setLevel(level.upper())
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    # Lightning greets, counts devices and gives tips at `info`; what matters it says as a warning.
    for chatty in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(chatty).setLevel("INFO" if level == "debug" else "ERROR")
