"""The names that users import, and what importing them costs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

import wearcast


def test_all_is_sorted_and_is_what_dir_shows() -> None:
    assert sorted(wearcast.__all__) == wearcast.__all__
    assert dir(wearcast) == wearcast.__all__


def test_every_lazy_name_is_public_and_the_other_way_round() -> None:
    assert {*wearcast._HOMES, "__version__"} == set(wearcast.__all__)


@pytest.mark.parametrize("name", [name for name in wearcast.__all__ if name != "__version__"])
def test_every_public_name_is_documented_and_exported_by_its_home(name: str) -> None:
    public = getattr(wearcast, name)
    home = importlib.import_module(wearcast._HOMES[name])
    assert public is getattr(home, name)
    assert name in home.__all__
    assert (public.__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'flete'"):
        _ = wearcast.flete


def test_the_version_is_a_release_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", wearcast.__version__)


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running the code."""
    script = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert loaded_after("import wearcast").isdisjoint({"numpy", "polars", "pydantic", "torch"})


def test_reading_data_and_loading_a_bundle_need_no_torch() -> None:
    loaded = loaded_after("from wearcast import Fleet, Forecast, load_bundle, load_dataset")
    assert "polars" in loaded
    assert loaded.isdisjoint({"lightgbm", "lightning", "matplotlib", "pandas", "pyarrow", "torch"})
