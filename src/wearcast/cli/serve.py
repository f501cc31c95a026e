"""`wearcast serve`: forecasts over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["serve"]

_EXTRA = ("fastapi", "uvicorn", "uvloop", "httptools", "structlog", "sqlalchemy", "joserfc", "prometheus_client")


def serve(
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="dev|staging|prod", help="What is checked, and the defaults.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="H", help="Address to serve on.")] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="P", help="Port; 0 takes any that is free.")] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Serve this folder, without a registry.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME@ALIAS", help="Serve what the registry calls so.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", metavar="FILE", help="Settings as YAML; WEARCAST_SETTINGS unless given."),
    ] = None,
) -> None:
    """Answer forecasts over HTTP until SIGTERM, then finish what has come and end.

    In the profile dev, which is the default, everything is open, on this machine only.

    \b
    Example:  wearcast serve --bundle runs/pumps
              wearcast serve --profile prod --settings /etc/wearcast/service.yaml
              WEARCAST_SERVICE__PORT=9000 wearcast serve --model pumps@champion
    """  # noqa: D301
    _check_installed()
    from wearcast.service.loading import load_settings
    from wearcast.service.preflight import check

    chosen = load_settings(
        profile, settings, {"host": host, "port": port, "models.bundle": bundle, "models.reference": model}
    )
    check(chosen)  # before the heavy imports: what is refused is refused at once
    from wearcast.service.run import serve as run

    run(chosen)


def _check_installed() -> None:
    """Look for the packages of the extra without importing them, which `--help` and a wrong key need not wait for.

    Raises:
        MissingExtraError: one is not installed.
    """
    from importlib.util import find_spec

    from wearcast.errors import MissingExtraError

    for module in (
        "fastapi",
        "uvicorn",
        "structlog",
        "sqlalchemy",
        "joserfc",
        "prometheus_client",
        "stamina",
        "orjson",
    ):
        if find_spec(module) is None:
            what = f"this needs the package {module!r}, which is not installed"
            raise MissingExtraError(what, hint="pip install 'wearcast[serve]'")
