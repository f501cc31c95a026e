"""The command line: `main` is its border, where every error becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from wearcast.errors import WearcastError

__all__ = ["main"]

DEBUG = "--debug"
INTERRUPTED = 130
TERMINATED = 143
"""Exit codes after Ctrl-C and SIGTERM: 128 and the number of the signal, as shells have it."""
BUG = "this is a bug in Wearcast; run it again with --debug and report what you see"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 good, 2 usage, 3 data, 4 model, 1 anything else."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    flags = given[: given.index("--")] if "--" in given else given
    debug = DEBUG in flags
    _share_cores()
    rest = [flag for flag in flags if flag != DEBUG] + given[len(flags) :]
    _open_closed_streams()
    try:
        return _run(rest)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, debug=debug)
    except SystemExit as stop:
        if stop.code != TERMINATED:
            raise
        return _fail("terminated", TERMINATED, debug=debug)
    except BrokenPipeError:
        _close_stdout()
        return 1
    except WearcastError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except Exception as error:
        return _fail(_unforeseen(error), 1, debug=debug)


def _share_cores() -> None:
    """Let threads of a training that wait for one another sleep soon.

    Left to itself, libgomp lets them loop a hundred times as long; beside other work on the same cores an epoch then
    takes many times what it takes alone.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "3000"


def _unforeseen(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {' '.join(str(error).split())}; {BUG}"


def _run(arguments: list[str]) -> int:
    import typer

    from wearcast.cli.app import app

    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="wearcast", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.TyperException as error:  # a wrong flag, argument or command name
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "wearcast"
        message = " ".join(error.format_message().split())
        shown = context.get_help() if context is not None else ""
        if message in ("", " ".join(shown.split())):  # a group without a command shows its help
            sys.stderr.write(f"{shown}\n")
            return 2
        sys.stderr.write(f"error: {message.rstrip('.')} (see `{path} --help`)\n")
        return int(getattr(error, "exit_code", 2))
    if result == INTERRUPTED:  # some releases of typer make this of a KeyboardInterrupt
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"error: {message}\n")
    return code


def _open_closed_streams() -> None:
    """Whoever closed our output wants none: write it nowhere rather than stumble over it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - lives as long as we do


def _close_stdout() -> None:
    """Whoever read our output has gone: keep the interpreter from complaining about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
