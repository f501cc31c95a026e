"""Backbones and heads; `spec` lists them without importing torch."""

from wearcast.models.spec import (
    Autoformer,
    Backbone,
    CnnBiLstm,
    EnvelopeEvidence,
    Informer,
    Inputs,
    LightGbm,
    Persistence,
    Ridge,
    Survival,
    Tabular,
    Tft,
)

__all__ = [
    "Autoformer",
    "Backbone",
    "CnnBiLstm",
    "EnvelopeEvidence",
    "Informer",
    "Inputs",
    "LightGbm",
    "Persistence",
    "Ridge",
    "Survival",
    "Tabular",
    "Tft",
]
