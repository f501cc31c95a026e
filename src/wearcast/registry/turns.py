"""One after the other: who may change a model of the registry now.

MLflow's store has no compare-and-set, so whoever wants to change something first marks the model with a tag of their
own and then looks for marks of others: of two who look after marking, at least one sees the other and steps back. The
mark of a process that is gone is removed by the next one, at once on the same machine, after its lease elsewhere.
"""

from __future__ import annotations

import json
import os
import random
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from wearcast.errors import RegistryError, RegistryUnavailableError
from wearcast.registry.store import Store
from wearcast.registry.tags import LOCK

__all__ = ["Purpose", "turn"]

Purpose = Literal["move", "register"]


@contextmanager
def turn(store: Store, name: str, purpose: Purpose, who: str, *, lease_s: float, patience_s: float) -> Iterator[str]:
    """Wait for one's turn with a model and hold it; gives the name of the tag that says so.

    Args:
        store: the registry.
        name: of the model.
        purpose: turns of another purpose are not waited for.
        who: for those who wait.
        lease_s: others on other machines take us for dead after this time.
        patience_s: how long to wait.

    Raises:
        RegistryUnavailableError: another one has not finished in time.
        RegistryError: there is no such model.
    """
    prefix = f"{LOCK}{purpose}."
    key = f"{prefix}{uuid.uuid4().hex}"
    give_up = time.monotonic() + patience_s
    try:
        while True:
            store.set_tag(name, key, json.dumps(_mark(who, lease_s)))
            other = _another(store, name, prefix, key)
            if other is None:
                break
            store.delete_tag(name, key)
            if time.monotonic() > give_up:
                doing = "moving an alias of it" if purpose == "move" else "registering a bundle of it"
                raise RegistryUnavailableError(f"{other} is {doing}", where=name, hint="try again in a moment")
            time.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - so that two do not step back in step
        yield key
    finally:
        with suppress(RegistryError):  # what is left of it is taken for dead by the next one
            store.delete_tag(name, key)


def _mark(who: str, lease_s: float) -> dict[str, Any]:
    return {
        "who": who,
        "time": datetime.now(UTC).isoformat(),
        "lease_s": lease_s,
        "home": _home(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _another(store: Store, name: str, prefix: str, own: str) -> str | None:
    """Who else has marked the model and still lives; marks of the dead are removed."""
    for key, value in store.model(name).tags.items():
        if not key.startswith(prefix) or key == own:
            continue
        try:
            mark = json.loads(value)
            if _lives(mark):
                return str(mark["who"])
        except (ValueError, KeyError, TypeError):  # written by something else: no one waits behind it
            pass
        store.delete_tag(name, key)
    return None


def _lives(mark: dict[str, Any]) -> bool:
    if mark["home"] == _home():
        began = _started(int(mark["pid"]))
        return began is not None and began == mark["started"]
    age = datetime.now(UTC) - datetime.fromisoformat(mark["time"])
    return bool(abs(age.total_seconds()) < mark["lease_s"])


def _home() -> str:
    """This machine, or this container on it: where a process number means the same process."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        space, boot = "", ""
    return f"{socket.gethostname()} {boot} {space}"


def _started(pid: int) -> str | None:
    """When a process of this machine began, so that a number given anew is not taken for it; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return "running"
