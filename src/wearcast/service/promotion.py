"""Promotion and rollback in a process of their own, because MLflow must not enter the one that answers requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from wearcast.errors import RegistryError, RegistryUnavailableError, UsageError
from wearcast.service.logs import get_logger
from wearcast.service.problems import Problem, from_error

__all__ = ["run_registry"]

log = get_logger("wearcast.service.promotion")

TIMEOUT_S = 110.0
MOST_BYTES = 1 << 20


async def run_registry(arguments: Sequence[str], *, registry: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Run `wearcast registry ARGUMENTS --json` and give what it says.

    Args:
        arguments: such as `promote pumps/4`.
        registry: its URL; by the environment, because it may hold a password.
        timeout_s: after which the process is ended.

    Raises:
        Problem: `bad-input` for its exit code 2, `conflict` for 3 and 4, `unavailable` if the registry does not
            answer or the process takes too long, `internal` for anything else.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wearcast", "registry", *arguments, "--json",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "WEARCAST_REGISTRY": registry}, limit=MOST_BYTES, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise Problem("unavailable", f"the registry was not done within {timeout_s:g} s", retry_after_s=30) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()  # a promotion that is interrupted is completed or undone by the next one
            await process.wait()
    if process.returncode == 0:
        return _said(out)
    raise _refusal(int(process.returncode or 1), err.decode(errors="replace"))


def _said(out: bytes) -> dict[str, Any]:
    try:
        said = json.loads(out)
    except ValueError:
        log.error("the registry command did not answer with JSON")
        raise Problem("internal", "the service failed; the log says why") from None
    return said if isinstance(said, dict) else {"result": said}


def _refusal(code: int, err: str) -> Problem:
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    said = lines[-1].removeprefix("error: ") if lines else ""
    log.warning("the registry command failed", code=code, error=said or err[-500:])
    if code == 2:
        return from_error(UsageError(said))
    if code in (3, 4) and any(sign in said for sign in _BUSY):
        return from_error(RegistryUnavailableError(said))
    if code in (3, 4):
        return from_error(RegistryError(said))
    return Problem("internal", "the service failed; the log says why")


_BUSY = (
    "does not answer", "is busy", "too slow", "no answer within", "no whole answer", "answers with status",
    "try again in a moment",
)  # fmt: skip
"""How the registry says that the same call may work a moment later: `RegistryUnavailableError` has code 4 as well."""
