"""From an experiment and a fleet to a bundle."""

from wearcast.training.experiment import Ensemble, Experiment
from wearcast.training.run import train

__all__ = ["Ensemble", "Experiment", "train"]
