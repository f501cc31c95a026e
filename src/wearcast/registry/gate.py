"""The gate before an alias moves: is the candidate whole, of the same kind as the champion, and not worse?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wearcast.bundle import Bundle, ModelManifest
from wearcast.errors import RegistryError
from wearcast.evaluation.by_target import AnyEvaluation
from wearcast.evaluation.figures import FIGURES, Figure, main_figure
from wearcast.target import FailureTarget, FaultTarget, RulTarget, SensorTarget

__all__ = ["BAND", "GATED", "TOLERANCE", "Check", "Measured", "Verdict", "held_out", "judge", "measured_on"]

TOLERANCE = 0.02
"""How much worse a figure may be, as a share of the champion's."""

BAND = (0.80, 0.99)
"""Shares of truths inside the 90 % interval that are let through."""

GATED: Mapping[str, tuple[str, ...]] = {
    "rul": ("rmse_capped", "crps"),
    "failure": ("pr_auc", "log_loss"),
    "fault": ("macro_f1", "log_loss"),
    "sensor": ("mae", "crps"),
}
"""Figures of each kind of target that must not get worse; the first must be known."""

COVERAGE = "coverage_90"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of the check.
        passed: None where it does not apply.
        said: what was found, with the numbers.
    """

    name: str
    passed: bool | None
    said: str


@dataclass(frozen=True)
class Measured:
    """Figures of both, on one set.

    Attributes:
        on: what set.
        candidate, champion: by name; of the champion empty where there is none.
        seen: who of both was trained on that set.
    """

    on: str
    candidate: Mapping[str, float]
    champion: Mapping[str, float]
    seen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
        candidate: reference of the version that wants in.
        champion: reference of the version that it was held against, None if there is none.
        on: what set the figures are of.
        tolerance: see `TOLERANCE`.
        checks: all that were made.
    """

    candidate: str
    champion: str | None
    on: str
    tolerance: float
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.passed is False)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "passed": self.passed}

    def brief(self) -> dict[str, Any]:
        """As the history keeps it, within the length of a tag."""
        failed = {check.name: check.said[:200] for check in self.failed}
        return {
            "passed": self.passed,
            "champion": self.champion,
            "on": self.on[:200],
            "tolerance": self.tolerance,
            "failed": failed,
        }


def measured_on(on: str, candidate: AnyEvaluation, champion: AnyEvaluation | None) -> Measured:
    """Figures of both that were measured now.

    Raises:
        RegistryError: they were not measured on the same units.
    """
    if champion is not None and set(candidate.fleet.units) != set(champion.fleet.units):
        raise RegistryError(
            f"the candidate reads {candidate.fleet.n_units} units there, the champion {champion.fleet.n_units} others",
            where=on,
            hint="name a set that both read alike",
        )
    both = {"the candidate": candidate, "the champion": champion}
    seen = tuple(who for who, found in both.items() if found is not None and found.record.trained_on)
    return Measured(on, _numbers(candidate.metrics), _numbers(champion.metrics if champion else {}), seen)


def held_out(candidate: Bundle, champion: Bundle | None) -> Measured:
    """The figures that both bundles carry, each on what it had not seen of the same data.

    Raises:
        RegistryError: they are of different data.
    """
    ours = candidate.manifest
    if champion is not None and champion.manifest.data.fingerprint != ours.data.fingerprint:
        theirs = champion.manifest.data
        raise RegistryError(
            "the held-out figures of candidate and champion are of different data: "
            f"{ours.data.name} ({ours.data.fingerprint[:8]}) and {theirs.name} ({theirs.fingerprint[:8]})",
            hint="name one set to measure both on: --on SOURCE",
        )
    theirs_too = _plain(champion.manifest.metrics) if champion is not None else {}
    return Measured(f"held-out units of {ours.data.name}", _plain(ours.metrics), theirs_too)


