"""Backbones and heads; `spec` lists them without importing torch."""

from wearcast.models.spec import Backbone, CnnBiLstm, Inputs, LightGbm, Tft

__all__ = ["Backbone", "CnnBiLstm", "Inputs", "LightGbm", "Tft"]
