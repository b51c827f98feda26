"""Profiling: what each kernel of a training step takes, against what the machine can do."""

from expkit.trainer.profiling.machine import Peaks, measure
from expkit.trainer.profiling.profile import Profile, Row, make_profile

__all__ = ["Peaks", "Profile", "Row", "make_profile", "measure"]
