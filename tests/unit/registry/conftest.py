"""A registry of two bundles, made once; each test gets a copy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fixtures.registries import copy_registry, shared_registry

from wearcast.registry.reading import open_store

if TYPE_CHECKING:
    from tests.fixtures.bundles import TrainedByKind

    from wearcast.registry.store import Store


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, trained: TrainedByKind) -> Path:
    """The shared registry. Do not write."""
    return shared_registry(tmp_path_factory.getbasetemp(), trained)


@pytest.fixture
def uri(template: Path, tmp_path: Path) -> str:
    """URI of a copy of it."""
    return copy_registry(template, tmp_path / "registry")


@pytest.fixture
def store(uri: str) -> Store:
    """The copy, opened."""
    return open_store(uri)
