"""The border: help, exit codes, one line an error, and how fast it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer
from tests.unit.cli.conftest import Run

import wearcast
from wearcast import cli
from wearcast.cli.app import app
from wearcast.errors import BundleError, DataError, WearcastError


def leaves(command: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    """Every command and subcommand."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(path, command)]
    return [leaf for name, child in inner.items() for leaf in leaves(child, (*path, name))]


COMMANDS = leaves(typer.main.get_command(app))


def test_all_commands_are_there():
    names = {" ".join(path) for path, _ in COMMANDS}
    assert names == {
        "demo", "train", "evaluate", "predict", "compare", "select", "benchmark",
        "datasets list", "datasets info", "datasets fetch", "datasets check",
        "config check", "config show", "config schema", "config recipes", "serve",
        "registry list", "registry show", "registry register", "registry promote", "registry rollback", "registry diff",
        "registry lineage", "auth client create", "auth client list", "auth client rotate", "auth client revoke",
        "auth key rotate", "auth audit",
    }  # fmt: skip


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], run: Run):
    ran = run(*path, "--help")
    assert ran.code == 0
    assert f"wearcast {' '.join(path)}" in ran.out.partition("Example:")[2]


@pytest.mark.parametrize("command", [command for _, command in COMMANDS], ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_flag_is_explained(command: object):
    unexplained = [p.name for p in command.params if not p.help]  # type: ignore[attr-defined]
    assert unexplained == []


def test_help_and_version(run: Run):
    assert "wearcast demo" in run("--help").out
    assert run("--version").out.strip() == f"wearcast {wearcast.__version__}"
    assert run("-h").code == 0


def test_no_command_shows_the_help(run: Run):
    for words in ((), ("datasets",), ("config",)):
        ran = run(*words)
        assert ran.code == 2
        assert "Commands:" in ran.err


def test_nothing_heavy_is_imported_for_the_help():
    code = (
        "import sys\nfrom wearcast.cli import main\nmain(['--help'])\n"
        "heavy = {'polars', 'pydantic', 'numpy', 'torch', 'rich', 'yaml', 'lightgbm', 'onnxruntime', 'lightning'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "say"),
    [
        (("trian",), "No such command 'trian'"),
        (("train",), "Missing argument 'RECIPE_OR_FILE'"),
        (("train", "tft", "--sed", "1"), "No such option: --sed"),
        (("train", "tft", "--seed", "x"), "--seed"),
        (("train", "tft", "--seed", "-1"), "--seed"),
        (("predict", "x"), "Missing argument"),
        (("predict", "x", "y", "--format", "xlsx"), "csv"),
        (("predict", "x", "y", "--every", "0"), "--every"),
        (("config", "check"), "RECIPE_OR_FILE"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(words: tuple[str, ...], say: str, run: Run):
    ran = run(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert say in ran.err
    assert "--help" in ran.err


def failing(error: BaseException):
    def command(arguments: list[str]) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("row 3 is text", where="a.csv", hint="mend it"), 3, "error: a.csv: row 3 is text (mend it)"),
        (BundleError("no bundle"), 4, "error: no bundle"),
        (WearcastError("odd"), 1, "error: odd"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (MemoryError(), 1, "error: out of memory"),
        (OSError(28, "No space left on device", "/x/y"), 1, "error: /x/y: No space left on device"),
        (ZeroDivisionError("a\nb"), 1, f"error: ZeroDivisionError: a b; {cli.BUG}"),
    ],
)
def test_every_error_is_one_line_and_its_exit_code(
    error: BaseException, code: int, line: str, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cli, "_run", failing(error))
    ran = run("demo")
    assert (ran.code, ran.err) == (code, f"{line}\n")


def test_debug_shows_the_traceback_wherever_it_stands(run: Run, monkeypatch: pytest.MonkeyPatch):
    assert "Traceback" not in run("config", "show", "nothing").err
    for words in (("--debug", "config", "show", "nothing"), ("config", "show", "nothing", "--debug")):
        ran = run(*words)
        assert ran.code == 2
        assert "Traceback" in ran.err
        assert ran.err.splitlines()[-1].startswith("error: ")
    # after `--` it is an argument like any other
    assert "there is no recipe '--debug'" in run("config", "show", "--", "--debug").err


def test_a_reader_that_goes_away_is_no_error():
    code = "import sys\nfrom wearcast.cli import main\nsys.exit(main(['config', 'schema']))"
    command = f'{sys.executable} -c "{code}" | head -c 1'
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert ran.stdout == "{"
    assert "Traceback" not in ran.stderr


def test_log_lines_go_to_stderr_from_the_level_that_was_asked_for(capsys: pytest.CaptureFixture[str]):
    from wearcast.logging import configure, logger

    configure("warning")
    logger.info("not heard")
    configure("info")
    logger.getChild("here").info("heard")
    configure("warning")
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "INFO wearcast.here: heard\n")


def test_threads_that_wait_sleep_soon_unless_the_user_says_how(monkeypatch: pytest.MonkeyPatch):
    """Beside other work a training would take many times as long; libgomp reads it when torch is imported."""
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert cli.main(["--version"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert cli.main(["--version"]) == 0
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert cli.main(["--version"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == "3000"
