"""The features of an experiment, as a discriminated union on `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wearcast.config import Strict
from wearcast.features.derived import Derived

__all__ = ["Features", "SequenceFeatures", "StatisticsFeatures"]


class _Channels(Strict):
    """The channels of each time step, whatever the model makes of them."""

    deviation: bool = Field(True, description="Add each sensor's deviation from the unit's own healthy start.")
    healthy_steps: int = Field(20, ge=1, description="Readings that make a unit's healthy start.")
    age: bool = Field(True, description="Add the time since the unit's first reading.")
    settings: bool = Field(True, description="Add the operating settings themselves.")
    derived: tuple[Derived, ...] = Field((), description="Columns computed from others, which become sensors.")


class SequenceFeatures(_Channels):
    """The channels of every step of the window, for models that read sequences."""

    kind: Literal["sequence"] = "sequence"


class StatisticsFeatures(_Channels):
    """Statistics of the window over several time scales, one row a window, for models that read tables."""

    kind: Literal["statistics"] = "statistics"
    scales: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (5, 15, 40, 100),
        description="Window lengths, in readings, of the mean, the deviation and the slope; none: the reading alone.",
    )

    @model_validator(mode="after")
    def _ascending(self) -> StatisticsFeatures:
        if list(self.scales) != sorted(set(self.scales)):
            raise ValueError(f"scales must be an ascending list without repeats, got {list(self.scales)}")
        return self


Features = Annotated[SequenceFeatures | StatisticsFeatures, Field(discriminator="kind")]
