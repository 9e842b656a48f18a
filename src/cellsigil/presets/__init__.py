"""Presets: a list of calls of the public functions, run from counts to report in one go."""

from cellsigil.presets._errors import InputError, StepError, sentence
from cellsigil.presets._preset import Preset, Step, load, names
from cellsigil.presets._run import run

__all__ = ["InputError", "Preset", "Step", "StepError", "load", "names", "run", "sentence"]
