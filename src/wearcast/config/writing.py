"""From a model back to YAML, and to the JSON Schema that editors complete and check with."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter

from wearcast.config.document import YamlLoader
from wearcast.config.inheritance import EXTENDS

__all__ = ["json_schema", "to_yaml"]


class _Dumper(yaml.SafeDumper):
    """Writes what `YamlLoader` reads: its idea of a number decides which words need quotes."""

    yaml_implicit_resolvers = YamlLoader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value again rather than point at it."""
        return True


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    short = not any(isinstance(item, (list, dict)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # PyYAML writes these line breaks bare and reads them back as spaces; between double quotes it escapes them.
    style = '"' if any(break_ in text for break_ in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)


def to_yaml(value: BaseModel | dict[str, Any]) -> str:
    """YAML in the order of the fields; reading it gives the same model."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return yaml.dump(
        _kind_first(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )


def _kind_first(value: Any) -> Any:
    """What says which model a mapping is comes before the model's own keys, wherever the class declares it."""
    if isinstance(value, dict):
        first = {"kind": value["kind"]} if "kind" in value else {}
        return {key: _kind_first(item) for key, item in (first | value).items()}
    return [_kind_first(item) for item in value] if isinstance(value, (list, tuple)) else value


def json_schema(*models: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a file that is one of the models, with `extends`, which is resolved before a model sees it.

    A file that extends another need not repeat what is required, so nothing is required; which of several models a
    mapping is may be said by the file below, so `oneOf` is relaxed to `anyOf`.
    """
    schema = _relaxed(TypeAdapter(reduce(or_, models)).json_schema())
    name = {"type": "string", "minLength": 1}
    extends = {
        "description": "Name of a recipe or path of a file to start from, or a list of them, later over earlier.",
        "anyOf": [name, {"type": "array", "items": name, "minItems": 1}],
    }
    for file in [schema] if "properties" in schema else [schema["$defs"][model.__name__] for model in models]:
        file["properties"] = {EXTENDS: extends, **file["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _relaxed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_relaxed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _relaxed(value) for key, value in schema.items() if key != "discriminator"}
    if isinstance(kept.get("required"), list):
        del kept["required"]
    if isinstance(kept.get("oneOf"), list):
        kept["anyOf"] = kept.pop("oneOf")
    return kept
