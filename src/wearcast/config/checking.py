"""From a document to a frozen model, with every complaint in the words of the person who wrote the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from wearcast.config import nearest
from wearcast.config.document import Document, Trail, dotted
from wearcast.errors import ConfigError

__all__ = ["complaint", "parse"]

M = TypeVar("M", bound=BaseModel)
_QUOTED = re.compile(r"'([^']*)'")


def parse(model: type[M], document: Document) -> M:
    """Check a document against a model, strictly: `"5"` is not a number, `true` is not 1.

    Raises:
        ConfigError: with the place, the dotted path, what was expected, what was given and the nearest spelling;
            further complaints follow, one a line.
    """
    try:
        return model.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        raise complaint(error, model, document) from error


def complaint(error: ValidationError, model: type[BaseModel], document: Document) -> ConfigError:
    """Pydantic's errors as one error of ours."""
    found = [_Finding(details, model, document) for details in error.errors(include_url=False)]
    # An unknown key first: where a required key is misspelt, the misspelling is the cause.
    found.sort(key=lambda finding: (finding.type != "extra_forbidden", finding.type == "missing"))
    first, rest = found[0], found[1:]
    what = first.what
    if rest:
        hint = f" ({first.hint})" if first.hint else ""
        lines = "".join(f"\n  {finding}" for finding in rest)
        return ConfigError(f"{what}{hint}\nand {len(rest)} more:{lines}", where=first.where)
    return ConfigError(what, where=first.where, hint=first.hint)


class _Finding:
    """One of pydantic's errors, said with its place and what to write instead."""

    def __init__(self, details: Mapping[str, Any], model: type[BaseModel], document: Document) -> None:
        self.type: str = details["type"]
        loc: Trail = tuple(details["loc"])
        context: dict[str, Any] = details.get("ctx") or {}
        trail = _written(loc, document, keep_last=self.type == "missing")
        self.where = str(document.place(trail))
        path = dotted(trail) or "the document"
        given = _shown(details["input"])
        self.hint: str | None = None
        if self.type == "extra_forbidden":
            known = _keys(model, loc[:-1])
            self.what = f"unknown key {path}"
            self.hint = nearest(str(loc[-1]), known) or (f"known here: {', '.join(known)}" if known else None)
        elif self.type == "missing":
            self.what = f"the key {path} is missing"
        elif self.type in ("literal_error", "union_tag_invalid"):
            self._choice(path, context, details)
        elif self.type == "union_tag_not_found":
            tag = str(context["discriminator"]).strip("'")
            self.what = f"{path} needs the key {tag!r} that says which one it is"
            self.hint = f"one of {', '.join(_tags(model, loc, tag))}"
        elif self.type in ("value_error", "assertion_error"):
            message = str(details["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
            self.what = f"{path}: {message}"
        else:
            expected = str(details["msg"]).removeprefix("Input should be ")
            self.what = f"{path}: expected {expected[:1].lower() + expected[1:]}, got {given}"

    def _choice(self, path: str, context: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        given = details["input"]
        if self.type == "union_tag_invalid":
            tag = str(context["discriminator"]).strip("'")
            path, expected, given = f"{path}.{tag}", str(context["expected_tags"]), context["tag"]
        else:
            expected = str(context["expected"])
        choices = _QUOTED.findall(expected)
        self.what = f"{path}: expected {'one of ' if len(choices) > 1 else ''}{expected}, got {_shown(given)}"
        self.hint = nearest(str(given), choices)

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
            narrowed = [part for part in models if _tagged(part, step) or part.__name__ == step]
            if narrowed:
                here = narrowed
                continue
            deeper = [arg for part in here if not _is_model(part) for arg in get_args(part) if arg is not Ellipsis]
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
