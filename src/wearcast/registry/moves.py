"""The history of a model's aliases, and how one of them moves: alone, recorded before and after.

Each move is one tag of the model, numbered, written as `intended` before the alias moves and as `done` after it. The
alias itself moves in one step, so a reader sees the old version or the new one. Whoever comes after a kill finds the
intention, sees by the alias whether the move took place, and says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from wearcast.errors import RegistryError, RegistryUnavailableError
from wearcast.registry.records import RegisteredModel
from wearcast.registry.store import Store
from wearcast.registry.tags import MOVE
from wearcast.registry.turns import turn

__all__ = ["Alone", "Move", "alone", "earlier", "moves_of"]

LEASE_S = 60.0
"""Much longer than a move takes."""
PATIENCE_S = 10.0

Action = Literal["promote", "rollback"]
State = Literal["intended", "done", "abandoned"]


@dataclass(frozen=True)
class Move:
    """One move of an alias.

    Attributes:
        number: in the order of the moves of this model, from 1.
        time: ISO 8601, UTC.
        who: the person or client.
        alias: that moved.
        action: what it was for.
        before: version that it stood for, None if for none.
        after: version that it stands for.
        reason: why, if it was said; of an override always.
        gate: what the gate found, shortened.
        state: `intended` until the alias has moved; `abandoned` if it never did.
    """

    number: int
    time: str
    who: str
    alias: str
    action: Action
    before: str | None
    after: str
    reason: str | None = None
    gate: dict[str, Any] | None = None
    state: State = "intended"

    @property
    def key(self) -> str:
        """Name of its tag."""
        return f"{MOVE}{self.number:06d}"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def moves_of(model: RegisteredModel) -> tuple[Move, ...]:
    """The history of a model's aliases, oldest first.

    Raises:
        RegistryError: a tag of it was changed by hand and cannot be read.
    """
    found = []
    for key in sorted(key for key in model.tags if key.startswith(MOVE)):
        try:
            found.append(Move(**json.loads(model.tags[key])))
        except (ValueError, TypeError) as error:
            raise RegistryError(
                "this entry of the history cannot be read", where=f"{model.name}: tag {key}", hint="mend it in MLflow"
            ) from error
    return tuple(found)


def earlier(moves: Sequence[Move], alias: str, current: str | None) -> tuple[str, ...]:
    """Versions that an alias stood for and that a rollback goes back through, the nearest last.

    A promotion puts a version on top, a rollback takes what lies above its version away.
    """
    stack: list[str] = []
    for move in moves:
        if move.alias != alias or move.state != "done":
            continue
        if move.before is not None and stack[-1:] != [move.before]:  # someone had moved it without Wearcast
            stack.append(move.before)
        if move.action == "rollback":
            while stack and stack[-1] != move.after:
                stack.pop()
        if stack[-1:] != [move.after]:
            stack.append(move.after)
    return tuple(stack[:-1] if stack[-1:] == [current] else stack)


@dataclass(frozen=True)
class Alone:
    """The right to move the aliases of one model, held for a moment."""

    store: Store
    name: str
    key: str
    until: float

    def move(self, move: Move) -> Move:
        """Record the intention, move the alias, record that it is done.

        Raises:
            RegistryUnavailableError: it took so long that another may have taken our place; nothing has moved.
        """
        model = self.store.model(self.name)
        last = max((one.number for one in moves_of(model)), default=0)
        move = replace(move, number=last + 1, state="intended")
        self._write(move)
        if self.key not in self.store.model(self.name).tags or time.monotonic() > self.until:
            self._write(replace(move, state="abandoned"))
            raise RegistryUnavailableError("the registry was too slow: nothing was moved", where=self.name)
        self.store.set_alias(self.name, move.alias, move.after)
        done = replace(move, state="done")
        self._write(done)
        return done

    def heal(self) -> tuple[Move, ...]:
        """Settle what killed processes left half recorded; the settled entries."""
        model = self.store.model(self.name)
        settled = []
        for move in moves_of(model):
            if move.state == "intended":
                state: State = "done" if model.aliases.get(move.alias) == move.after else "abandoned"
                settled.append(replace(move, state=state))
                self._write(settled[-1])
        return tuple(settled)

    def _write(self, move: Move) -> None:
        self.store.set_tag(self.name, move.key, json.dumps(move.to_dict(), ensure_ascii=False))


@contextmanager
def alone(store: Store, name: str, who: str, *, patience_s: float = PATIENCE_S) -> Iterator[Alone]:
    """Wait until nobody else moves aliases of this model, settle what was left behind, and hold the others off.

    Raises:
        RegistryUnavailableError: another one has not finished in time.
        RegistryError: there is no such model.
    """
    with turn(store, name, "move", who, lease_s=LEASE_S, patience_s=patience_s) as key:
        held = Alone(store, name, key, time.monotonic() + LEASE_S / 2)
        held.heal()
        yield held
