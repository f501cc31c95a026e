"""Reading configuration: YAML with inheritance and overrides, checked into frozen models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

__all__ = ["Strict", "nearest"]


class Strict(BaseModel):  # noqa: PLW1641 - pydantic makes the hash of a frozen model
    """Base of every configuration value: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def __eq__(self, other: object) -> bool:
        """Equal by the fields: what was worked out from them and kept is no part of the value."""
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed; what was worked out from the old ones stays behind."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy


def nearest(word: str, known: Iterable[str]) -> str | None:
    """`did you mean …?` for a misspelt word, None if nothing is near."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None
