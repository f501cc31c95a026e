"""The experiments that come with Wearcast, addressed by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wearcast.config import nearest
from wearcast.config.checking import parse
from wearcast.config.inheritance import load, overrides, replace
from wearcast.errors import ConfigError

if TYPE_CHECKING:
    from wearcast.training.experiment import Experiment

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
) -> Experiment:
    """Read a recipe or a file, with what it extends and what the command line changes.

    Args:
        name_or_path: name of a recipe, or a path with a slash or a `.yaml` ending.
        assignments: `key=value` with dots between keys, applied last.
        dataset: where it was said, and the data set that replaces the file's.
        seed: replaces the file's.

    Raises:
        ConfigError: with file, line, path and the nearest spelling.
    """
    from wearcast.training.experiment import Experiment

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
    return parse(Experiment, overrides(document, assignments))
