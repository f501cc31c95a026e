"""From a document to a frozen model, with every complaint in the words of the person who wrote the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from wearcast.config import nearest
from wearcast.config.document import Document, Trail, dotted
from wearcast.errors import ConfigError

__all__ = ["complaint", "parse"]

M = TypeVar("M", bound=BaseModel)
_QUOTED = re.compile(r"'([^']*)'")
_QUOTES = "'"
_CONTAINERS = (list, tuple, dict, Sequence, Mapping)
# Pydantic's words for JSON, in those of YAML.
_PLAIN = {
    "an object": "a mapping",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
}


def parse(model: type[M], document: Document) -> M:
    """Check a document against a model, strictly: `"5"` is not a number, `true` is not 1.

    Raises:
        ConfigError: with the place, the dotted path, what was expected, what was given and the nearest spelling;
            further complaints follow, one a line.
    """
    try:
        return model.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        if not _false_alarm(error):
            raise complaint(error, model, document) from error
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise complaint(error, model, document) from error


def _false_alarm(error: ValidationError) -> bool:
    """Whether every error is a list where a tuple is wanted.

    JSON has no tuples, and pydantic takes lists for them, but not behind a validator that runs before: what that one
    hands on is no longer JSON to pydantic, and strictly a Python list is no tuple.
    """
    return not [details for details in error.errors(include_url=False) if not _about_a_tuple(details, error)]


def _about_a_tuple(details: Mapping[str, Any], error: ValidationError) -> bool:
    if not isinstance(details["input"], list):
        return False
    around = details["loc"][:-1]
    # In a plain union, the other members complain beside it.
    return details["type"] == "tuple_type" or any(
        other["type"] == "tuple_type" and other["loc"][:-1] == around and len(around) > 0
        for other in error.errors(include_url=False)
    )


def complaint(error: ValidationError, model: type[BaseModel], document: Document) -> ConfigError:
    """Pydantic's errors as one error of ours."""
    real = [details for details in error.errors(include_url=False) if not _about_a_tuple(details, error)]
    found = _merged([_Finding(details, model, document) for details in real])
    # An unknown key first: where a required key is misspelt, the misspelling is the cause.
    found.sort(key=lambda finding: (finding.type != "extra_forbidden", finding.type == "missing"))
    first, *rest = _once(found)
    if not rest:
        return ConfigError(first.what, where=first.where, hint=first.hint)
    hint = f" ({first.hint})" if first.hint else ""
    lines = "".join(f"\n  {finding}" for finding in rest)
    return ConfigError(f"{first.what}{hint}\nand {len(rest)} more:{lines}", where=first.where)


def _merged(found: list[_Finding]) -> list[_Finding]:
    """One finding where pydantic has one for each member of a plain union: expected a number or 'auto'."""
    kept: list[_Finding] = []
    for finding in found:
        depth = len(finding.trail)
        if not finding.is_member:
            kept.append(finding)
        elif any(len(other.trail) > depth and other.trail[:depth] == finding.trail for other in found):
            continue  # the other members got further than this one
        elif twin := next((other for other in kept if other.is_member and other.trail == finding.trail), None):
            twin.expected += [words for words in finding.expected if words not in twin.expected]
            twin.hint = twin.hint or finding.hint
        else:
            kept.append(finding)
    return kept


def _once(found: list[_Finding]) -> list[_Finding]:
    """One finding for a value that is read in several places: an ensemble's data set is that of each member too."""
    kept: list[_Finding] = []
    for finding in found:
        if not any(f.where == finding.where and f.trail == finding.trail[-len(f.trail) :] for f in kept):
            kept.append(finding)
    return kept


