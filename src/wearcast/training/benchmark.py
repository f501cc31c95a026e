"""Running a suite: every model and seed once, each finished result kept, so that a second run does what is missing."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from wearcast import __version__
from wearcast.bundle import MANIFEST, Bundle, load_bundle
from wearcast.errors import UsageError, WearcastError
from wearcast.evaluation import evaluate, measure_cost
from wearcast.evaluation.comparison import Spread
from wearcast.evaluation.figures import FIGURES
from wearcast.training.experiment import Ensemble, Experiment
from wearcast.training.recipes import load_experiment
from wearcast.training.run import train
from wearcast.training.suites import Part, Suite, recipes_of
from wearcast.training.workers import cores
from wearcast.writing import write_whole

__all__ = ["run_suite"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One model, seed and question.

    Attributes:
        part: the question.
        recipe: the model.
        seed: of its training.
        folder: of its bundle and its result.
    """

    part: Part
    recipe: str
    seed: int
    folder: Path

    @property
    def result(self) -> Path:
        """Where the result is kept."""
        return self.folder / f"{self.recipe}-seed{self.seed}.json"

    @property
    def bundle(self) -> Path:
        """Where the bundle is kept."""
        return self.folder / f"{self.recipe}-seed{self.seed}"


def run_suite(
    suite: Suite,
    *,
    seeds: int,
    out: Path,
    models: Sequence[str] = (),
    parts: Sequence[str] = (),
    assignments: Sequence[str] = (),
    say: Say = lambda _: None,
    progress: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """Train and score what is missing, and put all results together in `out/<suite>.json`.

    Args:
        suite: what is run.
        seeds: seeds 0, 1, … of each model.
        out: folder of the bundles and the results.
        models: parts of names of recipes; all unless given.
        parts: names of the suite's questions; all unless given.
        assignments: `key=value` for every recipe, which the results name.
        say: told what happens.
        progress: show progress bars.
        workers: how many networks of an ensemble may be trained at once.

    Raises:
        UsageError: there is no such part or model.
    """
    fit = partial(train, force=True, progress=progress, workers=workers)
    chosen = [part for part in suite.parts if not parts or part.name in parts]
    if unknown := set(parts) - {part.name for part in suite.parts}:
        known = ", ".join(part.name for part in suite.parts)
        raise UsageError(f"{suite.name} has no part {min(unknown)!r}", where="--parts", hint=f"one of {known}")
    tables = []
    machines: list[dict[str, Any]] = []
    for part in chosen:
        rows = []
        for recipe in _named(part, models):
            runs = [Run(part, recipe, seed, _folder(out, suite, part)) for seed in range(seeds)]
            done = list(_results(runs, assignments, say, fit))
            rows.append(_row(part, recipe, done))
            machines += [result["machine"] for result in done if "machine" in result]
        rows.sort(key=lambda row: _order(part, row))
        tables.append(
            {
                "name": part.name,
                "dataset": part.dataset,
                "target": part.target,
                "note": part.note,
                "rows": rows,
                "anchors": [dict(anchor.__dict__) for anchor in part.anchors],
            }
        )
    results = {
        "suite": suite.name,
        "title": suite.title,
        "protocol": suite.protocol,
        "search": suite.search,
        "seeds": seeds,
        "settings": list(assignments),
        "models": list(models),
        "chosen_parts": list(parts),
        "machines": [one for i, one in enumerate(machines) if one not in machines[:i]],
        "wearcast": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "parts": tables,
    }
    write_whole(out / f"{suite.name}.json", json.dumps(results, indent=1, allow_nan=False).encode())
    return results


def _named(part: Part, models: Sequence[str]) -> tuple[str, ...]:
    shipped = recipes_of(part)
    found = tuple(name for name in shipped if not models or any(_is_of(name, model) for model in models))
    if not found:
        raise UsageError(
            f"no model of {part.name} is named {', '.join(models)}" if models else f"no recipe answers {part.name}",
            where="--models",
            hint=f"one of {', '.join(shipped)}" if shipped else None,
        )
    return found


def _is_of(recipe: str, model: str) -> bool:
    plain = model.replace("_", "-")
    return recipe == plain or recipe.endswith(f"-{plain}")


def _folder(out: Path, suite: Suite, part: Part) -> Path:
    return out / suite.name / part.name.replace(" ", "-")


def _results(
    runs: list[Run], assignments: Sequence[str], say: Say, fit: Callable[..., Bundle]
) -> Iterator[dict[str, Any]]:
    """The result of each run: kept from before, or made now; of one that fails its error."""
    for run in runs:
        name = f"{run.part.name}, {run.recipe}, seed {run.seed}"
        try:
            experiment = _experiment(run, assignments)
            kept = _kept(run, experiment)
            if kept is None:
                say(f"{name}: training")
                kept = _made(run, experiment, fit)
                say(f"{name}: {_headline(run.part, kept)}")
            yield kept
        except WearcastError as error:
            say(f"{name}: failed: {error}")
            yield {"error": str(error)}
        except Exception as error:  # one model that fails is a row of the table, not the end of hours of work
            say(f"{name}: failed: {type(error).__name__}: {error}")
            yield {"error": f"{type(error).__name__}: {error}"}


def _experiment(run: Run, assignments: Sequence[str]) -> Experiment | Ensemble:
    said = [text.format(seed=run.seed) for text in run.part.assignments]
    return load_experiment(run.recipe, [*said, *assignments], seed=run.seed)


def _kept(run: Run, experiment: Experiment | Ensemble) -> dict[str, Any] | None:
    """The result of an earlier run of this very experiment."""
    if not run.result.exists():
        return None
    kept = json.loads(run.result.read_text(encoding="utf-8"))
    return kept if isinstance(kept, dict) and kept.get("experiment") == experiment.record() else None


def _made(run: Run, experiment: Experiment | Ensemble, fit: Callable[..., Bundle]) -> dict[str, Any]:
    """Train, unless a bundle of this very experiment is there, and score."""
    bundle = load_bundle(run.bundle) if (run.bundle / MANIFEST).exists() else None
    if bundle is None or bundle.manifest.experiment != experiment.record():
        bundle = fit(experiment, out=run.bundle, resume=_goes_on(run, experiment))
    fleet = experiment.dataset.load("test")
    evaluation = evaluate(bundle, fleet, split="test")
    made = {
        "experiment": experiment.record(),
        "evaluation": evaluation.to_dict(),
        "cost": measure_cost(bundle, fleet).to_dict(),
        "machine": _machine(),
    }
    table = evaluation.latest.to_frame()
    write_whole(run.bundle.with_suffix(".csv"), table.write_csv().encode())
    write_whole(run.result, json.dumps(_plain(made), indent=1, allow_nan=False).encode())
    return json.loads(run.result.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _goes_on(run: Run, experiment: Experiment | Ensemble) -> bool:
    """Whether the checkpoints that are there are of this experiment."""
    note = run.bundle.resolve().with_name(f"{run.bundle.name}.work") / "experiment.json"
    if not note.exists():
        return False
    try:
        return bool(json.loads(note.read_text(encoding="utf-8"))["experiment"] == experiment.record())
    except (ValueError, KeyError, TypeError):
        return False


def _machine() -> dict[str, Any]:
    return {"cores": cores(), "threads": os.environ.get("OMP_NUM_THREADS"), "processor": platform.machine()}


def _plain(value: Any) -> Any:
    """As JSON says it: no number that is none, keys that are text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN
        return None
    return value


def _headline(part: Part, result: dict[str, Any]) -> str:
    figure = FIGURES[part.target][0]
    value = result["evaluation"]["metrics"].get(figure.name)
    return f"{figure.label} {figure.text(value)}" if value is not None else str(result["evaluation"]["truth_note"])


def _row(part: Part, recipe: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """One model: each figure over its seeds, what it costs, and what went wrong."""
    good = [result for result in results if "error" not in result]
    errors = sorted({result["error"] for result in results if "error" in result})
    metrics: dict[str, dict[str, Any] | None] = {}
    for figure in FIGURES[part.target]:
        values = tuple(
            float(v) for r in good if isinstance(v := r["evaluation"]["metrics"].get(figure.name), int | float)
        )
        whole = values and len(values) == len(good)
        metrics[figure.name] = Spread.of(figure, values).to_dict() if whole else None
    truths = {result["evaluation"]["truth"] for result in good}
    return {
        "recipe": recipe,
        "seeds": len(good),
        "metrics": metrics,
        "cost": {key: _mean([r["cost"].get(key) for r in good]) for key in _COSTS},
        "note": "the truth of the test set is not at hand" if truths == {"unknown"} else "",
        "errors": errors,
    }


_COSTS = ("training_seconds", "parameters", "trees", "models", "latency_ms")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 3) if known else None


def _order(part: Part, row: dict[str, Any]) -> tuple[float, str]:
    figure = FIGURES[part.target][0]
    spread = row["metrics"][figure.name]
    return (figure.badness(spread["mean"]) if spread else float("inf")), row["recipe"]
