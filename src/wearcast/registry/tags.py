"""Names of the tags that Wearcast writes to versions and models of a registry."""

from __future__ import annotations

__all__ = [
    "CODE",
    "COLUMNS",
    "COMMIT",
    "CREATED",
    "DATA",
    "DATA_FINGERPRINT",
    "GATE",
    "LOCK",
    "METRIC",
    "MODEL",
    "MOVE",
    "OVERRIDE",
    "PARENT",
    "PREFIX",
    "RECIPE",
    "RECIPE_SHA256",
    "REGISTERED_BY",
    "SEED",
    "SIZE_BYTES",
    "SUMS_SHA256",
    "TARGET",
]

PREFIX = "wearcast."

# Of a version.
SUMS_SHA256 = f"{PREFIX}sums_sha256"
"""SHA-256 of the bundle's `SHA256SUMS`: the identity of its content."""
MODEL = f"{PREFIX}model"
"""Name as forecasts carry it."""
CREATED = f"{PREFIX}trained_at"
DATA = f"{PREFIX}data"
DATA_FINGERPRINT = f"{PREFIX}data_fingerprint"
RECIPE = f"{PREFIX}recipe"
RECIPE_SHA256 = f"{PREFIX}recipe_sha256"
CODE = f"{PREFIX}code"
"""Version of Wearcast that trained it."""
COMMIT = f"{PREFIX}commit"
"""Commit of the checkout that registered it, if it was one."""
REGISTERED_BY = f"{PREFIX}registered_by"
SEED = f"{PREFIX}seed"
TARGET = f"{PREFIX}target"
"""The target as JSON."""
COLUMNS = f"{PREFIX}columns"
"""JSON list of the columns that a fleet must have."""
SIZE_BYTES = f"{PREFIX}size_bytes"
PARENT = f"{PREFIX}parent"
"""Version, or folder of the bundle, that this one comes after."""
METRIC = f"{PREFIX}metric."
"""Prefix of a held-out figure each."""
GATE = f"{PREFIX}gate"
"""What the gate said when it was last promoted, as JSON."""
OVERRIDE = f"{PREFIX}override"
"""Why a gate that said no was not obeyed."""

# Of a model.
MOVE = f"{PREFIX}move."
"""Prefix of the moves of aliases, one tag each, numbered: the history, which is only added to."""
LOCK = f"{PREFIX}lock."
"""Prefix of the marks of those who are about to move an alias."""
