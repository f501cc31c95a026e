"""`wearcast auth`: clients and keys of the built-in issuer of tokens, and the record of what administrators did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wearcast.cli.options import Json

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from wearcast.service.clients import Clients, Credentials
    from wearcast.service.secrets import Secrets
    from wearcast.service.settings import Settings

__all__ = ["auth_app"]

auth_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Clients, keys and the audit of the service.")
client_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Who may ask the built-in issuer for tokens."
)
key_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys that the built-in issuer signs with.")
auth_app.add_typer(client_app, name="client")
auth_app.add_typer(key_app, name="key")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the client.")]
Profile = Annotated[
    str | None, typer.Option("--profile", metavar="dev|staging|prod", help="WEARCAST_PROFILE unless given.")
]
File = Annotated[
    Path | None,
    typer.Option(
        "--settings", metavar="FILE", help="Settings of the service, for its state_url; or WEARCAST_SETTINGS."
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept in the audit.")]


@client_app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name for it: a-z, 0-9, '.', '_' and '-'.")],
    scope: Annotated[
        str, typer.Option("--scope", metavar="A,B,…", help="What it may: forecast, write, admin, monitor.")
    ] = "forecast",
    reason: Reason = "",
    profile: Profile = None,
    settings: File = None,
    as_json: Json = False,
) -> None:
    """Make a client; its secret is shown once and kept as a hash only.

    \b
    Example:  wearcast auth client create plant-historian --scope forecast,write
    """  # noqa: D301
    scopes = [word.strip() for word in scope.split(",") if word.strip()]
    with _state(profile, settings) as state, state.acting("client.create", name, reason or f"scope {scope}"):
        _show(state.clients().create(name, scopes), as_json=as_json, scopes=sorted(scopes))


@client_app.command("list")
def list_clients(profile: Profile = None, settings: File = None, as_json: Json = False) -> None:
    """Show the clients, those that were revoked too; never a secret.

    \b
    Example:  wearcast auth client list --json
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table

    with _state(profile, settings) as state:
        found = state.clients().all()
    rows = [
        {
            "id": client.id,
            "name": client.name,
            "scopes": sorted(client.scopes),
            "secrets": client.secrets,
            "created": _stamp(client.created),
            "revoked": _stamp(client.revoked),
        }
        for client in found
    ]
    if as_json:
        print_json({"clients": rows})
        return
    shown = [[*(" ".join(v) if isinstance(v, list) else v or "" for v in row.values())] for row in rows]
    print_table(None, ["id", "name", "scopes", "secrets", "created", "revoked"], shown)


@client_app.command()
def rotate(
    name: Name,
    overlap_hours: Annotated[
        float, typer.Option("--overlap-hours", min=0, max=24 * 90, help="How long the old secret is still good.")
    ] = 24.0,
    reason: Reason = "",
    profile: Profile = None,
    settings: File = None,
    as_json: Json = False,
) -> None:
    """Give a client a new secret; the old one is good for a while longer, so that it can be exchanged in between.

    \b
    Example:  wearcast auth client rotate plant-historian --overlap-hours 2
    """  # noqa: D301
    with _state(profile, settings) as state, state.acting("client.rotate", name, reason):
        _show(state.clients().rotate(name, overlap_s=overlap_hours * 3_600), as_json=as_json)


@client_app.command()
def revoke(
    name: Name, reason: Reason = "", profile: Profile = None, settings: File = None, as_json: Json = False
) -> None:
    """End a client at once: its secrets, and within seconds the tokens that it has.

    \b
    Example:  wearcast auth client revoke plant-historian --reason "left the company"
    """  # noqa: D301
    from wearcast.cli.output import print_json, say

    with _state(profile, settings) as state, state.acting("client.revoke", name, reason):
        client = state.clients().revoke(name)
    if as_json:
        print_json({"id": client, "revoked": True})
    else:
        say(f"revoked: {client}")


