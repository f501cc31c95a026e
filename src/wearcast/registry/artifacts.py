"""From where MLflow keeps a version's files to a bundle that was found whole."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wearcast.errors import BundleError, RegistryError
from wearcast.registry.records import ModelVersion
from wearcast.registry.tags import SUMS_SHA256
from wearcast.writing import why_not

__all__ = ["BUNDLE_FOLDER", "checked", "download_bundle", "local_bundle", "local_path"]

BUNDLE_FOLDER = "bundle"
"""Where the bundle lies in the folder that MLflow takes for a model."""


def local_path(place: str, version: ModelVersion) -> Path:
    """The path on this machine of a version's artifacts.

    Raises:
        RegistryError: they are kept elsewhere.
    """
    parts = urlsplit(place)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if not parts.scheme and place:
        return Path(place)
    raise RegistryError(
        f"the artifacts are not files of this machine: {place or 'no place is recorded'}",
        where=version.reference,
        hint="name the MLflow server that keeps them: --registry http://HOST:PORT",
    )


def local_bundle(folder: Path, version: ModelVersion) -> Path:
    """The bundle in a version's folder, where it lies.

    Raises:
        RegistryError: it is not there, not whole, or not the one that was registered.
    """
    inner = folder / BUNDLE_FOLDER
    place = inner if inner.is_dir() else folder
    if not place.is_dir():
        raise RegistryError(
            "the registry names this version, but its files are gone",
            where=f"{version.reference}: {folder}",
            hint="register the bundle again",
        )
    return checked(place, version)


def download_bundle(version: ModelVersion, cache: Path, download: Callable[[str, Path], None]) -> Path:
    """The bundle in `cache`, under the checksum of its content; downloaded beside and moved there once it is whole.

    Args:
        version: whose bundle it is.
        cache: folder of all downloaded bundles; several processes may share it.
        download: writes the file of this name to a path.

    Raises:
        RegistryError: the registry does not hold a whole bundle; the cache is as it was.
    """
    known = version.tags.get(SUMS_SHA256, "")
    if _is_digest(known) and (kept := _kept(cache / known, version)):
        return kept
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=cache))
    except OSError as error:
        raise RegistryError(f"bundles cannot be kept here: {why_not(error)}", where=str(cache)) from error
    try:
        _download_all(scratch, version, download)
        checked(scratch, version)
        scratch.chmod(0o755)
        return _put(scratch, cache / _digest(scratch), version)
    except OSError as error:
        raise RegistryError(f"the bundle cannot be kept: {why_not(error)}", where=str(cache)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put(scratch: Path, place: Path, version: ModelVersion) -> Path:
    try:
        scratch.rename(place)
    except OSError:  # another process was faster
        if kept := _kept(place, version):
            return kept
        scratch.rename(place)
    return place


def _download_all(scratch: Path, version: ModelVersion, download: Callable[[str, Path], None]) -> None:
    from wearcast.bundle import SUMS, read_checksums

    download(SUMS, scratch / SUMS)
    try:
        names = read_checksums(scratch)
    except BundleError as error:
        raise RegistryError(f"not a bundle: {error.what}", where=f"{version.reference}: {SUMS}") from error
    for name in names:
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        download(name, scratch / name)


def _kept(place: Path, version: ModelVersion) -> Path | None:
    """A bundle that was downloaded before; one whose bytes have changed since then is thrown away."""
    if not place.is_dir():
        return None
    try:
        if _digest(place) == place.name:
            return checked(place, version)
    except (RegistryError, OSError):
        pass
    shutil.rmtree(place, ignore_errors=True)
    return None


def _digest(place: Path) -> str:
    from wearcast.bundle import SUMS

    return hashlib.sha256((place / SUMS).read_bytes()).hexdigest()


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def checked(place: Path, version: ModelVersion) -> Path:
    """The folder, once every byte of the bundle in it was found to be what was registered.

    Raises:
        RegistryError: it is not.
    """
    from wearcast.bundle import load_bundle

    if version.status != "READY":
        raise RegistryError(f"the version is {version.status}, not READY", where=version.reference)
    try:
        load_bundle(place)
    except BundleError as error:
        raise RegistryError(
            f"the bundle in the registry is not whole: {error.what}",
            where=f"{version.reference}: {error.where}",
            hint="register the bundle again; `wearcast registry rollback` puts the champion before it back",
        ) from error
    found = _digest(place)
    if version.tags.get(SUMS_SHA256, found) != found:
        raise RegistryError(
            "the bundle in the registry is another one than was registered",
            where=f"{version.reference}: {place}",
            hint="register the bundle again",
        )
    return place
