"""The OpenAPI document as a page for people: made here, of text alone, so that it needs no network and no program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["page"]

Document = Mapping[str, Any]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
h2{margin:2rem 0 0;font-size:1.2rem} h2+p{margin-top:0;color:#555}
details{border:1px solid #ccd;border-radius:4px;margin:.4rem 0} details>div{padding:0 1rem .6rem}
summary{padding:.4rem .8rem;cursor:pointer} summary b{display:inline-block;width:4.2rem;font-family:monospace}
summary span{color:#555} .scope{float:right;font-size:.85em}
pre{background:#f4f5f8;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px} code{font-size:13px}
table{border-collapse:collapse;width:100%;font-size:14px}
td{border-top:1px solid #dde;padding:.25rem .5rem;vertical-align:top}
td:first-child{white-space:nowrap;font-family:monospace;font-size:13px}
@media(prefers-color-scheme:dark){body{background:#15181c;color:#dde}pre{background:#22262c}
details,td{border-color:#3a414b}h2+p,summary span{color:#9ab}a{color:#8bf}}
"""


def page(document: Document) -> str:
    """The page of a document."""
    info = document["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} ",
        'The same for programs: <a href="openapi.json">openapi.json</a>.</p>',
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>")
        parts += [_operation(document, *one) for one in _operations(document) if tag["name"] in one[2]["tags"]]
    head = f'<meta charset="utf-8"><title>{escape(info["title"])}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _operation(document: Document, method: str, path: str, operation: Document) -> str:
    scopes = [scope for way in operation["security"] for scope in way.get("clientCredentials", ())]
    needs = f"scope {', '.join(scopes)}" if scopes else "public"
    inner = [f"<p>{_text(operation.get('description', ''))}</p>"]
    rows = [(f"{one['name']} ({one['in']})", _kind(one["schema"]), one.get("description", ""))
            for one in operation.get("parameters", ())]  # fmt: skip
    schema = _body(document, operation)
    rows += [(name, _kind(one), one.get("description", "")) for name, one in schema.get("properties", {}).items()]
    inner.append(_table(rows))
    inner.append(f"<pre>{escape(_curl(method, path, operation, schema, public=not scopes))}</pre>")
    answers = [(status, told["description"]) for status, told in sorted(operation["responses"].items())]
    for status, told in operation["responses"].items():
        if (example := _example(_json_of(document, told))) is not None and status.startswith("2"):
            inner.append(f"<pre>{escape(json.dumps(example, indent=1, ensure_ascii=False))}</pre>")
    inner.append(_table(answers))
    said = f"<b>{method}</b> <code>{escape(path)}</code> <span>{escape(operation['summary'])}</span>"
    return f'<details><summary>{said}<span class="scope">{needs}</span></summary><div>{"".join(inner)}</div></details>'


def _curl(method: str, path: str, operation: Document, schema: Document, *, public: bool) -> str:
    """A command that asks for it."""
    sends = bool(operation.get("requestBody"))
    words = ["curl -s"] if method == "GET" or (method == "POST" and sends) else [f"curl -s -X {method}"]
    words.append(f"http://localhost:8000{path}")
    if not public:
        words.append('-H "authorization: Bearer $TOKEN"')
    if sends:
        kind, example = next(iter(operation["requestBody"]["content"])), _example(schema)
        words.append(f"-H 'content-type: {kind}'")
        words.append(f"-d '{json.dumps(example, ensure_ascii=False)}'" if example else "--data-binary @body")
    return " \\\n  ".join(words)


def _body(document: Document, operation: Document) -> Document:
    return _json_of(document, operation.get("requestBody", {}))


def _json_of(document: Document, told: Document) -> Document:
    """The schema of a JSON body or answer; nothing where there is none."""
    schema: Document = told.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Document = document["components"]["schemas"].get(name, schema)
    return found


def _example(schema: Document) -> Any:
    return next(iter(schema.get("examples", ())), None)


def _kind(schema: Document) -> str:
    """What a value is, in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _text(text: str) -> str:
    """What is written with backticks, as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _table(rows: list[Any]) -> str:
    cells = ("".join(f"<td>{_text(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>" if rows else ""