class _Finding:
    """One of pydantic's errors, said with its place and what to write instead.

    Attributes:
        trail: where it is in the document.
        expected: what would have been right there; empty where `said` says it all.
        is_member: whether it is about one member of a plain union.
    """

    def __init__(self, details: Mapping[str, Any], model: type[BaseModel], document: Document) -> None:
        self.type: str = details["type"]
        self.expected: list[str] = []
        self.hint: str | None = None
        self.said = ""
        self.given: Any = details["input"]
        loc: Trail = tuple(details["loc"])
        self.trail = _written(loc, document, keep_last=self.type == "missing")
        self.where = str(document.place(self.trail))
        self.path = dotted(self.trail) or "the document"
        self._explain(details, model, loc)
        self.is_member = bool(
            self.expected and loc and self.type != "union_tag_invalid" and loc[-1:] != self.trail[-1:]
        )

    def _explain(self, details: Mapping[str, Any], model: type[BaseModel], loc: Trail) -> None:
        context: dict[str, Any] = details.get("ctx") or {}
        message = str(details["msg"])
        if self.type == "extra_forbidden":
            known = _keys(model, loc[:-1])
            self.said = f"unknown key {self.path}"
            self.hint = nearest(str(loc[-1]), known) or (f"known here: {', '.join(known)}" if known else None)
        elif self.type == "missing":
            self.said = f"the key {self.path} is missing"
        elif self.type == "literal_error":
            self._choose(str(context["expected"]))
        elif self.type == "union_tag_invalid":
            self.path = f"{self.path}.{str(context['discriminator']).strip(_QUOTES)}"
            self.given = context["tag"]
            self._choose(str(context["expected_tags"]))
        elif self.type == "union_tag_not_found":
            tag = str(context["discriminator"]).strip(_QUOTES)
            self.said = f"{self.path} needs the key {tag!r} that says which one it is"
            self.hint = f"one of {', '.join(_tags(model, loc, tag))}"
        elif self.type in ("value_error", "assertion_error"):
            told = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
            self.said = f"{self.path}: {told}" if self.trail else told
        else:
            expected = message.removeprefix("Input should be ").replace("String should match", "text that matches")
            self.expected = [_PLAIN.get(expected, expected[:1].lower() + expected[1:])]

    def _choose(self, choices: str) -> None:
        words = _QUOTED.findall(choices)
        self.expected = [f"{'one of ' if len(words) > 1 else ''}{choices}"]
        self.hint = nearest(str(self.given), words)

    @property
    def what(self) -> str:
        return self.said or f"{self.path}: expected {' or '.join(self.expected)}, got {_shown(self.given)}"

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        return f"{text} ({self.hint})" if self.hint else text


def _shown(value: Any) -> str:
    text = "nothing (null)" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _written(loc: Trail, document: Document, *, keep_last: bool) -> Trail:
    """Pydantic's location without what it adds itself: the tags of unions and the names of validators."""
    trail: list[str | int] = []
    data: Any = document.data
    for i, step in enumerate(loc):
        inside = (isinstance(data, Mapping) and step in data) or (
            isinstance(data, list) and isinstance(step, int) and step < len(data)
        )
        if inside:
            trail.append(step)
            data = data[step]
        elif keep_last and i == len(loc) - 1:
            trail.append(step)
    return tuple(trail)


# ------------------------------------------------------------------ what a model allows at a place


def _models(annotation: Any) -> Iterator[Any]:
    """The plain types inside a type: `Annotated`, unions and aliases opened."""
    if hasattr(annotation, "__value__"):
        annotation = annotation.__value__
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _models(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _models(part)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tagged(model: Any, tag: str | int) -> bool:
    """Whether one of the model's literals is this tag."""
    return any(
        get_origin(part) is Literal and tag in get_args(part)
        for item in model.model_fields.values()
        for part in _models(item.annotation)
    )


def _inside(model: type[BaseModel], loc: Trail) -> list[Any]:
    """The types that may stand at a pydantic location."""
    here = [model] if _is_model(model) else list(_models(model))
    for step in loc:
        models = [part for part in here if _is_model(part)]
        deeper = [field.annotation for part in models for name, field in _fields(part) if name == step]
        if not deeper:
            # A union's member: its tag, or its name, with the names of its validators around it.
            narrowed = [part for part in models if _tagged(part, step) or part.__name__ in re.split(r"\W+", str(step))]
            if narrowed:
                here = narrowed
                continue
            deeper = [arg for part in here if get_origin(part) in _CONTAINERS for arg in get_args(part)]
        here = [part for annotation in deeper for part in _models(annotation)] or here
    return here


def _fields(model: type[BaseModel]) -> Iterable[tuple[str, Any]]:
    return ((field.alias or name, field) for name, field in model.model_fields.items())


def _keys(model: type[BaseModel], loc: Trail) -> list[str]:
    return list(dict.fromkeys(name for part in _inside(model, loc) if _is_model(part) for name, _ in _fields(part)))


def _tags(model: type[BaseModel], loc: Trail, tag: str) -> list[str]:
    return [
        str(value)
        for part in _inside(model, loc)
        if _is_model(part) and tag in part.model_fields
        for literal in _models(part.model_fields[tag].annotation)
        if get_origin(literal) is Literal
        for value in get_args(literal)
    ]
