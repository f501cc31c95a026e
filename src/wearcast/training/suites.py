"""The suites of `wearcast benchmark`: which data, which question, and what others have reached by which protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wearcast.config import nearest
from wearcast.errors import UsageError
from wearcast.training.experiment import Ensemble, Experiment
from wearcast.training.recipes import load_experiment, recipe_names

__all__ = ["SUITES", "Anchor", "Part", "Suite", "find_suite", "recipes_of"]

TargetKind = Literal["rul", "failure", "fault", "sensor"]


@dataclass(frozen=True)
class Anchor:
    """What someone reached.

    Attributes:
        name: the method.
        figures: value of each figure, by its name in `evaluate --json`.
        protocol: how the model was chosen and scored; figures of another protocol do not compare.
        source: where it is written.
    """

    name: str
    figures: dict[str, float]
    protocol: str
    source: str


@dataclass(frozen=True)
class Part:
    """One question of a suite; every shipped recipe of this data set and target answers it.

    Attributes:
        name: for tables and folders.
        dataset: as recipes name it.
        target: kind of target.
        assignments: `key=value` for every recipe; `{seed}` stands for the seed.
        anchors: what others reached.
        note: what to know of it.
    """

    name: str
    dataset: str
    target: TargetKind
    assignments: tuple[str, ...] = ()
    anchors: tuple[Anchor, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
        name: as the command line takes it.
        title: of its page.
        protocol: how its models are trained and scored.
        search: how its recipes were found, and what was in sight while they were.
        parts: its questions.
    """

    name: str
    title: str
    protocol: str
    search: str
    parts: tuple[Part, ...]


_HONEST = "validation by held-out training units, test scored once"
_SUBSETS = ("FD001", "FD002", "FD003", "FD004")


def _cmapss(name: str, values: tuple[float, float, float, float], protocol: str, source: str) -> tuple[Anchor, ...]:
    return tuple(Anchor(name, {"rmse_capped": value}, protocol, source) for value in values)


_CMAPSS_ANCHORS = (
    _cmapss("DCNN, replicated", (12.58, 12.25, 12.12, 13.07), f"{_HONEST}; 10 seeds", "after Li, Ding & Sun 2018"),
    _cmapss("STA-HPINN without physics, replicated", (11.69, 13.94, 10.27, 15.88), _HONEST, "replication"),
    _cmapss("XGBoost on window statistics", (11.9, 12.7, 12.1, 13.8), _HONEST, "replication"),
    _cmapss("boosted trees on several time scales, mean of three", (11.4, 10.0, 9.0, 10.6), _HONEST, "own baseline"),
    _cmapss("small CNN-BiLSTM, mean of two or three", (10.1, 11.0, 9.3, 10.6), _HONEST, "own baseline"),
    _cmapss("STAR, run again", (12.2, 20.0, 12.7, 24.2), _HONEST, "replication"),
    _cmapss("STAR, as published", (10.6, 13.5, 10.7, 15.9), "as published; not reached by the run above", "paper"),
)

_CMAPSS = Suite(
    name="cmapss",
    title="C-MAPSS",
    protocol="RMSE in cycles against labels capped at 125 at the last reading of each test unit. Stopping, calibration "
    "and weights by held-out training units; the test set is scored once a model, after everything is decided.",
    search="Recipes were searched by cross-validation over training units only; what was seen of test sets before that "
    "was the rule is told in [Results](results.md).",
    parts=tuple(
        Part(
            name=subset,
            dataset=f"cmapss/{subset}",
            target="rul",
            anchors=tuple(anchor[i] for anchor in _CMAPSS_ANCHORS),
            note="Without the file of true RULs beside the test set nothing can be scored; forecasts are written."
            if subset in ("FD002", "FD004")
            else "",
        )
        for i, subset in enumerate(_SUBSETS)
    ),
)

_AI4I = Suite(
    name="ai4i",
    title="AI4I 2020",
    protocol="Records are divided at random by the seed into training and test; the alarm threshold and the "
    "calibration are chosen on held-out training records.",
    search="Recipes were chosen by five folds of the training records of split 0, so every other split tests records "
    "that were in sight; one derived column uses two published limits of the data's own rules: see "
    "[AI4I](datasets/ai4i.md).",
    parts=(
        Part(
            name="failure",
            dataset="ai4i",
            target="failure",
            assignments=("dataset.split_seed={seed}",),
            anchors=(
                Anchor(
                    "boosted trees with physics features",
                    {"pr_auc": 0.92, "roc_auc": 0.993, "f1": 0.88},
                    "threshold chosen on validation; one split",
                    "own replication",
                ),
                Anchor("boosted trees on raw sensors", {"pr_auc": 0.81}, "one split", "own replication"),
            ),
        ),
        Part(name="fault", dataset="ai4i", target="fault", assignments=("dataset.split_seed={seed}",)),
    ),
)

_SKF = Suite(
    name="skf",
    title="SKF bearings",
    protocol="Leave one fault size out, at loads that were not trained on; whole recordings, never windows of one "
    "recording, are divided.",
    search="The recipe was chosen with these folds in sight: see [SKF bearings](datasets/skf.md).",
    parts=tuple(
        Part(
            name=f"unseen {size} in",
            dataset="skf",
            target="fault",
            assignments=(f"dataset.test_sizes=[{size}]",),
            anchors=(
                Anchor(
                    "envelope energy at the fault frequencies, logistic regression",
                    {"macro_f1": value},
                    "leave one fault size out",
                    "own replication",
                ),
            ),
        )
        for size, value in (("0.007", 1.00), ("0.014", 0.56), ("0.021", 0.88))
    ),
)

_LATER = "standard 12/4/4-month split, standardised, 96 hours to 96 hours, all seven columns"
_ETT = Suite(
    name="ett",
    title="ETTh1",
    protocol="The standard 12/4/4-month split, values standardised by the training months, all seven columns, every "
    "window with its whole context and horizon.",
    search="Recipes were chosen on the four validation months: see [ETTh1](datasets/etth1.md).",
    parts=(
        Part(
            name="96 hours",
            dataset="etth1",
            target="sensor",
            anchors=(
                Anchor("Autoformer", {"mse": 0.449, "mae": 0.459}, _LATER, "Wu et al. 2021"),
                Anchor("Informer", {"mse": 0.865, "mae": 0.713}, _LATER, "re-run in later papers"),
            ),
        ),
    ),
)

SUITES: tuple[Suite, ...] = (_CMAPSS, _AI4I, _SKF, _ETT)
"""Every suite."""


def find_suite(name: str) -> Suite:
    """The suite of this name.

    Raises:
        UsageError: there is none.
    """
    named = {suite.name: suite for suite in SUITES}
    if name not in named:
        hint = nearest(name, named) or f"one of {', '.join(named)}"
        raise UsageError(f"there is no suite {name!r}", hint=hint)
    return named[name]


def recipes_of(part: Part) -> tuple[str, ...]:
    """The shipped recipes that answer a question, ensembles last."""
    found: list[tuple[bool, str]] = []
    for name in recipe_names():
        experiment = _whole(name)
        if experiment is None:
            continue
        if experiment.dataset.name == part.dataset and experiment.target.kind == part.target:
            found.append((isinstance(experiment, Ensemble), name))
    return tuple(name for _, name in sorted(found))


def _whole(name: str) -> Experiment | Ensemble | None:
    """A recipe with a data set of its own."""
    from wearcast.errors import ConfigError

    try:
        return load_experiment(name)
    except ConfigError:
        return None
