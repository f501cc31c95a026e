"""The experiment: everything that decides a model, in one versioned, frozen value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from wearcast.config import Strict
from wearcast.datasets import Dataset
from wearcast.errors import ConfigError
from wearcast.features import Features, SequenceFeatures, SignalFeatures
from wearcast.models import Backbone, EnvelopeEvidence, Persistence, Survival, Tabular
from wearcast.target import FailureTarget, FaultTarget, RulTarget, SensorTarget, Target
from wearcast.windows import SplitSpec, WindowSpec

__all__ = ["Calibration", "Ensemble", "Experiment", "Optimiser", "TrainerSpec"]


NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Optimiser(Strict):
    """AdamW (Loshchilov & Hutter 2019) on a one-cycle schedule (Smith & Topin 2018)."""

    learning_rate: float = Field(3e-3, gt=0, description="Peak of the schedule.")
    weight_decay: float = Field(0.05, ge=0)
    warm_up_share: float = Field(0.2, gt=0, lt=1, description="Share of the steps on which the rate rises.")
    likelihood_weight: float = Field(1.0, gt=0, description="Weight of the log-likelihood beside the squared error.")


class TrainerSpec(Strict):
    """How long and on what a network is trained. Trees read `far_share` alone, other models without epochs nothing."""

    max_epochs: int = Field(20, ge=1)
    patience: int = Field(12, ge=1, description="Epochs without a better validation error before stopping.")
    batch_size: int = Field(256, ge=1)
    epoch_share: float = Field(0.33, gt=0, le=1, description="Share of the training windows drawn each epoch.")
    far_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the readings far from the end that are learnt from, evenly spaced: those whose time left "
        "is 1.4 times the cap of the label or more. They have one label, and neighbours say nearly the same.",
    )
    input_noise: float = Field(0.05, ge=0, description="Noise added to each scaled input, in standard deviations.")
    level_noise: float = Field(
        0.8, ge=0, description="Offset of each sensor, drawn once a window: the same wear on another unit of the build."
    )
    deviation_noise: float = Field(
        0.3, ge=0, description="Offset of each deviation, drawn once a window: a healthy start is known only so well."
    )
    sensor_dropout: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Largest share of the sensors that is missing from a window, each of which draws its own; a model "
        "with features.missing_mask 'all' knows which, and learns to do without them.",
    )
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    weight_average: float = Field(
        0.0, ge=0, lt=1, description="Decay per step of an exponential moving average of the weights; 0 for none."
    )
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = Field(False, description="Compile the network with torch.compile.")
    accelerator: str = Field("cpu", description="Lightning's accelerator: cpu, gpu, auto …")
    devices: int | Literal["auto"] = 1
    strategy: str = Field("auto", description="Lightning's strategy for several devices: ddp, fsdp …")


class Calibration(Strict):
    """Conformal recalibration on the held-out units."""

    kind: Literal["spread", "temperature", "none"] = Field(
        "spread",
        description="'spread' widens or narrows each distribution about its median, for classes with a shift of each; "
        "'temperature', of classes, without shifts: where held-out units are few; 'none' leaves all.",
    )


class Experiment(Strict):
    """A recipe, resolved."""

    version: Literal[1] = 1
    name: str = Field(pattern=NAME, max_length=100)
    dataset: Dataset
    target: Target = RulTarget()
    window: WindowSpec = WindowSpec()
    features: Features = SequenceFeatures()
    split: SplitSpec = SplitSpec()
    backbone: Backbone
    optimiser: Optimiser = Optimiser()
    trainer: TrainerSpec = TrainerSpec()
    calibration: Calibration = Calibration()
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _parts_fit(self) -> Experiment:
        tabular = isinstance(self.backbone, Tabular)
        if isinstance(self.backbone, Tabular):
            self._learns(self.backbone)
        if tabular == isinstance(self.features, SequenceFeatures):
            kind = "'statistics' or 'signal'" if tabular else "'sequence'"
            raise ValueError(f"backbone {self.backbone.kind!r} needs features.kind {kind}, not {self.features.kind!r}")
        if isinstance(self.backbone, EnvelopeEvidence):
            self._evidence_fits()
        if self.calibration.kind == "temperature" and not isinstance(self.target, FaultTarget | FailureTarget):
            raise ValueError(f"calibration 'temperature' is of classes; target {self.target.kind!r} has none")
        if tabular and isinstance(self.target, FaultTarget | FailureTarget) and self.target.focal_gamma > 0:
            raise ValueError(f"backbone {self.backbone.kind!r} has no focal loss: leave target.focal_gamma at 0")
        if self.features.calendar and self.dataset.counts_cycles:
            raise ValueError(
                f"the time of {self.dataset.name!r} is a counter of cycles, without a calendar: leave "
                "features.calendar out"
            )
        if isinstance(self.target, SensorTarget) and self.window.prediction_length < 1:
            raise ValueError("target 'sensor' needs window.prediction_length, the steps ahead, of at least 1")
        if isinstance(self.backbone, Tabular):
            self._table_fits(self.backbone)
        elif isinstance(self.target, SensorTarget) and self.backbone.pool > 1:
            raise ValueError("target 'sensor' is answered a reading at a time: leave backbone.pool at 1")
        return self

    def _learns(self, backbone: Tabular) -> None:
        kind, target = backbone.kind, self.target
        if target.kind not in backbone.targets:
            able = [spec.model_fields["kind"].default for spec in get_args(Tabular) if target.kind in spec.targets]
            raise ValueError(
                f"backbone {kind!r} does not learn target {target.kind!r}, only {', '.join(backbone.targets)}; for "
                f"{target.kind!r} take {', '.join(able)} or a network, such as 'tft'"
            )

    def _table_fits(self, backbone: Tabular) -> None:
        kind, target = backbone.kind, self.target
        if not isinstance(backbone, Survival | Persistence):
            return
        if isinstance(target, FailureTarget) and target.horizon is None:
            raise ValueError(
                f"backbone {kind!r} reads a failure off the time to it: give target.horizon instead of target.label, "
                "or take 'ridge' or 'lightgbm'"
            )
        if isinstance(backbone, Persistence) and isinstance(target, SensorTarget) and not target.relative:
            raise ValueError("backbone 'persistence' forecasts no change: leave target.relative at true")
        if isinstance(backbone, Persistence) and not isinstance(target, SensorTarget) and not self.features.age:
            raise ValueError("backbone 'persistence' reads the age: set features.kind 'statistics' with age")

    def _evidence_fits(self) -> None:
        features = self.features
        lines = features.envelope.lines if isinstance(features, SignalFeatures) and features.envelope else ()
        if not {"bpfi", "bpfo"} <= set(lines) or not isinstance(features, SignalFeatures) or not features.wavelets:
            raise ValueError(
                "backbone 'envelope_evidence' needs features.kind 'signal' with wavelets and envelope.lines bpfi, bpfo"
            )

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> Experiment:
        """Read an experiment from a file or a shipped recipe's name.

        Args:
            path: a YAML file, or the name of a recipe.
            overrides: `key.path=value` texts, as `--set` takes them.

        Raises:
            ConfigError: with file, line, path and what was expected.
        """
        from wearcast.training.recipes import load_experiment

        found = load_experiment(str(path), overrides)
        if not isinstance(found, cls):
            raise ConfigError(
                "this is an ensemble, not one model", where=str(path), hint="read it with Ensemble.from_yaml"
            )
        return found

    def record(self) -> dict[str, Any]:
        """The experiment as plain values, as it is stored in the bundle."""
        return self.model_dump(mode="json")


class Ensemble(Strict):
    """Several models of one data set and target, whose forecasts are pooled and calibrated as one.

    Each member is trained once for each fold of units, so that what it says of units that it has not seen is known of
    all of them; the weights and the calibration are learnt from that (Wolpert 1992, "Stacked generalization"). A member
    that reads tables cross-fits itself.
    """

    version: Literal[1] = 1
    name: str = Field(pattern=NAME, max_length=100)
    dataset: Dataset
    target: Target = RulTarget()
    members: dict[Annotated[str, Field(pattern=NAME, max_length=40)], Experiment] = Field(
        min_length=1, max_length=20, description="An experiment each, as `{extends: RECIPE, …}`; all of this data set."
    )
    seeds: int = Field(1, ge=1, le=20, description="How often each member is trained, each time with another seed.")
    combine: Literal["mean", "weighted", "stacked"] = Field(
        "stacked",
        description="'mean': all members count alike; 'weighted': by the inverse of their mean squared error on units "
        "that they had not seen; 'stacked': the weights under which the pooled error is least there, pulled towards "
        "'weighted' as far as that helps.",
    )
    split: SplitSpec = Field(SplitSpec(), description="As many folds as validation_share goes into 1.")
    calibration: Calibration = Calibration()
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _members_fit(self) -> Ensemble:
        for name, member in self.members.items():
            if member.dataset != self.dataset or member.target != self.target:
                what = "data set" if member.dataset != self.dataset else "target"
                raise ValueError(f"member {name!r} has another {what} than the ensemble")
        if isinstance(self.target, SensorTarget):
            steps = {member.window.prediction_length for member in self.members.values()}
            if len(steps) > 1:
                raise ValueError(f"members forecast {sorted(steps)} steps ahead: set one window.prediction_length")
        if len({member.features.every for member in self.members.values()}) > 1:
            raise ValueError("members take windows at different readings: set one features.every")
        return self

    @property
    def first(self) -> Experiment:
        """The first member, calibrated as the ensemble is."""
        member = next(iter(self.members.values()))
        return member.model_copy(update={"calibration": self.calibration, "seed": self.seed})

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> Ensemble:
        """Read an ensemble from a file or a shipped recipe's name; see `Experiment.from_yaml`.

        Raises:
            ConfigError: with file, line, path and what was expected.
        """
        from wearcast.training.recipes import load_experiment

        found = load_experiment(str(path), overrides)
        if not isinstance(found, cls):
            raise ConfigError("this is one model, not an ensemble", where=str(path), hint="an ensemble has `members`")
        return found

    def record(self) -> dict[str, Any]:
        """The ensemble as plain values, as it is stored in the bundle."""
        return self.model_dump(mode="json")
