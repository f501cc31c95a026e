"""From a fleet to windows: split by unit, scale per operating condition, slice by index."""

from wearcast.windows.channels import Calendar, Channels
from wearcast.windows.conditions import OperatingConditions
from wearcast.windows.preprocessing import Preprocessing
from wearcast.windows.slicing import WindowBatch, Windows, WindowSpec
from wearcast.windows.splits import SplitSpec, UnitSplit, split_folds, split_units

__all__ = [
    "Calendar",
    "Channels",
    "OperatingConditions",
    "Preprocessing",
    "SplitSpec",
    "UnitSplit",
    "WindowBatch",
    "WindowSpec",
    "Windows",
    "split_folds",
    "split_units",
]
