"""The error tree: exit codes, messages, and the install line of a missing extra."""

from __future__ import annotations

import pickle
import re

import pytest

from wearcast import errors
from wearcast.errors import (
    BundleCorruptError,
    BundleVersionError,
    ConfigError,
    DataError,
    ExportError,
    FleetError,
    FormatError,
    MissingExtraError,
    ModelError,
    SourceNotFoundError,
    TrainingError,
    UsageError,
    WearcastError,
    require,
)

EXIT_CODES = {
    WearcastError: 1,
    UsageError: 2,
    ConfigError: 2,
    MissingExtraError: 2,
    DataError: 3,
    SourceNotFoundError: 3,
    FormatError: 3,
    FleetError: 3,
    ModelError: 4,
    TrainingError: 4,
    ExportError: 4,
    errors.BundleError: 4,
    BundleCorruptError: 4,
    BundleVersionError: 4,
    errors.RegistryError: 4,
    errors.NoRegistryError: 4,
    errors.NotRegisteredError: 4,
    errors.RegistryUnavailableError: 4,
}


def test_every_error_of_the_module_has_its_exit_code_here() -> None:
    found = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, WearcastError)}
    assert found == set(EXIT_CODES)
    assert {error.__name__ for error in found} | {"require"} == set(errors.__all__)


@pytest.mark.parametrize(("error", "code"), EXIT_CODES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_exit_code_is_that_of_its_branch(error: type[WearcastError], code: int) -> None:
    assert error("wrong").exit_code == code


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    drawn = re.findall(r"\b\w+Error\b", errors.__doc__ or "")
    assert sorted(drawn) == sorted(error.__name__ for error in EXIT_CODES)


@pytest.mark.parametrize(
    ("where", "hint", "message"),
    [
        (None, None, "no such unit"),
        ("pumps.csv: row 3", None, "pumps.csv: row 3: no such unit"),
        (None, "name one", "no such unit (name one)"),
        ("pumps.csv", "name one", "pumps.csv: no such unit (name one)"),
    ],
)
def test_a_message_says_where_what_and_how_to_mend_it(where: str | None, hint: str | None, message: str) -> None:
    error = FleetError("no such unit", where=where, hint=hint)
    assert str(error) == message
    assert (error.what, error.where, error.hint) == ("no such unit", where, hint)


def test_an_error_survives_the_way_back_from_a_worker_process() -> None:
    error = FormatError("cut short", where="x.zip", hint="fetch it again")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(again, FormatError)
    assert (again.what, again.where, again.hint) == (error.what, error.where, error.hint)
    assert str(again) == str(error)


def test_require_returns_the_module() -> None:
    assert require("json", extra="train") is __import__("json")


def test_require_names_the_package_and_the_install_line() -> None:
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'wearcast[report]'")) as caught:
        require("no_such_package.inner", extra="report")
    assert "'no_such_package'" in caught.value.what
    assert isinstance(caught.value.__cause__, ImportError)
