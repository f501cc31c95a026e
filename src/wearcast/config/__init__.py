"""Reading configuration: YAML with inheritance and overrides, checked into frozen models."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

__all__ = ["Strict", "nearest"]


class Strict(BaseModel):
    """Base of every configuration value: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """`did you mean …?` for a misspelt word, None if nothing is near."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None
