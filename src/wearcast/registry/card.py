"""The model card of a bundle: Markdown that a registry shows, for a person who has to decide whether to use it."""

from __future__ import annotations

from wearcast.bundle import Bundle, EnsembleManifest, ModelManifest
from wearcast.target import FailureTarget, FaultTarget, RulTarget, SensorTarget, Target

__all__ = ["model_card"]

LONGEST = 5000
"""Characters that MLflow's column takes."""


def model_card(bundle: Bundle) -> str:
    """Intended use, data, protocol, figures and limits of a bundle, in Markdown."""
    parts = [_use(bundle), _data(bundle), _protocol(bundle), _figures(bundle), _limits(bundle)]
    text = "\n\n".join(parts)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]}\n…"


def _use(bundle: Bundle) -> str:
    manifest = bundle.manifest
    columns = bundle.columns
    shown = ", ".join(f"`{column}`" for column in columns[:30]) + (" …" if len(columns) > 30 else "")
    return (
        f"# {manifest.name}\n\n**Intended use.** {_forecasts(manifest.target, _time_unit(bundle))} It is for units "
        f"of the kind that it learnt from, read as then. It needs {len(columns)} columns: {shown}."
    )


def _forecasts(target: Target, unit: str) -> str:
    if isinstance(target, RulTarget):
        return f"Forecasts the remaining useful life in {unit}s, up to {target.max_rul:g}, as a distribution."
    if isinstance(target, FailureTarget):
        what = f"within {target.horizon:g} {unit}s" if target.horizon is not None else f"by the label `{target.label}`"
        return f"Forecasts the probability of a failure {what}, and an alarm."
    if isinstance(target, FaultTarget):
        return f"Tells which fault there is: {', '.join(target.classes)}."
    assert isinstance(target, SensorTarget)  # noqa: S101 - the union has no other
    return f"Forecasts future values of {', '.join(target.columns)}, with intervals."


def _data(bundle: Bundle) -> str:
    data = bundle.manifest.data
    held = f", {len(data.validation_units)} held out" if data.validation_units else ", cross-fitted by folds"
    notes = "".join(f"\n- {note}" for note in data.notes[:5])
    return (
        f"**Data.** {data.name}, fingerprint `{data.fingerprint}`: {len(data.train_units)} units, {data.train_rows} "
        f"readings trained on{held}.{notes}"
    )


def _protocol(bundle: Bundle) -> str:
    manifest = bundle.manifest
    how = "An ensemble; weights and calibration were learnt on folds of units that its models had not seen."
    if isinstance(manifest, ModelManifest):
        kind = manifest.experiment.get("backbone", {}).get("kind", "model")
        how = f"One model, `{kind}`, calibrated and measured on readings that it had not learnt from."
    return f"**Protocol.** {how} Seed {manifest.seed}, Wearcast {manifest.versions.get('wearcast', '?')}."


def _figures(bundle: Bundle) -> str:
    rows = "".join(f"\n| {name} | {value:.4g} |" for name, value in bundle.manifest.metrics.items())
    if not rows:
        return "**Held-out figures.** None: no end of life among the units held out was seen."
    return f"**Held-out figures.**\n\n| figure | value |\n|---|---|{rows}"


def _limits(bundle: Bundle) -> str:
    manifest = bundle.manifest
    lines = [
        "Readings far outside of what it learnt from are clipped and flagged; so are short histories.",
        "Operating conditions that were not in training are flagged; its figures do not hold for them.",
    ]
    share = manifest.metrics.get("validation_coverage_90")
    if share is not None:
        lines.append(f"Its 90 % interval held {share:.1%} of the held-out truths.")
    if isinstance(manifest.target, RulTarget):
        lines.append(f"The expected life stops at {manifest.target.max_rul:g}: beyond, a unit counts as healthy.")
    if isinstance(manifest, EnsembleManifest):
        lines.append(f"It runs {len(manifest.models)} models a forecast.")
    return "**Limits.**\n" + "\n".join(f"- {line}" for line in lines)


def _time_unit(bundle: Bundle) -> str:
    first = (bundle.models or (bundle,))[0].manifest
    return first.preprocessing.time_unit if isinstance(first, ModelManifest) else "cycle"
