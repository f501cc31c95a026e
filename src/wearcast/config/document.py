"""A YAML file as plain data plus the line of every key, so that each complaint can name its place.

YAML is read as YAML 1.2 reads it: `1e-3` is a number, `no` is a word, `010` is ten. Keys are text, tags other
than the plain ones are refused, and so are doubled keys, merge keys (`extends` does that job) and documents that
grow without bound through aliases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wearcast.errors import ConfigError

__all__ = ["Document", "Place", "Trail", "YamlLoader", "dotted", "read", "read_text"]

Trail = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000
MAX_DEPTH = 50


@dataclass(frozen=True)
class Place:
    """Where a value was written: a file and line, or a `--set` flag."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Document:
    """Plain data and the place of each value.

    Attributes:
        data: mappings, lists and scalars.
        places: the place of every key and list item, by the trail that leads there; `()` is the document.
    """

    data: Mapping[str, Any]
    places: Mapping[Trail, Place] = field(default_factory=dict)

    def place(self, trail: Trail) -> Place:
        """The place of a value, or of the nearest thing around it that was written down."""
        for end in range(len(trail), -1, -1):
            if trail[:end] in self.places:
                return self.places[trail[:end]]
        return Place("configuration")


def dotted(trail: Trail) -> str:
    """`a.b[2].c` for `("a", "b", 2, "c")`."""
    text = ""
    for step in trail:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class YamlLoader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's idea of what is a number, a boolean or null."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute


_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
# The kind of a plain scalar, the words that are of that kind, and their first letters ("\0": the empty word).
_CORE = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
)
for _name, _pattern, _first in _CORE:
    YamlLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), ["" if c == "\0" else c for c in _first]
    )


class _Reader:
    """Turns composed nodes into data, noting lines and counting values."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.places: dict[Trail, Place] = {}
        self.count = 0

    def refuse(self, node: yaml.Node, what: str, hint: str | None = None) -> ConfigError:
        return ConfigError(what, where=str(self.at(node)), hint=hint)

    def at(self, node: yaml.Node) -> Place:
        return Place(self.source, node.start_mark.line + 1)

    def value(self, node: yaml.Node, trail: Trail) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(trail) > MAX_DEPTH:
            raise self.refuse(
                node,
                f"the document holds more than {MAX_VALUES} values or is nested deeper than {MAX_DEPTH}",
                "aliases count each time they are used",
            )
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, trail)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for i, item in enumerate(node.value):
                self.places[*trail, i] = self.at(item)
                items.append(self.value(item, (*trail, i)))
            return items
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, trail: Trail) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.refuse(key_node, "a key must be a word, not a list or mapping")
            key = str(key_node.value)
            if key == "<<":
                raise self.refuse(key_node, "merge keys (<<) are not read", "use extends")
            if key in data:
                first = self.places[*trail, key].line
                raise self.refuse(key_node, f"the key {dotted((*trail, key))} is given twice, first on line {first}")
            self.places[*trail, key] = self.at(key_node)
            data[key] = self.value(value_node, (*trail, key))
        return data

    def scalar(self, node: yaml.Node) -> Any:
        text, tag = str(node.value), str(node.tag).removeprefix("tag:yaml.org,2002:")
        if tag == "str":
            return text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        try:
            if tag == "int":
                return int(text)
            if tag == "float":
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except ValueError as error:
            raise self.refuse(node, f"{text!r} is not a {tag}") from error
        raise self.refuse(node, f"the tag {node.tag} is not read", "write a plain word, number, list or mapping")


def read_text(text: str, source: str) -> tuple[Any, dict[Trail, Place]]:
    """Any YAML value and the places in it.

    Raises:
        ConfigError: not YAML, or one of the things that the module's docstring refuses.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES} characters: this is not a configuration file", where=source)
    reader = _Reader(source)
    try:
        node = yaml.compose(text, Loader=YamlLoader)
        value = None if node is None else reader.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"not YAML: {error.problem or error.context}", where=where) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}", where=source) from error
    except RecursionError as error:
        raise ConfigError("nested too deep to be a configuration", where=source) from error
    reader.places[()] = Place(source)
    return value, reader.places


def read(path: str | Path) -> Document:
    """One YAML file, whose top is a mapping, without following `extends`.

    Raises:
        ConfigError: the file cannot be read or is not a YAML mapping.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"larger than {MAX_BYTES} bytes: this is not a configuration file", where=str(path))
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError("no such file", where=str(path)) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text: byte {error.start}", where=str(path)) from error
    data, places = read_text(text, str(path))
    if not isinstance(data, dict):
        found = "nothing" if data is None else "a list" if isinstance(data, list) else f"{data!r}"
        raise ConfigError(f"expected `key: value` lines at the top, found {found}", where=str(path))
    return Document(data, places)
