"""What a registry keeps of a bundle beside its files: tags of the version, parameters and metrics of the run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import wearcast
from wearcast.bundle import Bundle, read_checksums
from wearcast.registry import tags

__all__ = ["bundle_files", "commit", "flattened", "numbers_of_epochs", "version_tags"]

LONGEST_VALUE = 6000
LONGEST_KEY = 250


def version_tags(bundle: Bundle, digest: str, parent: str | None) -> dict[str, str]:
    """Everything that `list`, `show`, `diff` and `lineage` say of a version without opening its bundle."""
    manifest = bundle.manifest
    recipe = json.dumps({**manifest.experiment, "seed": None}, sort_keys=True)
    found = {
        tags.SUMS_SHA256: digest,
        tags.MODEL: manifest.model,
        tags.CREATED: manifest.created,
        tags.DATA: manifest.data.name,
        tags.DATA_FINGERPRINT: manifest.data.fingerprint,
        tags.RECIPE: manifest.name,
        tags.RECIPE_SHA256: hashlib.sha256(recipe.encode()).hexdigest(),
        tags.SEED: str(manifest.seed),
        tags.CODE: manifest.versions.get("wearcast", "unknown"),
        tags.TARGET: manifest.target.model_dump_json(),
        tags.COLUMNS: json.dumps(bundle.columns, ensure_ascii=False),
        tags.SIZE_BYTES: str(sum((bundle.path / name).stat().st_size for name in bundle_files(bundle.path))),
        tags.REGISTERED_BY: f"wearcast {wearcast.__version__}",
    }
    if commit_ := commit():
        found[tags.COMMIT] = commit_
    if parent is not None:
        found[tags.PARENT] = parent
    return found | {f"{tags.METRIC}{name}": repr(value) for name, value in manifest.metrics.items()}


def bundle_files(folder: Path) -> tuple[str, ...]:
    """The files that make a bundle; others beside them, such as a report, are not part of it."""
    from wearcast.bundle import SUMS

    return (*read_checksums(folder), SUMS)


def commit() -> str | None:
    """The commit of the checkout that this Wearcast runs from, `-dirty` if it was changed since; None elsewhere."""
    git, here = shutil.which("git"), Path(__file__)
    if git is None:
        return None
    tracked = [git, "-C", str(here.parent), "ls-files", "--error-unmatch", here.name]
    describe = [git, "-C", str(here.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        for command in (tracked, describe):
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None  # an installed package, or a copy without its history
    return done.stdout.strip() or None


def flattened(values: Mapping[str, Any]) -> dict[str, str]:
    """Settings by dotted path, as MLflow's parameters: lists as JSON, names in its alphabet, cut to its lengths."""
    return {_key(path): _text(value) for path, value in _leaves(values, "") if value is not None}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _key(path: str) -> str:
    plain = re.sub(r"[^\w. :/-]", "_", path).lstrip("/")
    return plain if len(plain) <= LONGEST_KEY else plain[:LONGEST_KEY]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def numbers_of_epochs(bundle: Bundle) -> Iterator[tuple[str, float, int]]:
    """Name, value and epoch of each metric of training; of an ensemble those of its models, by folder."""
    for model in bundle.models or (bundle,):
        prefix = f"{model.path.name}." if bundle.models else ""
        for index, epoch in enumerate(model.history):
            step = int(epoch.get("epoch", index))
            for name, value in epoch.items():
                if name != "epoch" and isinstance(value, int | float):
                    yield _key(f"{prefix}{name}"), float(value), step
