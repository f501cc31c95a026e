"""Check an installed wheel without extras: it has what serving needs, and torch is not there."""

from __future__ import annotations

import importlib.util
import sys

import wearcast

for heavy in ("torch", "lightning", "lightgbm", "pandas", "matplotlib"):
    if importlib.util.find_spec(heavy) is not None:
        sys.exit(f"{heavy} is installed, but an installation without extras must not bring it")

for name in wearcast.__all__:
    getattr(wearcast, name)

print(f"wearcast {wearcast.__version__} works without torch from {wearcast.__file__}")
