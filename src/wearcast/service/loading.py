"""How the defaults of a profile, a YAML file, the environment and flags become one `Settings`; later wins.

A variable names its key by the path, two underscores a step: `WEARCAST_LIMITS__ROWS` is `limits.rows`; a key at the top
stands under `SERVICE`: `WEARCAST_SERVICE__PORT`. Names without two underscores are not ours: Kubernetes sets
`WEARCAST_PORT` by itself where a service is called wearcast. The environment is read here rather than by
pydantic-settings, which passes over a misspelt variable in silence and cannot say which one held a wrong value.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from wearcast.config import nearest
from wearcast.config.checking import parse
from wearcast.config.document import Document, Place, Trail, dotted, read, read_text
from wearcast.errors import ConfigError
from wearcast.service.settings import Profile, Settings

__all__ = ["PROFILE_VARIABLE", "SETTINGS_VARIABLE", "load_settings"]

PREFIX = "WEARCAST_"
TOP = "service"
PROFILE_VARIABLE = "WEARCAST_PROFILE"
SETTINGS_VARIABLE = "WEARCAST_SETTINGS"

# What a profile changes about the defaults of the models, which are those of staging.
_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "dev": {"auth": {"required": False}, "logs": {"format": "console"}, "tls": {"hsts_s": 0}},
    "staging": {},
    "prod": {"host": "0.0.0.0", "hosts": [], "logs": {"level": "info"}},  # noqa: S104 - behind checks; see preflight
}


def load_settings(
    profile: str | None = None,
    file: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings; the environment says what the arguments leave open.

    Args:
        profile: `dev`, `staging` or `prod`; else `WEARCAST_PROFILE`, else the file's key, else `dev`.
        file: a YAML file; else `WEARCAST_SETTINGS`.
        overrides: values by dotted path, such as `{"limits.rows": 10}`; a None is passed over.

    Raises:
        ConfigError: an unknown key or a wrong value, with its file and line, its variable or its flag.
    """
    given = _read_file(file)
    for name, trail, text in _variables():
        _put(given, trail, _value(text, _annotation(trail), name), Place(name))
    for path, value in (overrides or {}).items():
        if value is not None:
            flag = f"--{path.rsplit('.', 1)[-1].replace('_', '-')}"
            _put(given, tuple(path.split(".")), str(value) if isinstance(value, Path) else value, Place(flag))
    chosen, place = _profile(profile, given)
    data = _merged(_PRESETS[chosen], given.data) | {"profile": chosen}
    return parse(Settings, Document(data, {(): Place(f"profile {chosen}"), **given.places, ("profile",): place}))


class _Given:
    """What was written down by somebody, and where."""

    def __init__(self, data: dict[str, Any], places: dict[Trail, Place]) -> None:
        self.data = data
        self.places = places


def _read_file(file: str | Path | None) -> _Given:
    path = file or os.environ.get(SETTINGS_VARIABLE, "").strip()
    if not path:
        return _Given({}, {})
    document = read(path)
    return _Given(dict(document.data), dict(document.places))


def _profile(asked: str | None, given: _Given) -> tuple[Profile, Place]:
    candidates = (
        (asked, Place("--profile")),
        (os.environ.get(PROFILE_VARIABLE, "").strip() or None, Place(PROFILE_VARIABLE)),
        (given.data.get("profile"), given.places.get(("profile",), Place("settings"))),
        ("dev", Place("default")),
    )
    name, place = next((name, place) for name, place in candidates if name is not None)
    if not isinstance(name, str) or name not in _PRESETS:
        known = ", ".join(_PRESETS)
        hint = nearest(str(name), _PRESETS) or f"one of {known}"
        raise ConfigError(f"profile: expected one of {known}, got {name!r}", where=str(place), hint=hint)
    return typing.cast("Profile", name), place


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def _put(given: _Given, trail: Trail, value: Any, place: Place) -> None:
    data = given.data
    for i, step in enumerate(trail[:-1], start=1):
        inner = data.get(str(step))
        if inner is not None and not isinstance(inner, dict):
            where = str(given.places.get(trail[:i], Place("settings")))
            raise ConfigError(f"{dotted(trail[:i])}: expected a mapping", where=where)
        inner = dict(inner or {})  # what was read stays as it was read
        data[str(step)] = inner
        data = inner
    data[str(trail[-1])] = value
    given.places[trail] = place


# ------------------------------------------------------------------ the environment


def _variables() -> Iterator[tuple[str, Trail, str]]:
    """Each variable that is ours: its name, the path of its key, its text."""
    for name, text in sorted(os.environ.items()):
        steps = name.removeprefix(PREFIX).lower().split("__")
        if not name.startswith(PREFIX) or len(steps) == 1:
            continue
        if steps[0] == TOP:
            steps = steps[1:]
        elif steps[0] not in _sections():
            known = [f"{PREFIX}{section.upper()}__" for section in (TOP, *_sections())]
            hint = nearest(f"{PREFIX}{steps[0].upper()}__", known) or f"begins with one of {', '.join(known)}"
            raise ConfigError("no setting has this name", where=name, hint=hint)
        yield name, tuple(steps), text


def _sections() -> list[str]:
    return [name for name, field in Settings.model_fields.items() if _model(field.annotation) is not None]


def _model(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _annotation(trail: Trail) -> Any:
    """The type of a key, None where there is no such key or it lies in a free mapping."""
    here: type[BaseModel] | None = Settings
    for i, step in enumerate(trail, start=1):
        if here is None or str(step) not in here.model_fields:
            return None
        annotation = here.model_fields[str(step)].annotation
        if i == len(trail):
            return annotation
        here = _model(annotation)
    return None


def _value(text: str, annotation: Any, name: str) -> Any:
    """The text as the key's type wants it: words stay words (`0123`), lists may be written `a,b`, the rest is YAML."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    parts = get_args(annotation) if union else (annotation,)
    if any(part in (str, SecretStr, Path) for part in parts):
        return None if text == "" and type(None) in parts else text
    if any(typing.get_origin(part) is tuple for part in parts) and not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    return read_text(text, name)[0]