@key_app.command("rotate")
def rotate_key(reason: Reason = "", profile: Profile = None, settings: File = None, as_json: Json = False) -> None:
    """Sign with a new key from now on; tokens of the old one are good until they end.

    \b
    Example:  wearcast auth key rotate --profile prod --settings service.yaml
    """  # noqa: D301
    from wearcast.cli.output import print_json, say
    from wearcast.errors import UsageError
    from wearcast.service.issuer import StoredKeys, signing_keys

    with _state(profile, settings) as state, state.acting("key.rotate", "signing key", reason):
        keys = signing_keys(state.settings, state.engine, state.keeper)
        if not isinstance(keys, StoredKeys):
            hint = "put the new key in front of the old one there"
            raise UsageError("the signing key is kept where auth.signing_key says", hint=hint)
        kid = keys.rotate()
    if as_json:
        print_json({"kid": kid})
    else:
        say(f"signing with {kid}")


@auth_app.command()
def audit(
    verify: Annotated[bool, typer.Option("--verify", help="Check that no entry was changed or taken out.")] = False,
    number: Annotated[int, typer.Option("--number", min=0, help="An entry that a log line told …")] = 0,
    hash_: Annotated[str | None, typer.Option("--hash", metavar="HEX", help="… and its hash there.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Entries after this number.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 100,
    profile: Profile = None,
    settings: File = None,
    as_json: Json = False,
) -> None:
    """Show what administrators did, or check that the record of it is whole.

    \b
    Example:  wearcast auth audit --verify
    """  # noqa: D301
    from dataclasses import asdict

    from wearcast.cli.output import print_json, print_table, say
    from wearcast.errors import DataError
    from wearcast.service.audit import Audit

    with _state(profile, settings) as state:
        record = Audit(state.engine)
        found = record.verify(number=number, hash=hash_) if verify else []
        entries = [] if verify else record.entries(after=after, limit=limit)
    if found:
        raise DataError("the record is not whole:\n  " + "\n  ".join(found), where="audit")
    if verify:
        say("whole: no entry was changed or taken out")
    elif as_json:
        print_json({"entries": [asdict(entry) for entry in entries]})
    else:
        columns = ["number", "time", "who", "act", "subject", "origin", "result", "reason"]
        print_table(None, columns, [[getattr(entry, column) for column in columns] for entry in entries])


# ------------------------------------------------------------------ what the commands share


class _State:
    """The state of the service, opened for one command."""

    def __init__(self, settings: Settings, engine: Engine, keeper: Secrets) -> None:
        self.settings = settings
        self.engine = engine
        self.keeper = keeper

    def clients(self) -> Clients:
        """The store of clients."""
        from wearcast.service.clients import Clients

        return Clients(self.engine)

    @contextmanager
    def acting(self, act: str, subject: str, reason: str) -> Iterator[None]:
        """Write an act down, also one that is refused."""
        from wearcast.errors import WearcastError
        from wearcast.service.audit import Audit

        record, who = Audit(self.engine), _user()
        try:
            yield
        except WearcastError as error:
            record.record(who, act, subject, origin="command line", result="refused", reason=error.what)
            raise
        record.record(who, act, subject, origin="command line", result="done", reason=reason)


@contextmanager
def _state(profile: str | None, file: Path | None) -> Iterator[_State]:
    from wearcast.errors import require

    require("sqlalchemy", extra="serve")
    require("joserfc", extra="serve")
    # Their tables are to be made with the state.
    from wearcast.service import audit, clients, database, issuer  # noqa: F401
    from wearcast.service.loading import load_settings
    from wearcast.service.secrets import Secrets

    settings = load_settings(profile, file)
    keeper = Secrets(settings.vault)
    engine = database.open(keeper.reveal(settings.state_url))
    try:
        yield _State(settings, engine, keeper)
    finally:
        engine.dispose()


def _user() -> str:
    """Who sits at the command line, as far as the machine knows."""
    import getpass
    import os

    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError, ImportError):  # no such user in a container
        return f"uid {os.getuid()} (command line)"


def _show(given: Credentials, *, as_json: bool, scopes: list[str] | None = None) -> None:
    from wearcast.cli.output import print_json, say

    secret = given.secret.get_secret_value()
    if as_json:
        print_json({"id": given.id, "secret": secret} | ({"scopes": scopes} if scopes else {}))
        return
    typer.echo(f"id      {given.id}")
    typer.echo(f"secret  {secret}")
    say("the secret is not shown again")


def _stamp(seconds: float | None) -> str | None:
    from datetime import UTC, datetime

    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