def judge(
    candidate: Bundle,
    champion: Bundle | None,
    measured: Measured,
    *,
    names: tuple[str, str | None],
    tolerance: float = TOLERANCE,
    band: tuple[float, float] = BAND,
) -> Verdict:
    """Hold a candidate against the champion.

    Args:
        candidate: a bundle that was found whole.
        champion: what it would replace, None if there is none.
        measured: figures of both.
        names: references of both.
        tolerance: see `TOLERANCE`.
        band: see `BAND`.
    """
    checks = [Check("whole", True, "every byte of the bundle is what was registered"), _parity(candidate)]
    if champion is not None:
        checks += [_same_target(candidate, champion), _columns(candidate, champion)]
        if candidate.manifest.target.kind == champion.manifest.target.kind:
            checks += _figures(candidate.manifest.target.kind, measured, tolerance)
    if measured.seen:
        checks.append(Check("unseen", False, f"{' and '.join(measured.seen)} learnt from {measured.on}"))
    checks.append(_coverage(measured, band))
    return Verdict(names[0], names[1], measured.on, tolerance, tuple(checks))


def _parity(bundle: Bundle) -> Check:
    manifests = [model.manifest for model in (bundle.models or (bundle,))]
    parities = [manifest.parity for manifest in manifests if isinstance(manifest, ModelManifest)]
    worst = max(parities, key=lambda parity: parity.max_abs_difference / parity.tolerance)
    return Check(
        "parity",
        worst.max_abs_difference <= worst.tolerance,
        f"the graph differs from the trained model by {worst.max_abs_difference:.2g} at most, "
        f"{worst.tolerance:.2g} is let through",
    )


def _same_target(candidate: Bundle, champion: Bundle) -> Check:
    ours, theirs = dict(_promise(candidate)), dict(_promise(champion))
    if ours["target"] != theirs["target"]:  # what belongs to it differs then, and says no more
        ours, theirs = ({key: all_[key] for key in ("target", "unit of time")} for all_ in (ours, theirs))
    differ = [f"{key} {ours.get(key)} instead of {value}" for key, value in theirs.items() if ours.get(key) != value]
    differ += [f"{key} {value}, which the champion has not" for key, value in ours.items() if key not in theirs]
    return Check("target", not differ, "; ".join(differ) or f"both forecast {candidate.manifest.target.kind} alike")


def _promise(bundle: Bundle) -> Iterator[tuple[str, object]]:
    """What those who read the forecasts rely on."""
    target = bundle.manifest.target
    yield "target", target.kind
    first = (bundle.models or (bundle,))[0].manifest
    if isinstance(first, ModelManifest):
        yield "unit of time", first.preprocessing.time_unit
    if isinstance(target, RulTarget):
        yield from (("max_rul", target.max_rul), ("horizons", target.horizons), ("levels", target.quantile_levels))
    elif isinstance(target, FailureTarget):
        yield from (("horizon", target.horizon), ("label", target.label))
    elif isinstance(target, FaultTarget):
        yield from (("label", target.label), ("classes", target.classes))
    elif isinstance(target, SensorTarget):
        yield from (("columns", target.columns), ("levels", target.quantile_levels))
        if isinstance(first, ModelManifest):
            yield "steps ahead", first.window.prediction_length


def _columns(candidate: Bundle, champion: Bundle) -> Check:
    more = [column for column in candidate.columns if column not in set(champion.columns)]
    said = f"needs {', '.join(more[:10])}, which the champion does without" if more else "needs no further column"
    return Check("columns", not more, said)


def _figures(kind: str, measured: Measured, tolerance: float) -> Iterator[Check]:
    for figure in (figure for figure in FIGURES[kind] if figure.name in GATED[kind]):
        ours, theirs = measured.candidate.get(figure.name), measured.champion.get(figure.name)
        if ours is None or theirs is None:
            who = "candidate" if ours is None else "champion"
            needed = figure == main_figure(kind)
            yield Check(figure.name, False if needed else None, f"of the {who} it is not known on {measured.on}")
            continue
        passed = not _worse(figure, ours, theirs, tolerance)
        yield Check(figure.name, passed, f"{figure.label} {ours:.4g} against {theirs:.4g} on {measured.on}")


def _worse(figure: Figure, ours: float, theirs: float, tolerance: float) -> bool:
    return figure.badness(ours) > figure.badness(theirs) + tolerance * abs(theirs)


def _coverage(measured: Measured, band: tuple[float, float]) -> Check:
    share = measured.candidate.get(COVERAGE)
    if share is None:
        return Check("coverage", None, "these forecasts have no interval to check, or its truth is not known")
    low, high = band
    said = f"{share:.1%} of the truths lie in the 90 % interval, {low:.0%} to {high:.0%} are let through"
    return Check("coverage", low <= share <= high, said)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}


def _plain(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix("validation_"): value for name, value in metrics.items()}
