"""The experiments that come with Wearcast, addressed by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wearcast.config import nearest
from wearcast.config.checking import parse
from wearcast.config.document import Trail, dotted
from wearcast.config.inheritance import load, overrides, put, replace
from wearcast.datasets import ColumnMapping, FailureTable, FilesDataset, Layout
from wearcast.datasets.endings import Ending
from wearcast.datasets.sqltable import is_url, whole_url
from wearcast.errors import ConfigError

if TYPE_CHECKING:
    from wearcast.config.document import Document
    from wearcast.training.experiment import Ensemble, Experiment

E = TypeVar("E", "Experiment", "Ensemble")

__all__ = ["RECIPES", "find_recipe", "load_experiment", "recipe_names", "recipe_summaries"]

RECIPES = Path(__file__).parent.parent / "recipes"
"""The folder of the recipes, one YAML file each."""


def recipe_names() -> tuple[str, ...]:
    """All recipes in alphabetical order, those without a data set (which take yours) included."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def recipe_summaries() -> list[tuple[str, str]]:
    """Name of each recipe and the first line of its comment."""
    return [(name, _summary(find_recipe(name))) for name in recipe_names()]


def _summary(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Raises:
        ConfigError: there is none of this name.
    """
    names = recipe_names()
    if name not in names:
        hint = f"for the file write ./{name}" if Path(name).is_file() else nearest(name, names)
        raise ConfigError(f"there is no recipe {name!r}", hint=hint or "`wearcast config recipes` lists them")
    return RECIPES / f"{name}.yaml"


def load_experiment(
    name_or_path: str | Path,
    assignments: Iterable[str] = (),
    *,
    dataset: tuple[str, dict[str, Any]] | None = None,
    seed: int | None = None,
) -> Experiment | Ensemble:
    """Read a recipe or a file, with what it extends and what the command line changes; with `members` an ensemble.

    Args:
        name_or_path: name of a recipe, or a path with a slash or a `.yaml` ending.
        assignments: `key=value` with dots between keys, applied last.
        dataset: where it was said, and the data set that replaces the file's.
        seed: replaces the file's.

    Raises:
        ConfigError: with file, line, path and the nearest spelling.
    """
    from wearcast.training.experiment import Ensemble, Experiment

    assignments = tuple(assignments)
    path = str(name_or_path)
    if isinstance(name_or_path, Path) and "/" not in path and not path.endswith((".yaml", ".yml")):
        path = f"./{path}"
    document = load(path, find=find_recipe)
    if dataset is not None:
        source, value = dataset
        document = replace(document, "dataset", value, source)
    if "dataset" not in document.data and not any(text.startswith("dataset") for text in assignments):
        raise ConfigError(
            "it names no data set", where=str(name_or_path), hint="give --source, or --set dataset.kind=…"
        )
    if seed is not None:
        document = replace(document, "seed", seed, f"--seed {seed}")
    _check_members(document, assignments)
    document = overrides(document, assignments)
    if "members" not in document.data:
        return _at_home(parse(Experiment, document), document)
    ensemble = parse(Ensemble, _shared(document))
    here = _at_home(ensemble, document).dataset
    members = {name: member.model_copy(update={"dataset": here}) for name, member in ensemble.members.items()}
    return ensemble.model_copy(update={"dataset": here, "members": members})


def _check_members(document: Document, assignments: Iterable[str]) -> None:
    """Refuse to set part of a member that there is not: what is written would be a member without a model.

    Raises:
        ConfigError: with the members that there are.
    """
    for assignment in assignments:
        steps = [step.strip() for step in assignment.partition("=")[0].split(".")]
        if steps[0] != "members" or len(steps) < 3:
            continue
        where, members = f"--set {assignment}", document.data.get("members")
        if not isinstance(members, Mapping):
            raise ConfigError(
                "this is one model, it has no members", where=where, hint=f"--set {'.'.join(steps[2:])}=…"
            )
        if steps[1] not in members:
            near = nearest(steps[1], members)
            known = f"its members are {', '.join(members)}"
            raise ConfigError(
                f"there is no member {steps[1]!r}", where=where, hint=f"{near} {known}" if near else known
            )


def _shared(document: Document) -> Document:
    """An ensemble whose members have its data set and target, in place of those of the recipes that they extend.

    Raises:
        ConfigError: a member itself asks for another.
    """
    members = document.data["members"]
    if not isinstance(members, Mapping):
        return document
    for key in ("dataset", "target"):
        for name, member in members.items():
            if key in document.data and isinstance(member, Mapping):
                _refuse_another(document, name, key)
                document = put(document, ("members", name, key), document, (key,))
    return document


def _refuse_another(document: Document, name: str, key: str) -> None:
    """Refuse a value that was written for the member itself where the ensemble has another; flags win over files."""
    home = document.place(("members", name)).source
    for trail, place in document.places.items():
        own = trail[:3] == ("members", name, key) and (place.source == home or place.line is None)
        if not own or (place.line is not None and document.place(trail[2:]).line is None):
            continue
        here, shared = _value(document.data, trail), _value(document.data, trail[2:])
        if not isinstance(here, Mapping | list) and here != shared:
            what = "data set" if key == "dataset" else "target"
            raise ConfigError(
                f"member {name!r} asks for another {what} than the ensemble: {dotted(trail[2:])} is {here!r}, not "
                f"{'what is the default' if shared is None else repr(shared)}",
                where=str(place),
                hint=f"all members have the {key} of the ensemble: leave it out here",
            )


def _value(data: Any, trail: Trail) -> Any:
    for step in trail:
        there = step in data if isinstance(data, Mapping) else isinstance(data, list) and isinstance(step, int)
        if not there or (isinstance(data, list) and not -1 < int(step) < len(data)):
            return None
        data = data[step]
    return data


def _at_home(experiment: E, document: Document) -> E:
    """The experiment with whole paths; see `_located`."""
    dataset = experiment.dataset
    if isinstance(dataset, FilesDataset):
        return experiment.model_copy(update={"dataset": _located(dataset, document)})
    if isinstance(dataset, Layout):
        here = dataset.model_copy(update={"source": _whole(dataset.source, document, "source")})
        return experiment.model_copy(update={"dataset": here})
    return experiment


def _whole(path: str, document: Document, *trail: str | int) -> str:
    """A path relative to the file that says it, and to the working directory if a flag does, as a whole one."""
    place = document.place(("dataset", *trail))
    folder = Path() if place.line is None else Path(place.source).parent
    if is_url(path):
        return whole_url(path, folder)
    full = folder / Path(path).expanduser()
    return str(full.parent.resolve() / full.name)  # a link keeps its name: it may point elsewhere tomorrow


def _located(dataset: FilesDataset, document: Document) -> FilesDataset:
    """The data set with whole paths, and with the mapping itself where its file was named.

    The experiment that the bundle keeps can then be evaluated from anywhere.
    """

    def whole(path: str, *trail: str | int) -> str:
        return _whole(path, document, *trail)

    def each(paths: str | tuple[str, ...], key: str) -> str | tuple[str, ...]:
        if isinstance(paths, str):
            return whole(paths, key)
        return tuple(whole(path, key, i) for i, path in enumerate(paths))

    def ends(value: Ending | None, *trail: str) -> Ending | None:
        if not isinstance(value, FailureTable):
            return value
        return value.model_copy(update={"failures": whole(value.failures, *trail, "failures")})

    mapping = dataset.mapping
    if isinstance(mapping, str):
        mapping = ColumnMapping.from_yaml(whole(mapping, "mapping"))
    elif mapping is not None:
        mapping = mapping.model_copy(update={"end_of_life": ends(mapping.end_of_life, "mapping", "end_of_life")})
    return dataset.model_copy(
        update={
            "source": each(dataset.source, "source"),
            "test_source": None if dataset.test_source is None else each(dataset.test_source, "test_source"),
            "mapping": mapping,
            "test_end_of_life": ends(dataset.test_end_of_life, "test_end_of_life"),
        }
    )
