"""The commands, one thin module a group; whatever is heavy is imported inside the command that needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from wearcast import __version__
from wearcast.cli.auth import auth_app
from wearcast.cli.benchmark import benchmark
from wearcast.cli.compare import compare
from wearcast.cli.config_commands import config_app
from wearcast.cli.datasets import datasets_app
from wearcast.cli.demo import demo
from wearcast.cli.evaluate import evaluate
from wearcast.cli.predict import predict
from wearcast.cli.registry import registry_app
from wearcast.cli.select import select
from wearcast.cli.serve import serve
from wearcast.cli.train import train

__all__ = ["app"]

# Plain help: rich's would cost a third of the time that `--help` may take.
app = typer.Typer(
    name="wearcast",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wearcast {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell more on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
) -> None:
    """From the sensor history of a fleet of machines to a calibrated forecast of how long each will last.

    \b
    Start here:   wearcast demo
    Your data:    wearcast datasets check pumps.csv --unit pump --time stamp --sensors flow,pressure
    Exit codes:   0 good, 2 usage or configuration, 3 data, 4 model or bundle, 1 anything else
    """  # noqa: D301 - \b keeps typer from reflowing
    from wearcast.logging import configure

    configure("debug" if debug else "info" if verbose else "warning")


app.command()(demo)
app.add_typer(datasets_app, name="datasets")
app.add_typer(config_app, name="config")
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(compare)
app.command()(select)
app.command()(benchmark)
app.command()(serve)
app.add_typer(auth_app, name="auth")
app.add_typer(registry_app, name="registry")
