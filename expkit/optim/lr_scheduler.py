"""The schedules under PyTorch's name of the module."""

from expkit.optim.schedulers import *  # noqa: F403
