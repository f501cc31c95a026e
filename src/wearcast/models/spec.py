"""The list of backbones, as a discriminated union on `kind`.

Each entry is the frozen configuration of one backbone and knows how to build its module. The modules live in files
of their own, imported on building, so that a recipe can be checked and a bundle served without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from wearcast.config import Strict

if TYPE_CHECKING:
    from wearcast.models.network import BackboneModule

__all__ = [
    "Autoformer",
    "Backbone",
    "CnnBiLstm",
    "EnvelopeEvidence",
    "Informer",
    "Inputs",
    "LightGbm",
    "Network",
    "Persistence",
    "Ridge",
    "Survival",
    "Tabular",
    "Tft",
]

Share = Annotated[float, Field(ge=0, lt=1)]
Pool = Annotated[
    int,
    Field(
        ge=1,
        le=64,
        description="Readings whose mean is one step of the network: less noise a step and so many times fewer steps. "
        "1 where future values are forecast.",
    ),
]


class Inputs(Strict):
    """Sizes of what a backbone reads."""

    n_past: int = Field(ge=1)
    n_static: int = 0
    n_known_future: int = 0
    context_length: int = Field(ge=1)
    prediction_length: int = 0
    known_future_at: tuple[int, ...] = Field((), description="Which past channels are those of the known future.")

    def pooled(self, pool: int) -> Inputs:
        """The sizes behind `models.network.pooled`."""
        return self.model_copy(update={"context_length": -(-self.context_length // pool)})


class CnnBiLstm(Strict):
    """Hybrid of convolutions, a bidirectional LSTM and attention pooling; see `models.cnn_bilstm`."""

    kind: Literal["cnn_bilstm"] = "cnn_bilstm"
    channels: int = Field(32, ge=1, description="Channels of the convolutions.")
    kernel_size: Literal[1, 3, 5, 7, 9, 11] = Field(5, description="Steps that a convolution sees.")
    strides: tuple[Annotated[int, Field(ge=1, le=8)], ...] = Field((2, 2), description="Stride of each convolution.")
    hidden: int = Field(48, ge=1, description="Units of the LSTM in each direction.")
    n_layers: int = Field(1, ge=1)
    dropout: Share = 0.3
    pool: Pool = 1

    def build(self, inputs: Inputs) -> BackboneModule:
        """The module."""
        from wearcast.models.cnn_bilstm import CnnBiLstmBackbone

        return CnnBiLstmBackbone(self, inputs)


class Tft(Strict):
    """Temporal Fusion Transformer (Lim et al. 2021); see `models.tft`."""

    kind: Literal["tft"] = "tft"
    d_model: int = Field(24, ge=1)
    n_heads: int = Field(4, ge=1)
    n_lstm_layers: int = Field(1, ge=1)
    dropout: Share = 0.1
    pool: Pool = 1

    @model_validator(mode="after")
    def _heads(self) -> Tft:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} cannot be divided among n_heads {self.n_heads}")
        return self

    def build(self, inputs: Inputs) -> BackboneModule:
        """The module."""
        from wearcast.models.tft import TemporalFusionTransformer

        return TemporalFusionTransformer(
            n_past=inputs.n_past,
            n_static=inputs.n_static,
            n_known_future=inputs.n_known_future,
            prediction_length=inputs.prediction_length,
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_lstm_layers=self.n_lstm_layers,
            dropout=self.dropout,
        )


class Informer(Strict):
    """Informer (Zhou et al. 2021); see `models.informer`."""

    kind: Literal["informer"] = "informer"
    d_model: int = Field(64, ge=1)
    n_heads: int = Field(4, ge=1, description="Attention heads; must divide d_model.")
    n_encoder_layers: int = Field(2, ge=1)
    n_decoder_layers: int = Field(1, ge=1)
    d_feed_forward: int = Field(128, ge=1, description="Width between the two maps behind each attention.")
    factor: int = Field(5, ge=1, description="Active queries and sampled keys: so often the logarithm of the length.")
    distil: bool = Field(True, description="Halve the steps between encoder layers.")
    label_share: float = Field(0.5, gt=0, le=1, description="Share of the context that the decoder starts from.")
    centred: bool = Field(False, description="Read deviations from the mean of the window; the head adds the mean.")
    dropout: Share = 0.1
    pool: Pool = 1

    @model_validator(mode="after")
    def _heads(self) -> Informer:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} cannot be divided among n_heads {self.n_heads}")
        return self

    def build(self, inputs: Inputs) -> BackboneModule:
        """The module."""
        from wearcast.models.informer import InformerBackbone

        return InformerBackbone(self, inputs)


class Autoformer(Strict):
    """Autoformer (Wu et al. 2021); see `models.autoformer`."""

    kind: Literal["autoformer"] = "autoformer"
    d_model: int = Field(32, ge=1)
    n_heads: int = Field(1, ge=1, description="Sets of delays, each for a share of d_model; must divide it.")
    n_encoder_layers: int = Field(2, ge=1)
    n_decoder_layers: int = Field(1, ge=1)
    d_feed_forward: int = Field(64, ge=1, description="Width between the two maps behind each auto-correlation.")
    moving_average: int = Field(25, ge=1, description="Steps whose mean is the trend.")
    factor: float = Field(1.0, gt=0, description="Delays that are joined: so often the logarithm of the length.")
    centred: bool = Field(
        False, description="With a horizon, read deviations from the mean of the window; the head adds the mean."
    )
    trend_ahead: Literal["mean", "learned"] = Field(
        "mean",
        description="How the trend begins over the horizon: 'mean' of the window, as in the paper, or that and a "
        "'learned' sum of the deviations from it, the same for all columns.",
    )
    dropout: Share = 0.1
    pool: Pool = 1

    @model_validator(mode="after")
    def _heads(self) -> Autoformer:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} cannot be divided among n_heads {self.n_heads}")
        return self

    def build(self, inputs: Inputs) -> BackboneModule:
        """The module."""
        from wearcast.models.autoformer import AutoformerBackbone

        return AutoformerBackbone(self, inputs)


TargetKind = Literal["rul", "failure", "fault", "sensor"]
Penalties = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class LightGbm(Strict):
    """Gradient-boosted trees on window statistics, cross-fitted by unit; see `models.gradient_boosting`."""

    targets: ClassVar[tuple[TargetKind, ...]] = ("rul", "failure", "fault", "sensor")
    kind: Literal["lightgbm"] = "lightgbm"
    folds: int = Field(5, ge=2, le=20, description="Folds of units: each tree model is judged on units it never saw.")
    n_trees: int = Field(250, ge=1)
    learning_rate: float = Field(0.05, gt=0, le=1)
    max_leaves: int = Field(24, ge=2)
    min_leaf_rows: int = Field(60, ge=1)
    feature_share: float = Field(0.5, gt=0, le=1, description="Share of the features that each tree may use.")
    row_share: float = Field(0.7, gt=0, le=1, description="Share of the rows that each tree sees.")
    l2: float = Field(5.0, ge=0)
    bins: int = Field(255, ge=2, le=65_000, description="Thresholds of a column; more where a limit must be exact.")
    rows_per_unit: int = Field(400, ge=1, description="Most rows of one unit that are trained on, evenly spaced.")
    wear_indices: bool = Field(
        False, description="For target rul, add weighted sums of all sensors, by regression; see `models.wear_indices`."
    )
    threads: int = Field(0, ge=0, description="Threads; 0 for all.")


class EnvelopeEvidence(Strict):
    """Bearing faults by their line in the envelope spectrum; see `models.envelope_evidence`."""

    targets: ClassVar[tuple[TargetKind, ...]] = ("fault",)
    kind: Literal["envelope_evidence"] = "envelope_evidence"
    inner: str = Field("inner", description="Class whose line is BPFI; its faults are taken to show it always.")
    outer: str = Field("outer", description="Class whose line is BPFO; its faults may hide from envelope analysis.")
    false_lines: float = Field(
        0.001, gt=0, lt=0.5, description="Share of segments of other faults that may show a race's line by chance."
    )
    penalty: float = Field(100.0, gt=0, description="Of the squared weights of the regression without a line.")
    folds: int = Field(5, ge=2, le=20, description="Folds of units, whose scores calibration uses.")
    rows_per_unit: int = Field(400, ge=1, description="Most rows of one unit that are trained on, evenly spaced.")


Network = CnnBiLstm | Tft | Informer | Autoformer


class Ridge(Strict):
    """Linear model of window statistics with squared weights penalised, cross-fitted by unit; see `models.linear`."""

    targets: ClassVar[tuple[TargetKind, ...]] = ("rul", "failure", "fault", "sensor")
    kind: Literal["ridge"] = "ridge"
    penalties: Penalties = Field(
        (1e-4, 1e-3, 1e-2, 0.1, 1.0),
        description="Of the squared weights of standardised columns; the one of least error out of fold is taken.",
    )
    folds: int = Field(5, ge=2, le=20, description="Folds of units, each judged by a model that never saw them.")
    rows_per_unit: int = Field(400, ge=1, description="Most rows of one unit that are trained on, evenly spaced.")


class Survival(Strict):
    """Weibull regression of the time left on window statistics, running units included; see `models.linear`."""

    targets: ClassVar[tuple[TargetKind, ...]] = ("rul", "failure")
    kind: Literal["survival"] = "survival"
    penalties: Penalties = Field(
        (1e-3, 1e-2, 0.1), description="Of the squared weights; the one likeliest out of fold is taken."
    )
    folds: int = Field(5, ge=2, le=20, description="Folds of units, each judged by a model that never saw them.")
    rows_per_unit: int = Field(400, ge=1, description="Most rows of one unit that are trained on, evenly spaced.")


class Persistence(Strict):
    """No model: the last value stays, with the changes seen in training about it; a life as long as others of its age.

    For `rul` and `failure` the fleet's own life table given the age.
    """

    targets: ClassVar[tuple[TargetKind, ...]] = ("rul", "failure", "sensor")
    kind: Literal["persistence"] = "persistence"
    folds: int = Field(5, ge=2, le=20, description="Folds of units, each judged by what the others' say.")
    rows_per_unit: int = Field(400, ge=1, description="Most rows of one unit that are counted, evenly spaced.")


Tabular = LightGbm | EnvelopeEvidence | Ridge | Survival | Persistence
"""Backbones that read tables; they learn from all units, each fold held out from the others' models."""
Backbone = Annotated[
    CnnBiLstm | Tft | Informer | Autoformer | LightGbm | EnvelopeEvidence | Ridge | Survival | Persistence,
    Field(discriminator="kind"),
]
