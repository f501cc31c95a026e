"""What every kind of registry has in common: names are resolved and bundles fetched in one way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from wearcast.errors import NotRegisteredError
from wearcast.registry.records import ModelVersion, Reference, RegisteredModel, Run

__all__ = ["Store"]


class Store(ABC):
    """A registry, and the few writes that move an alias. Each write is whole or not at all."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """Where it is, without a password."""

    @abstractmethod
    def models(self) -> tuple[str, ...]:
        """Names of the registered models, sorted."""

    @abstractmethod
    def model(self, name: str) -> RegisteredModel:
        """Aliases and tags of a model.

        Raises:
            NotRegisteredError: there is no such model.
        """

    @abstractmethod
    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Every version of a model, oldest first.

        Raises:
            NotRegisteredError: there is no such model.
        """

    @abstractmethod
    def version(self, name: str, number: str) -> ModelVersion:
        """One version of a model.

        Raises:
            NotRegisteredError: there is no such version.
        """

    @abstractmethod
    def run(self, run_id: str) -> Run:
        """What a run recorded.

        Raises:
            NotRegisteredError: there is no such run.
        """

    @abstractmethod
    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        """The directory of the bundle on this machine, every byte checked; see `RegistryReader`.

        Raises:
            RegistryError: the version has no whole bundle.
        """

    @abstractmethod
    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias stand for a version; readers see the old or the new one.

        Raises:
            NotRegisteredError: there is no such version.
        """

    @abstractmethod
    def set_tag(self, name: str, key: str, value: str) -> None:
        """Write a tag of a model.

        Raises:
            NotRegisteredError: there is no such model.
        """

    @abstractmethod
    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Write a tag of a version.

        Raises:
            NotRegisteredError: there is no such version.
        """

    @abstractmethod
    def delete_tag(self, name: str, key: str) -> None:
        """Remove a tag of a model, if it is there."""

    def resolve(self, reference: str) -> ModelVersion:
        """The version that `pumps@champion` or `pumps/3` stands for now.

        Raises:
            NotRegisteredError: there is none; the hint says which there are.
        """
        wanted = Reference.parse(reference)
        if wanted.version is not None:
            return self.version(wanted.name, wanted.version)
        aliases = self.model(wanted.name).aliases
        if wanted.alias not in aliases:
            there = ", ".join(f"{alias} (version {number})" for alias, number in sorted(aliases.items()))
            raise NotRegisteredError(
                f"{wanted.name} has no alias {wanted.alias!r}",
                hint=f"there are {there}"
                if there
                else f"no alias is set; `wearcast registry promote {wanted.name}/VERSION` sets champion",
            )
        return self.version(wanted.name, aliases[wanted.alias])

    def _no_version(self, name: str, number: str) -> NotRegisteredError:
        there = ", ".join(version.version for version in self.versions(name)[-10:])
        hint = f"there are {there}" if there else "it has no version at all"
        return NotRegisteredError(f"{name} has no version {number}", hint=hint)

    def _no_model(self, name: str) -> NotRegisteredError:
        shown = name if len(name) <= 80 else f"{name[:79]}…"
        names = ", ".join(self.models()[:10])
        return NotRegisteredError(
            f"no model is registered as {shown!r}",
            hint=f"there are {names}; `wearcast registry list` says where this was looked for"
            if names
            else "nothing is registered yet; `wearcast registry register` does it",
        )
