"""Which version is served: promotion through the gate, and the way back."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wearcast.errors import RegistryError, UsageError
from wearcast.registry.moves import Move, alone, earlier, moves_of
from wearcast.registry.records import ModelVersion
from wearcast.registry.store import Store
from wearcast.registry.tags import GATE, OVERRIDE

if TYPE_CHECKING:
    from wearcast.bundle import Bundle
    from wearcast.evaluation.by_target import AnyEvaluation
    from wearcast.registry.gate import Verdict

__all__ = ["ALIASES", "Alias", "Moved", "check_alias", "promote", "rollback", "someone", "weigh"]

Alias = Literal["champion", "challenger"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger")
LONGEST_REASON = 1000
LONGEST_WHO = 200

Measure = Callable[["Bundle"], "AnyEvaluation"]


@dataclass(frozen=True)
class Moved:
    """What came of a promotion or a rollback.

    Attributes:
        version: that the alias stands for now.
        before: version that it stood for.
        move: the entry of the history; None if the alias stood there already.
        verdict: what the gate said; None for a rollback.
    """

    version: ModelVersion
    before: str | None
    move: Move | None
    verdict: Verdict | None = None

    def to_dict(self, alias: str) -> dict[str, Any]:
        """As programs read it."""
        return {
            "name": self.version.name,
            "alias": alias,
            "version": self.version.version,
            "before": self.before,
            "move": self.move.to_dict() if self.move else None,
            "gate": self.verdict.to_dict() if self.verdict else None,
        }


def weigh(
    store: Store,
    version: ModelVersion,
    *,
    cache: Path,
    on: str | None = None,
    measure: Measure | None = None,
    tolerance: float | None = None,
    band: tuple[float, float] | None = None,
) -> Verdict:
    """Hold a version against the champion of its model.

    Args:
        store: the registry.
        version: the candidate.
        cache: where downloaded bundles are kept.
        on: name of the set that `measure` measures on.
        measure: scores a bundle on that set; the held-out figures of both bundles are compared unless given.
        tolerance: share by which a figure may be worse, 0.02 unless given.
        band: coverage of the 90 % interval that is let through, 0.80 to 0.99 unless given.

    Raises:
        RegistryError: the candidate is not whole, or the figures cannot be compared; the hint says what to do.
        WearcastError: the set cannot be read.
    """
    from wearcast.bundle import load_bundle
    from wearcast.registry.gate import BAND, TOLERANCE, Check, Measured, Verdict, held_out, judge, measured_on

    tolerance, band = TOLERANCE if tolerance is None else tolerance, band or BAND
    candidate = load_bundle(store.fetch(version, cache))
    number = store.model(version.name).aliases.get("champion")
    reference = f"{version.name}/{number}" if number is not None else None
    names = (version.reference, reference)
    if number == version.version:
        return Verdict(*names, "itself", tolerance, (Check("whole", True, "it is the champion already"),))
    try:
        champion = load_bundle(store.fetch(store.version(version.name, number), cache)) if number is not None else None
    except RegistryError as error:
        broken = Check("champion", False, f"the champion cannot be read: {error}")
        return Verdict(*names, "nothing", tolerance, (broken,))
    if champion is not None and champion.manifest.target.kind != candidate.manifest.target.kind:
        measured = Measured("nothing", {}, {})  # no figure of both means the same: the check of the target says so
    elif measure is None:
        measured = held_out(candidate, champion)
    else:
        measured = measured_on(on or "", measure(candidate), measure(champion) if champion else None)
    return judge(candidate, champion, measured, names=names, tolerance=tolerance, band=band)


def promote(
    store: Store,
    version: ModelVersion,
    verdict: Verdict,
    *,
    alias: str = "champion",
    who: str | None = None,
    override: str | None = None,
) -> Moved:
    """Let an alias stand for a version, if the gate lets it through or a reason is given.

    Args:
        store: the registry.
        version: the candidate.
        verdict: what `weigh` said of it.
        alias: `champion` or `challenger`.
        who: name for the history; the user of this machine unless given.
        override: why it is promoted although the gate says no; recorded, also where the gate said yes.

    Raises:
        UsageError: no such alias, or an override without words.
        RegistryError: the gate says no, or the champion is another one than the gate was asked about.
        RegistryUnavailableError: another promotion is under way.
    """
    check_alias(alias)
    reason = _reason(override, "an override")
    if not verdict.passed and reason is None:
        complaints = "; ".join(f"{check.name}: {check.said}" for check in verdict.failed)
        raise RegistryError(
            f"the gate says no: {complaints}",
            where=version.reference,
            hint='nothing was changed; --override "REASON" promotes it all the same, and is recorded',
        )
    who = _who(who)
    with alone(store, version.name, who) as held:
        model = store.model(version.name)
        champion = model.aliases.get("champion")
        if (f"{version.name}/{champion}" if champion is not None else None) != verdict.champion:
            raise RegistryError(
                f"the champion is version {champion} now, the gate was asked about {verdict.champion or 'none'}",
                where=version.name,
                hint="promote again",
            )
        before = model.aliases.get(alias)
        if before == version.version:
            return Moved(store.version(version.name, version.version), before, None, verdict)
        store.set_version_tag(version.name, version.version, GATE, json.dumps(verdict.to_dict()))
        if reason is not None:
            store.set_version_tag(version.name, version.version, OVERRIDE, reason)
        move = held.move(
            Move(0, _now(), who, alias, "promote", before, version.version, reason, verdict.brief(), "intended")
        )
        return Moved(store.version(version.name, version.version), before, move, verdict)


def rollback(
    store: Store, name: str, *, cache: Path, alias: str = "champion", who: str | None = None, reason: str | None = None
) -> Moved:
    """Put back the version that an alias stood for before; once more, and it is the one before that.

    Raises:
        RegistryError: there is none, or it is not whole any more; nothing has changed.
        RegistryUnavailableError: another promotion is under way.
    """
    check_alias(alias)
    reason, who = _reason(reason, "a reason"), _who(who)
    with alone(store, name, who) as held:
        model = store.model(name)
        current = model.aliases.get(alias)
        back = earlier(moves_of(model), alias, current)
        if not back:
            raise RegistryError(
                f"version {current} is the first {alias}: there is none to go back to"
                if current
                else f"{alias} was never set",
                where=name,
                hint=f"`wearcast registry promote {name}/VERSION` sets another one",
            )
        version = store.version(name, back[-1])
        store.fetch(version, cache)
        move = held.move(Move(0, _now(), who, alias, "rollback", current, version.version, reason))
        return Moved(store.version(name, version.version), current, move)


def check_alias(alias: str) -> None:
    """Refuse an alias that nothing is served by.

    Raises:
        UsageError: there is none of this name.
    """
    if alias not in ALIASES:
        raise UsageError(f"no such alias: {alias!r}", hint=f"one of {', '.join(ALIASES)}")


def someone() -> str:
    """Who is at this machine, for the history."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _who(name: str | None) -> str:
    """A name that fits into an entry of the history."""
    plain = " ".join((name or "").split())
    if len(plain) > LONGEST_WHO:
        raise UsageError(f"the name of who does it has {len(plain)} characters, {LONGEST_WHO} are kept")
    return plain or someone()


def _reason(text: str | None, what: str) -> str | None:
    if text is None:
        return None
    plain = " ".join(text.split())
    if not plain:
        raise UsageError(f"{what} needs words: it is what others will read in the history")
    if len(plain) > LONGEST_REASON:
        raise UsageError(f"the reason has {len(plain)} characters, {LONGEST_REASON} are kept", hint="shorten it")
    return plain


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
