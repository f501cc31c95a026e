"""What a registry holds, as plain values; and how a version is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from wearcast.errors import RegistryError

__all__ = ["ModelVersion", "Reference", "RegisteredModel", "Run", "is_name"]

LONGEST_NAME = 256  # MLflow's column
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model.

    Attributes:
        name: the registered model.
        version: its number, as text.
        aliases: names such as `champion` that stand for this version now, sorted.
        run_id: the MLflow run that it came of.
        source: where its artifacts lie, as MLflow has it.
        created: when it was registered, in UTC.
        tags: see `wearcast.registry.tags`.
        description: the model card, in Markdown.
        status: `READY`, unless MLflow is not done with it.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    run_id: str | None
    source: str
    created: datetime
    tags: dict[str, str]
    description: str
    status: str = "READY"

    @property
    def reference(self) -> str:
        """`NAME/VERSION`."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class RegisteredModel:
    """A name under which versions are registered.

    Attributes:
        name: of the model.
        aliases: version that each alias stands for.
        tags: of the model, not of its versions.
    """

    name: str
    aliases: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What an MLflow run recorded.

    Attributes:
        run_id: of the run.
        params: flattened settings.
        metrics: last value of each.
        tags: of the run.
    """

    run_id: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Reference:
    """`NAME@ALIAS` or `NAME/VERSION`, taken apart."""

    name: str
    alias: str | None = None
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference.

        Raises:
            RegistryError: it is neither of both.
        """
        shown = text if len(text) <= 80 else f"{text[:79]}…"
        hint = "write NAME@ALIAS, such as pumps@champion, or NAME/VERSION, such as pumps/3"
        name, at, alias = text.rpartition("@")
        if at:
            wrong = not _ALIAS.fullmatch(alias)
        else:
            name, _, version = text.rpartition("/")
            wrong = not _VERSION.fullmatch(version)
        if wrong or not is_name(name):
            raise RegistryError(f"not the name of a version: {shown!r}", hint=hint)
        return cls(name, alias=alias) if at else cls(name, version=version)


def is_name(name: str) -> bool:
    """Whether MLflow takes this as the name of a model."""
    plain = name.strip() == name and name not in ("", ".", "..") and not re.search(r"[/:\\\x00-\x1f\x7f]", name)
    return plain and len(name) <= LONGEST_NAME
