"""Secrets by reference, from files and the environment; what goes wrong never tells the value."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from wearcast.errors import ConfigError
from wearcast.service.secrets import Secrets
from wearcast.service.settings import VaultSettings, is_reference


def refusal(reference: str, secrets: Secrets | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        (secrets or Secrets()).resolve(reference)
    return "".join(traceback.format_exception(refused.value))


def test_a_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2 \n")
    secret = Secrets().resolve(f"file:{tmp_path / 'key'}")
    assert secret.get_secret_value() == "hunter2 "
    assert "hunter2" not in repr(secret)
    assert "hunter2" not in str(secret)


def test_a_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    assert Secrets().resolve("env:MY_SECRET").get_secret_value() == "hunter2"


def test_a_secret_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("one")
    secrets = Secrets()
    assert secrets.resolve(f"file:{path}").get_secret_value() == "one"
    path.unlink()
    assert secrets.resolve(f"file:{path}").get_secret_value() == "one"


def test_a_setting_may_be_written_down_or_be_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB", "postgresql://me:hunter2@db/x")
    assert Secrets().reveal("sqlite:///x") == "sqlite:///x"
    assert Secrets().reveal("env:DB") == "postgresql://me:hunter2@db/x"


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("env:NO_SUCH_VARIABLE", "env:NO_SUCH_VARIABLE: there is no such variable"),
        ("file:/no/such/file", "file:/no/such/file: cannot be read: No such file or directory"),
        ("file:relative", "the path of a secret begins with /"),
        ("file:/", "cannot be read: Is a directory"),
        ("file:/dev/zero", "larger than 65536 bytes"),
        ("vault:path", "expected vault:path#key"),
        ("vault:a/../b#key", "expected vault:path#key"),
        ("vault:path#key", "no Vault is named"),
        ("hunter2", "not a reference to a secret"),
        ("gcp:name", "not a reference to a secret"),
    ],
)
def test_what_is_not_there_is_said(reference: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_ADDR", "VAULT_TOKEN", "NO_SUCH_VARIABLE"):
        monkeypatch.delenv(name, raising=False)
    text = refusal(reference)
    assert told in text
    assert "ConfigError: hunter2" not in text


def test_an_empty_secret_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("\n")
    monkeypatch.setenv("EMPTY", "")
    assert "the secret is empty" in refusal(f"file:{tmp_path / 'key'}")
    assert "the secret is empty" in refusal("env:EMPTY")


def test_bytes_that_are_no_text_are_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"hunter2\xff")
    text = refusal(f"file:{tmp_path / 'key'}")
    assert "not UTF-8 text" in text
    assert "hunter2" not in text


def test_a_vault_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hunter2")
    text = refusal("vault:path#key", Secrets(VaultSettings(address="http://127.0.0.1:1", timeout_s=1)))
    assert "Vault does not answer" in text
    assert "hunter2" not in text


def test_a_vault_needs_something_to_open_it_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    assert "nothing opens the Vault" in refusal("vault:path#key", Secrets(VaultSettings(address="http://127.0.0.1:1")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("file:/x", True), ("env:X", True), ("vault:a#b", True), ("aws:a", True), ("file:", False), ("sqlite:///x", False),
     ("redis://x", False), ("environment:x", False), ("", False)],
)  # fmt: skip
def test_what_a_reference_looks_like(text: str, expected: bool) -> None:
    assert is_reference(text) is expected
