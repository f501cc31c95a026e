"""Clients that were revoked: their tokens are still signed and not yet over, and are no longer believed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wearcast.service.outside import Outside

__all__ = ["Revocations"]

_LOG = logging.getLogger("wearcast.service.revocations")


class Revocations:
    """The list of them, asked for again every few seconds by the request that comes then.

    When the database does not answer, the last list holds; a token ends by itself a few minutes later at most.
    """

    def __init__(
        self,
        load: Callable[[], frozenset[str]],
        every_s: float,
        outside: Outside | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clients: frozenset[str] = frozenset()
        self._load = load
        self._every_s = every_s
        self._outside = outside
        self._clock = clock
        self._next = float("-inf")

    def is_due(self) -> bool:
        """Whether the list is older than it may be."""
        return self._clock() >= self._next

    async def refresh(self) -> bool:
        """Ask again if it is time to; whether there is somebody new on the list."""
        if not self.is_due():
            return False
        self._next = self._clock() + self._every_s  # whoever comes meanwhile goes by the list of before
        try:
            found = await (self._ask() if self._outside is None else self._outside.call(self._ask))
        except Exception as error:
            _LOG.warning("revoked clients could not be read: %s", type(error).__name__)
            return False
        changed = not found <= self.clients
        self.clients = found
        return changed

    async def _ask(self) -> frozenset[str]:
        return await asyncio.to_thread(self._load)
