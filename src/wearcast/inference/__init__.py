"""From a fleet to a forecast through ONNX Runtime; no torch."""

from wearcast.inference.engine import Engine
from wearcast.inference.outputs import Output, ProbabilityOutput, QuantileOutput, SurvivalOutput
from wearcast.inference.pooling import PooledEngine
from wearcast.inference.session import OnnxSession

__all__ = ["Engine", "OnnxSession", "Output", "PooledEngine", "ProbabilityOutput", "QuantileOutput", "SurvivalOutput"]
