"""`wearcast registry …`: what is registered, what is served, and how it came about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wearcast.cli.options import Json, MappingFlags, Split, mapped

if TYPE_CHECKING:
    from wearcast.registry.gate import Verdict
    from wearcast.registry.promotion import Moved
    from wearcast.registry.store import Store

__all__ = ["registry_app"]

registry_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Register bundles, promote them through a gate, and take them back.",
)

Registry = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URI",
        help="sqlite:///PATH, postgresql://… or an MLflow server's URL; else WEARCAST_REGISTRY or MLFLOW_TRACKING_URI, "
        "else a file of the user's.",
    ),
]
Version = Annotated[str, typer.Argument(metavar="NAME@ALIAS|NAME/VERSION", help="Such as pumps@champion or pumps/3.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who it is, for the history; else you, here.")]
Alias = Annotated[str, typer.Option("--alias", help="champion or challenger.")]


def _store(uri: str | None) -> Store:
    from wearcast.registry.reading import default_uri, open_store

    return open_store(uri or default_uri())


@registry_app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this model, all of its versions.")] = None,
    registry: Registry = None,
    as_json: Json = False,
) -> None:
    """List models, or the versions of one.

    \b
    Example:  wearcast registry list
              wearcast registry list pumps --json
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table, say
    from wearcast.registry import views

    store = _store(registry)
    if name is not None:
        every = views.versions(store, name)
        if as_json:
            print_json(every)
            return
        rows = [
            (
                one["version"],
                ", ".join(one["aliases"]),
                one["model"] or "",
                one["data"] or "",
                _main(one),
                one["created"],
            )
            for one in every
        ]
        print_table(name, ["version", "aliases", "model", "data", "held out", "registered"], rows)
        return
    models = views.overview(store)
    if as_json:
        print_json(models)
        return
    rows = [
        (one["name"], one["versions"], *(one["aliases"].get(a, "") for a in ("champion", "challenger")), one["latest"])
        for one in models
    ]
    print_table(None, ["model", "versions", "champion", "challenger", "latest"], rows)
    say(f"registry: {store.uri}")


@registry_app.command()
def show(version: Version, registry: Registry = None, as_json: Json = False) -> None:
    """Show a version: facts, figures, model card.

    \b
    Example:  wearcast registry show pumps@champion
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table
    from wearcast.registry import views

    found = views.facts(_store(registry).resolve(version))
    if as_json:
        print_json(found)
        return
    shown = {**found, "aliases": ", ".join(found["aliases"]), "columns": ", ".join(found["columns"] or ())}
    gate = shown.pop("gate")
    card, metrics = shown.pop("card"), shown.pop("metrics")
    shown["target"] = _target(shown["target"])
    rows = [(key.replace("_", " "), value) for key, value in shown.items() if value not in (None, "")]
    print_table(f"{found['name']}/{found['version']}", ["fact", "value"], rows)
    print_table("Held out", ["figure", "value"], list(metrics.items()))
    if gate:
        print_table("Gate", ["check", "passed", "found"], [_check_row(check) for check in gate["checks"]])
    typer.echo(card)


@registry_app.command()
def register(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `wearcast train` wrote.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Model to register it under; else its recipe's name.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="VERSION", help="Version that it comes after, for the lineage.")
    ] = None,
    registry: Registry = None,
    as_json: Json = False,
) -> None:
    """Register a bundle as a version of a model.

    The same bundle again is the same version. The first registration makes the registry, which takes some seconds.

    \b
    Example:  wearcast registry register runs/pumps --name pumps
              wearcast registry register runs/pumps-new --name pumps --parent pumps@champion
    """  # noqa: D301
    from wearcast.bundle import load_bundle
    from wearcast.cli.output import print_json, say
    from wearcast.registry.reading import default_uri
    from wearcast.registry.views import facts
    from wearcast.registry.writing import register as put

    done = put(load_bundle(bundle), name, uri=registry or default_uri(), parent=parent)
    for note in done.notes:
        say(note)
    reference = done.version.reference
    say(f"registered as {reference}" if done.new else f"it is registered already, as {reference}")
    if as_json:
        print_json({"new": done.new, **facts(done.version)})
    else:
        typer.echo(reference)
    say(f"next:   wearcast registry promote {reference}")


@registry_app.command()
@mapped
def promote(
    version: Version,
    columns: MappingFlags,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="SOURCE", help="Measure candidate and champion on this now; else held-out figures."
        ),
    ] = None,
    split: Split = None,
    alias: Alias = "champion",
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, max=10, help="Share by which a figure may be worse.")
    ] = 0.02,
    override: Annotated[
        str | None, typer.Option("--override", metavar="REASON", help="Promote it although the gate says no; recorded.")
    ] = None,
    by: By = None,
    registry: Registry = None,
    as_json: Json = False,
) -> None:
    """Promote a version, if the gate lets it through.

    The gate holds it against the champion: the bundle is whole and its graph true, target and columns fit, figures are
    not worse, the intervals cover.

    \b
    Example:  wearcast registry promote pumps/3
              wearcast registry promote pumps/3 --on new.csv --failures failures.csv
              wearcast registry promote pumps/3 --override "the old sensor is gone; agreed with operations"
    """  # noqa: D301
    from wearcast.cli.evaluate import evaluate_bundle
    from wearcast.errors import UsageError
    from wearcast.registry.promotion import check_alias, weigh
    from wearcast.registry.promotion import promote as move
    from wearcast.registry.reading import default_cache

    if on is None and (columns or split):
        raise UsageError("--split and the columns of files are for --on SOURCE", hint="give the source too")
    check_alias(alias)
    store = _store(registry)
    verdict = weigh(
        store,
        found := store.resolve(version),
        cache=default_cache(),
        on=on,
        measure=None if on is None else lambda bundle: evaluate_bundle(bundle, on, columns, split),
        tolerance=tolerance,
    )
    if not as_json:
        _print_gate(verdict)
    _report(move(store, found, verdict, alias=alias, who=by, override=override), alias, as_json=as_json)


@registry_app.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    alias: Alias = "champion",
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")] = None,
    by: By = None,
    registry: Registry = None,
    as_json: Json = False,
) -> None:
    """Put the version back that was champion before.

    \b
    Example:  wearcast registry rollback pumps --reason "false alarms since Monday"
    """  # noqa: D301
    from wearcast.registry.promotion import rollback as back
    from wearcast.registry.reading import default_cache

    _report(
        back(_store(registry), name, cache=default_cache(), alias=alias, who=by, reason=reason), alias, as_json=as_json
    )


@registry_app.command()
def diff(
    one: Version,
    other: Annotated[str, typer.Argument(metavar="NAME@ALIAS|NAME/VERSION", help="What to hold against it.")],
    registry: Registry = None,
    as_json: Json = False,
) -> None:
    """Show where two versions differ: settings, data, figures, columns, size.

    \b
    Example:  wearcast registry diff pumps@champion pumps@challenger
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table, say
    from wearcast.registry import views

    store = _store(registry)
    found = views.difference(store, store.resolve(one), store.resolve(other))
    if as_json:
        print_json(found)
        return
    heads = [found["one"], found["other"]]
    for title, part in (("Facts", "facts"), ("Experiment", "experiment"), ("Held out", "metrics")):
        if found[part] is None:
            say("the run of one of them is gone from MLflow: their settings cannot be compared")
        elif found[part]:
            rows = [(key, *("—" if value is None else value for value in pair)) for key, pair in found[part].items()]
            print_table(title, [part, *heads], rows)
    only = found["columns"]
    say("columns: the same" if not any(only.values()) else f"columns: only {heads[0]} {only['only_one']}, "
        f"only {heads[1]} {only['only_other']}")  # fmt: skip


