"""Everything that Wearcast refuses, as one tree.

    WearcastError                 1  anything else
    ├── UsageError                2  the call is wrong
    │   ├── ConfigError              an experiment or a setting is wrong
    │   └── MissingExtraError        an optional dependency is not installed
    ├── DataError                 3  the data are wrong
    │   ├── SourceNotFoundError      no such file, folder or data set
    │   ├── FormatError              the bytes are not what they should be
    │   └── FleetError               the rows are readable but contradict each other
    └── ModelError                4  the model or its artefact is wrong
        ├── TrainingError
        ├── ExportError
        ├── BundleError
        │   ├── BundleCorruptError
        │   └── BundleVersionError
        └── RegistryError
            ├── NoRegistryError            what is named as one is none, or lets nobody in
            ├── NotRegisteredError         no such model, version or alias
            └── RegistryUnavailableError   it may work a moment later

The number is the exit code of the command line. A message says *what* is wrong, `where` says in which
file, row, column or unit, and `hint` says how to mend it.
"""

from __future__ import annotations

import importlib
import re
from types import ModuleType

__all__ = [
    "BundleCorruptError",
    "BundleError",
    "BundleVersionError",
    "ConfigError",
    "DataError",
    "ExportError",
    "FleetError",
    "FormatError",
    "MissingExtraError",
    "ModelError",
    "NoRegistryError",
    "NotRegisteredError",
    "RegistryError",
    "RegistryUnavailableError",
    "SourceNotFoundError",
    "TrainingError",
    "UsageError",
    "WearcastError",
    "require",
]


class WearcastError(Exception):
    """Base of every error that Wearcast raises on purpose."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        what = _printable(self.what, but="\n")  # several complaints about one file are one a line
        text = f"{_printable(self.where)}: {what}" if self.where else what
        return f"{text} ({_printable(self.hint)})" if self.hint else text


def _printable(text: str, *, but: str = "") -> str:
    """Control characters, which a name in foreign data may hold, as escapes: they could rewrite the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: found[0] if found[0] in but else repr(found[0])[1:-1], text)


class UsageError(WearcastError):
    """The command, flag or argument is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """An experiment or a setting is wrong."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed."""


class DataError(WearcastError):
    """The data are wrong."""

    exit_code = 3


class SourceNotFoundError(DataError):
    """There is no such file, folder or data set."""


class FormatError(DataError):
    """The bytes are not what they should be: truncated, not a number, wrong columns."""


class FleetError(DataError):
    """The rows can be read but contradict each other or the schema."""


class ModelError(WearcastError):
    """The model or its artefact is wrong."""

    exit_code = 4


class TrainingError(ModelError):
    """Training cannot start or go on."""


class ExportError(ModelError):
    """The exported graph does not say what the model says."""


class BundleError(ModelError):
    """A bundle cannot be read or written."""


class BundleCorruptError(BundleError):
    """A bundle's file is missing or its bytes have changed."""


class BundleVersionError(BundleError):
    """A bundle was written by a newer Wearcast."""


class RegistryError(ModelError):
    """The model registry has no such thing, or holds something that cannot be relied on."""


class NoRegistryError(RegistryError):
    """What is named as the model registry is not there, is something else, or does not let us in."""


class NotRegisteredError(RegistryError):
    """The model registry has no such model, version or alias."""


class RegistryUnavailableError(RegistryError):
    """The model registry does not answer, or is busy; the same call may work a moment later."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency, or say which install line brings it.

    Raises:
        MissingExtraError: `module` cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs the package {module.split('.', maxsplit=1)[0]!r}, which is not installed",
            hint=f"pip install 'wearcast[{extra}]'",
        ) from error
