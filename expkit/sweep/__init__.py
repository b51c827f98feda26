"""Many runs from one command: every combination of the values given, children of one MLflow run, ranked at the end."""

from expkit.sweep.multirun import multirun

__all__ = ["multirun"]
