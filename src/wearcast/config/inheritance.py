"""One document out of many: `extends`, deep merge and `--set` overrides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from wearcast.config import nearest
from wearcast.config.document import Document, Place, Trail, dotted, read, read_text
from wearcast.errors import ConfigError

__all__ = ["EXTENDS", "Find", "from_mapping", "load", "merge", "overrides", "put", "replace"]

EXTENDS = "extends"
Find = Callable[[str], Path]
"""Gives the file of a named document, or raises a `ConfigError`."""


def merge(base: Document, top: Document) -> Document:
    """`top` over `base`: mappings merge key by key, everything else replaces.

    A mapping whose `kind` differs from the one below replaces it whole: the keys of a TFT mean nothing to a
    CNN-BiLSTM. Keys keep the order of `base`, new ones follow.
    """
    places: dict[Trail, Place] = {(): top.place(())}
    data = _merge_mappings(base, top, (), places)
    return Document(data, places)


def _merge_mappings(base: Document, top: Document, trail: Trail, places: dict[Trail, Place]) -> dict[str, Any]:
    below, above = _at(base.data, trail), _at(top.data, trail)
    merged: dict[str, Any] = {}
    for key in [*below, *(key for key in above if key not in below)]:
        here = (*trail, key)
        if key not in above:
            merged[key] = below[key]
            _copy_places(base, here, places)
        elif key in below and _mergeable(below[key], above[key]):
            places[here] = top.place(here)
            merged[key] = _merge_mappings(base, top, here, places)
        else:
            merged[key] = above[key]
            _copy_places(top, here, places)
    return merged


def _at(data: Any, trail: Trail) -> dict[str, Any]:
    for step in trail:
        data = data[step]
    return dict(data)


def _mergeable(below: Any, above: Any) -> bool:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return False
    return "kind" not in above or "kind" not in below or above["kind"] == below["kind"]


def _copy_places(source: Document, trail: Trail, places: dict[Trail, Place]) -> None:
    depth = len(trail)
    for known, place in source.places.items():
        if known[:depth] == trail:
            places[known] = place


def load(reference: str | Path, *, find: Find | None = None) -> Document:
    """Read a file, or a document that `find` knows by name, with everything that it extends.

    `extends` names one document or a list of them, later ones over earlier ones. A reference with a slash or a
    `.yaml` ending is a path, relative to the file that says it; anything else is a name.

    Raises:
        ConfigError: a file is missing or wrong, or `extends` goes in a circle.
    """
    return _load(_locate(str(reference), Path(), find, None), find, ())


def _locate(reference: str, folder: Path, find: Find | None, where: Place | None) -> Path:
    if reference.endswith((".yaml", ".yml")) or "/" in reference or "\\" in reference:
        return folder / Path(reference).expanduser()
    if find is None:
        raise ConfigError(
            f"{reference!r} is a name, and only paths are known here",
            where=str(where) if where else None,
            hint=f"for a file write ./{reference}",
        )
    try:
        return find(reference)
    except ConfigError as error:
        if where is None:
            raise
        raise ConfigError(error.what, where=str(where), hint=error.hint) from error


def _read(path: Path, where: Place | None) -> Document:
    """A file, or the complaint that there is none, with who asked for it and what is there instead."""
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        said = f"{EXTENDS}: there is no file {path}" if where else "no such file"
        raise ConfigError(said, where=str(where or path), hint=nearest(path.name, beside))
    return read(path)


def _load(path: Path, find: Find | None, chain: tuple[Path, ...], where: Place | None = None) -> Document:
    if any(_same(path, earlier) for earlier in chain):
        raise ConfigError(
            f"extends goes in a circle: {' → '.join(step.name for step in (*chain, path))}", where=str(chain[-1])
        )
    return _extended(_read(path, where), path.parent, find, (*chain, path))


def _extended(own: Document, folder: Path, find: Find | None, chain: tuple[Path, ...]) -> Document:
    """A document over all that it extends, after the same is done with the mappings in it."""
    for key, value in own.data.items():
        if isinstance(value, Mapping) and key != EXTENDS:
            own = put(own, (key,), _extended(_part(own, key), folder, find, chain), ())
    if EXTENDS not in own.data:
        return own
    said = own.place((EXTENDS,))
    parents = own.data[EXTENDS]
    names = [parents] if isinstance(parents, str) else parents
    if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
        raise ConfigError(f"{EXTENDS}: expected a name, a path or a list of them, got {parents!r}", where=str(said))
    merged = Document({})
    for name in names:
        merged = merge(merged, _load(_locate(name, folder, find, said), find, chain, said))
    rest = {key: value for key, value in own.data.items() if key != EXTENDS}
    places = {trail: place for trail, place in own.places.items() if trail[:1] != (EXTENDS,)}
    return merge(merged, Document(rest, places))


def _part(document: Document, key: str) -> Document:
    """The mapping under a key, as a document of its own."""
    places = {trail[1:]: place for trail, place in document.places.items() if trail[:1] == (key,)}
    return Document(document.data[key], {(): document.place((key,)), **places})


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def from_mapping(data: Mapping[str, Any], source: str) -> Document:
    """Plain data that came from nowhere with lines, such as a flag or a bundle's manifest."""
    return Document(dict(data), {(): Place(source)})


