"""Flags that several commands share, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

__all__ = ["Json", "MappingFlags", "Overrides", "Seed", "Source", "Split", "Workers", "mapped"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of tables.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as window.stride=2. Repeatable."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of every random choice.")]
Source = Annotated[
    str | None,
    typer.Option(
        "--source", metavar="SOURCE", help="A data set (cmapss/FD001), a file, a glob, a folder, a URL or lookout:PATH."
    ),
]
Split = Annotated[
    str | None,
    typer.Option("--split", help="train, test or all; unless given, the test split of a set and all of a named file."),
]

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, metavar="N", help="Networks trained at once, each in its own process; else one a core."
    ),
]

PANEL = "Your own files"


@dataclass(frozen=True)
class MappingFlags:
    """What the user says about the columns of their own files; None where nothing was said."""

    unit: Annotated[str | None, typer.Option("--unit", metavar="COLUMN", help="Column that names the unit.")] = None
    cycle: Annotated[str | None, typer.Option("--cycle", metavar="COLUMN", help="Column that counts cycles.")] = None
    time: Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="Column of timestamps.")] = None
    time_unit: Annotated[
        str | None, typer.Option("--time-unit", help="Unit of RUL for timestamps: second, minute, hour or day.")
    ] = None
    sensors: Annotated[
        str | None, typer.Option("--sensors", metavar="A,B,…", help='Measured columns, commas between, "a,b" quoted.')
    ] = None
    settings: Annotated[
        str | None, typer.Option("--settings", metavar="A,B,…", help="Operating settings: what the operator chose.")
    ] = None
    statics: Annotated[
        str | None, typer.Option("--statics", metavar="A,B,…", help="Columns that never change within a unit.")
    ] = None
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B,…", help="Columns that hold an answer; never a feature.")
    ] = None
    end_of_life: Annotated[
        str | None,
        typer.Option("--end-of-life", help="last_row: each history ends in failure. censored: all still run."),
    ] = None
    failures: Annotated[
        str | None, typer.Option("--failures", metavar="FILE", help="Table of failures: unit, time and maybe mode.")
    ] = None
    table: Annotated[str | None, typer.Option("--table", metavar="NAME", help="Of a database: its table.")] = None
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="Of a database: a SELECT instead of a table.")
    ] = None
    on_error: Annotated[
        str | None, typer.Option("--on-error", help="CSV rows that cannot be read: fail (the default) or skip.")
    ] = None
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", metavar="FILE", help="YAML file that says all of this; flags win over it."),
    ] = None

    @property
    def given(self) -> dict[str, str]:
        """The flags that were given, as typed, without `--mapping`."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "mapping"}
        return {name: value for name, value in named.items() if value is not None}

    def __bool__(self) -> bool:
        return self.mapping is not None or bool(self.given)


def mapped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all mapping flags, and hand them to its parameter `columns` as one `MappingFlags`."""
    hints = get_type_hints(command, include_extras=True)
    flags = get_type_hints(MappingFlags, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "columns"
    ]
    extra = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=flags[field.name])
        for field in fields(MappingFlags)
    ]

    @wraps(command)
    def run(*args: Any, **values: Any) -> None:
        columns = MappingFlags(**{field.name: values.pop(field.name, None) for field in fields(MappingFlags)})
        command(*args, columns=columns, **values)

    parameters = [
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own if parameter.name not in flags),
        *extra,
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__  # its flags are not those of the command
    return run
