"""What `wearcast datasets check` shows and writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

if TYPE_CHECKING:
    from wearcast.datasets import Dataset
    from wearcast.datasets.quality import QualityReport, TargetKind
    from wearcast.fleet import Fleet

__all__ = ["kind_of_target", "metrics_writer", "severities", "show"]

_STOPS = {"error": ("error",), "warning": ("error", "warning"), "never": ()}
_JSON = (".json", ".jsonl", ".ndjson")


def severities(fail_on: str) -> tuple[str, ...]:
    """The severities that make the command fail.

    Raises:
        UsageError: there is no such severity.
    """
    from wearcast.config import nearest
    from wearcast.errors import UsageError

    if fail_on not in _STOPS:
        hint = nearest(fail_on, _STOPS) or f"one of {', '.join(_STOPS)}"
        raise UsageError(f"no such severity: {fail_on!r}", where="--fail-on", hint=hint)
    return _STOPS[fail_on]


def kind_of_target(text: str | None, dataset: Dataset, fleet: Fleet) -> TargetKind | None:
    """What the data are judged for; a declared set without failures and labels is there to forecast its sensors.

    Raises:
        UsageError: there is no such target.
    """
    import numpy as np

    from wearcast.config import nearest
    from wearcast.datasets import FilesDataset
    from wearcast.datasets.quality import TargetKind
    from wearcast.errors import UsageError

    kinds = get_args(TargetKind)
    if text is not None and text not in kinds:
        hint = nearest(text, kinds) or f"one of {', '.join(kinds)}"
        raise UsageError(f"no such target: {text!r}", where="--target", hint=hint)
    if text is None and not isinstance(dataset, FilesDataset) and not fleet.schema.labels:
        return None if np.isfinite(fleet.end_of_life_age).any() else "sensor"
    return cast("TargetKind | None", text)


def metrics_writer(path: Path | None) -> Callable[[QualityReport], None] | None:
    """What writes the figures: a Prometheus file anew, or one more line into a JSON Lines file.

    Raises:
        UsageError: the name of the file does not say which.
    """
    if path is None:
        return None
    from wearcast.datasets.quality.metrics import json_line, prometheus_text
    from wearcast.errors import UsageError
    from wearcast.writing import write_whole

    if path.suffix == ".prom":
        return lambda quality: write_whole(path, prometheus_text(quality).encode())
    if path.suffix not in _JSON:
        raise UsageError(f"{path.name!r} says no format", where="--metrics", hint="end it in .prom, .json or .jsonl")

    def add(quality: QualityReport) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json_line(quality))
        except OSError as error:
            raise UsageError(f"cannot be written: {error.strerror or error}", where=str(path)) from error

    return add


def show(quality: QualityReport) -> None:
    """The quality of a fleet as tables on stdout."""
    from wearcast.cli.output import print_table

    sizes = quality.readings_per_unit
    lives = f"{sizes[0]} to {sizes[2]}, half have {sizes[1]} or fewer" if sizes else "none"
    facts = [
        ["units", f"{quality.units}: {quality.failed} failed, {quality.censored} still running"],
        ["readings", f"{quality.rows:,}"],
        ["readings of a unit", lives],
        ["unit of time", quality.time_unit],
        ["judged for", f"target {quality.target}"],
    ]
    if quality.time is not None:
        time = quality.time
        unit = time.unit if time.step == 1 else f"{time.unit}s"
        facts.append(["step", f"{time.step:g} {unit}, {time.jitter_share:.1%} are off it, {time.gaps:,} gaps"])
    print_table(quality.name, ["", ""], facts)
    columns = [
        [
            *(
                f"{c.name} ({c.unit_of_measure})" if c.unit_of_measure else c.name,
                f"{c.missing_share:.1%}",
                _number(c.minimum),
                _number(c.mean),
                _number(c.maximum),
            ),
            *(c.longest_run, c.out_of_range, c.outliers, _number(c.drift)),
        ]
        for c in quality.columns
    ]
    names = ["column", "missing", "min", "mean", "max", "longest still", "impossible", "far out", "change"]
    print_table("Columns", names, columns)
    for label in quality.labels:
        rows = [[name, f"{n:,}", units] for name, n, units in label.classes]
        print_table(f"Label {label.name}", ["class", "readings", "units"], rows)
    if quality.findings:
        found = [[f.severity, f.where, "; ".join([f.what, *f.examples[:1]]), f.hint or ""] for f in quality.findings]
        print_table("Findings", ["", "where", "what", "what to do"], found)
    if quality.unassessed:
        print_table("Not looked at", ["what", "why"], [[item.what, item.why] for item in quality.unassessed])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
