"""A card as Croissant, the JSON-LD that data catalogues and machine-learning tools read.

Format: MLCommons Croissant 1.0, https://docs.mlcommons.org/croissant/docs/croissant-spec.html. What the format asks for
and a card cannot say is left out, never made up: a download whose checksum nobody publishes is declared as live.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from wearcast.datasets.card import DataFile, DatasetCard
from wearcast.errors import UsageError

__all__ = ["croissant"]

Json = dict[str, Any]

_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_TYPES = {"number": "sc:Float", "integer": "sc:Integer", "text": "sc:Text", "timestamp": "sc:DateTime"}
_ZIP = "archive"
_VERSION = "1.0.0"


def croissant(card: DatasetCard) -> Json:
    """The card as Croissant 1.0 JSON-LD: metadata, files, tables and their columns.

    Raises:
        UsageError: the set is made here, so that there is no file to describe.
    """
    if card.built_in or not card.files:
        raise UsageError(f"{card.name} has no published files", hint="Croissant describes files")
    distribution: list[Json] = []
    tables: list[Json] = []
    for number, files in enumerate(_groups(card)):
        source = _source(card, files, number, distribution)
        tables.append(_table(card, files, source, number))
    known = all(thing.get("sha256") or thing.get("containedIn") for thing in distribution)
    facts = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": card.name,
        "alternateName": card.title,
        "description": " ".join([card.summary, *(f"Mind: {trap}." for trap in card.traps)]),
        "license": card.licence_url or card.licence,
        "url": card.homepage or card.url,
        "citeAs": card.citation,
        "creator": {"@type": "sc:Organization", "name": card.publisher} if card.publisher else None,
        "datePublished": card.published,
        "version": _VERSION,
        "isLiveDataset": None if known else True,
        "distribution": distribution,
        "recordSet": tables,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _ident(name: str) -> str:
    """A name as part of an identifier, which mlcroissant wants without blanks."""
    return re.sub(r"\s+", "_", name)


def _groups(card: DatasetCard) -> list[tuple[DataFile, ...]]:
    """The files that are one table, because they have the same columns."""
    groups: dict[tuple[object, ...], list[DataFile]] = {}
    for file in card.files:
        groups.setdefault((file.columns, file.media_type, file.header), []).append(file)
    return [tuple(files) for files in groups.values()]


def _source(card: DatasetCard, files: Sequence[DataFile], number: int, distribution: list[Json]) -> Json:
    """Add what holds these files to `distribution`; what a field refers to as its source."""
    if len(files) == 1 and not glob.has_magic(files[0].pattern) and not _is_zip(card, files[0]):
        file = files[0]
        distribution.append(
            _object(file.pattern, file.url or card.url or "", file.media_type, file.sha256, file.size_bytes)
        )
        return {"fileObject": {"@id": _ident(file.pattern)}}
    container = _container(card, files, distribution)
    name = f"files-{number + 1}"
    distribution.append(
        {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": ", ".join(file.pattern for file in files),
            **({"containedIn": [{"@id": holder} for holder in container]} if container else {}),
            "encodingFormat": files[0].media_type,
            "includes": [f"*{file.pattern}" for file in files],
        }
    )
    return {"fileSet": {"@id": name}}


def _is_zip(card: DatasetCard, file: DataFile) -> bool:
    return not file.url and (card.url or "").lower().endswith(".zip")


def _container(card: DatasetCard, files: Sequence[DataFile], distribution: list[Json]) -> list[str]:
    """The files on the host that a family of files comes out of."""
    if any(file.url for file in files):
        for file in files:
            distribution.append(_object(file.pattern, file.url or "", file.media_type, file.sha256, file.size_bytes))
        return [_ident(file.pattern) for file in files]
    if card.url is None:
        return []
    if all(thing["@id"] != _ZIP for thing in distribution):
        distribution.append(_object(_ZIP, card.url, "application/zip", card.sha256, card.size_bytes))
    return [_ZIP]


def _object(ident: str, url: str, media_type: str, sha256: str | None, size_bytes: int | None) -> Json:
    facts = {
        "@type": "cr:FileObject",
        "@id": _ident(ident),
        "name": PurePosixPath(unquote_plus(urlsplit(url).path)).name or ident,
        "contentUrl": url,
        "contentSize": f"{size_bytes} B" if size_bytes else None,
        "encodingFormat": media_type,
        "sha256": sha256,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _table(card: DatasetCard, files: Sequence[DataFile], source: Json, number: int) -> Json:
    name = f"table-{number + 1}"
    columns = files[0].columns or tuple(card.descriptions)
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"One record for each row of {', '.join(file.pattern for file in files)}",
        "field": [_field(card, files[0], column, position, source, name) for position, column in enumerate(columns)],
    }


def _field(card: DatasetCard, file: DataFile, column: str, position: int, source: Json, table: str) -> Json:
    unit = card.units_of_measure.get(column)
    text = card.descriptions.get(column, column)
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{_ident(column)}",
        "name": column,
        "description": f"{text}, in {unit}" if unit and unit not in ("-", "1") else text,
        "dataType": _TYPES[card.kinds.get(column, "number")],
        "source": {**source, **_extract(card, file, column, position)},
    }


def _extract(card: DatasetCard, file: DataFile, column: str, position: int) -> Json:
    if not file.columns and file.media_type != "text/csv":
        return {"extract": {"fileProperty": "content"}}
    if file.header:
        return {"extract": {"column": card.headers.get(column, column)}}
    # Columns without a name, parted by blanks: the one at this position of the line.
    before = rf"(?:\S+\s+){{{position}}}" if position else ""
    return {"extract": {"fileProperty": "lines"}, "transform": {"regex": rf"^\s*{before}(\S+).*$"}}