def replace(document: Document, key: str, value: Any, source: str) -> Document:
    """The document with one key of the top replaced whole, as `source` says."""
    return put(document, (key,), Document({key: value}, {(key,): Place(source)}), (key,))


def put(document: Document, trail: Trail, other: Document, there: Trail) -> Document:
    """The document with the value at `trail` replaced whole by the one at `there` in another; mappings lead to it."""
    value: Any = other.data
    for step in there:
        value = value[step]

    around: list[Any] = [document.data]
    for step in trail[:-1]:
        around.append(around[-1][step])
    data: Any = {**around[-1], trail[-1]: value}
    for mapping, step in zip(around[-2::-1], trail[-2::-1], strict=True):
        data = {**mapping, step: data}
    places = {old: place for old, place in document.places.items() if old[: len(trail)] != trail}
    places |= {trail + old[len(there) :]: place for old, place in other.places.items() if old[: len(there)] == there}
    return Document(data, places)


def overrides(document: Document, assignments: Iterable[str]) -> Document:
    """The document with `a.b=value` laid over it, one after the other; values are read as YAML.

    Raises:
        ConfigError: an assignment without `=`, a value that is not YAML, or a path through a scalar or list.
    """
    for assignment in assignments:
        flag = f"--set {assignment}"
        path, equals, text = assignment.partition("=")
        steps = tuple(step.strip() for step in path.split("."))
        if not equals or not all(steps):
            raise ConfigError("expected KEY=VALUE with dots between the keys", where=flag, hint="--set window.stride=2")
        if steps[0] == EXTENDS:
            raise ConfigError("extends is resolved before --set and cannot be set", where=flag)
        value, _ = read_text(text, flag)
        _check_path(document, steps, flag)
        nested: Any = value
        for step in reversed(steps):
            nested = {step: nested}
        places: dict[Trail, Place] = {steps[:end]: Place(flag) for end in range(len(steps) + 1)}
        document = merge(document, Document(nested, places))
    return document


def _check_path(document: Document, steps: tuple[str, ...], flag: str) -> None:
    data: Any = document.data
    for i, step in enumerate(steps[:-1]):
        data = data.get(step) if isinstance(data, Mapping) else None
        if data is None:
            return
        if not isinstance(data, Mapping):
            kind = "a list" if isinstance(data, list) else f"{data!r}"
            raise ConfigError(
                f"{dotted(steps[: i + 1])} is {kind}, so it has no key {steps[i + 1]!r}",
                where=flag,
                hint=f"set it whole: --set {dotted(steps[: i + 1])}=…",
            )