@registry_app.command()
def lineage(version: Version, registry: Registry = None, as_json: Json = False) -> None:
    """Show where a version comes from, and when it was champion.

    \b
    Example:  wearcast registry lineage pumps@champion
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table
    from wearcast.registry import views

    store = _store(registry)
    found = views.lineage(store, store.resolve(version))
    if as_json:
        print_json({**found, "history": views.history(store, found["version"]["reference"].rpartition("/")[0])})
        return
    parents = found.pop("parents")
    spells = found.pop("aliases")
    facts = [(part, key.replace("_", " "), value) for part in ("version", "data", "recipe", "bundle")
             for key, value in found[part].items()]  # fmt: skip
    facts += [("parent", key.replace("_", " "), value) for parent in parents for key, value in parent.items()]
    rows = [(part, key, ", ".join(value) if isinstance(value, list) else value) for part, key, value in facts if value]
    before = None
    for i, (part, key, value) in enumerate(rows):  # a group is named once
        rows[i], before = ("" if part == before else part, key, value), part
    print_table(None, ["of", "what", "which"], rows)
    heads = ["alias", "since", "until", "by", "with", "reason", "ended"]
    print_table("Aliases over time", heads, [[_spell(spell, head) for head in heads] for spell in spells])


def _spell(spell: dict[str, Any], head: str) -> str:
    if head != "ended":
        return str(spell.get(head) or "")
    return ": ".join(str(spell[key]) for key in ("ended_with", "ended_reason") if spell.get(key))


def _print_gate(verdict: Verdict) -> None:
    from wearcast.cli.output import print_table

    against = f"against {verdict.champion}" if verdict.champion else "no champion yet"
    rows = [_check_row({"name": one.name, "passed": one.passed, "said": one.said}) for one in verdict.checks]
    print_table(f"Gate: {verdict.candidate}, {against}", ["check", "passed", "found"], rows)


def _check_row(check: dict[str, Any]) -> tuple[str, str, str]:
    return check["name"], {True: "yes", False: "NO", None: "—"}[check["passed"]], check["said"]


def _report(moved: Moved, alias: str, *, as_json: bool) -> None:
    from wearcast.cli.output import print_json, say

    name, now = moved.version.name, moved.version.version
    if moved.move is None:
        say(f"{name}@{alias} is version {now} already")
    else:
        say(f"{name}@{alias} is version {now} now, before it was {moved.before or 'none'}")
    if as_json:
        print_json(moved.to_dict(alias))


def _main(found: dict[str, Any]) -> str:
    """The first held-out figures, for a line of a table."""
    return ", ".join(
        f"{name.removeprefix('validation_')} {value:.4g}" for name, value in list(found["metrics"].items())[:2]
    )


def _target(target: Any) -> str:
    if not isinstance(target, dict):
        return str(target or "")
    return ", ".join(f"{key} {value}" for key, value in target.items() if value is not None)
