"""Backbones and heads; `spec` lists them without importing torch."""

from wearcast.models.spec import Backbone, CnnBiLstm, EnvelopeEvidence, Inputs, LightGbm, Tabular, Tft

__all__ = ["Backbone", "CnnBiLstm", "EnvelopeEvidence", "Inputs", "LightGbm", "Tabular", "Tft"]
