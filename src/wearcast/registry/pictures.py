"""Pictures of a run, for those who look at it in MLflow's pages."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from wearcast.errors import require

__all__ = ["learning_curve"]


def learning_curve(history: Sequence[Mapping[str, float]], title: str) -> bytes:
    """Loss and validation error by epoch, as PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = [name for name in history[0] if name not in ("epoch", "learning_rate", "lr")]
    figure = require("matplotlib.figure", extra="report").Figure(figsize=(7, 1.9 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 1, squeeze=False, sharex=True).ravel()
    epochs = [row.get("epoch", index) for index, row in enumerate(history)]
    for one, name in zip(axes, names, strict=True):
        one.plot(epochs, [row.get(name, float("nan")) for row in history], lw=1.6)
        one.set_ylabel(name)
        one.grid(alpha=0.3)
    axes[0].set_title(title)
    axes[-1].set_xlabel("epoch")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()
