"""From an experiment and a fleet to a bundle."""

from wearcast.training.experiment import Experiment
from wearcast.training.run import train

__all__ = ["Experiment", "train"]
