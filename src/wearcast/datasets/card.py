"""What a data set says about itself, declared beside its loader."""

from __future__ import annotations

from pydantic import Field

from wearcast.config import Strict

__all__ = ["DatasetCard"]


class DatasetCard(Strict):
    """Source, licence, paper and columns of a data set."""

    name: str = Field(description="What a user types, without a subset.")
    title: str
    summary: str
    subsets: tuple[str, ...] = Field((), description="Each is loaded as name/subset.")
    licence: str
    citation: str
    url: str | None = Field(None, description="Where it is published; None for a set that is made here.")
    size_bytes: int | None = Field(None, description="Roughly how much is downloaded.")
    units_of_measure: dict[str, str] = Field(default_factory=dict)
    descriptions: dict[str, str] = Field(default_factory=dict, description="What each column measures.")
    manual_steps: str | None = Field(None, description="What to do by hand where the host is out of reach.")
