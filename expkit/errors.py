"""Every error that expkit raises on purpose.

    ExpkitError
    ├── ConfigError          a config, override or registry choice is wrong        (exit code 2)
    │   └── RegistryError    a name or argument the registry does not know
    ├── DataError            a data file or dataset cannot be used                 (exit code 2)
    ├── CheckpointError      a checkpoint is corrupt, foreign or does not fit      (exit code 2)
    ├── DeviceError          a device was asked for that is not there              (exit code 2)
    ├── ShapeError           shapes do not fit (also a RuntimeError, as in PyTorch)
    ├── LinAlgError          a matrix is singular, or not positive definite (also a RuntimeError, as in PyTorch)
    ├── RangeError           an index is out of bounds (also an IndexError)
    ├── AutogradError        differentiation cannot go on (also a RuntimeError)
    │   └── InplaceError     a value needed by backward was overwritten
    ├── TraceError           a function cannot be traced (also a RuntimeError)
    ├── NonFiniteError       the loss became NaN or infinite
    ├── HookError            a callback has an unknown hook or wrong arguments     (exit code 2)
    └── TrackingError        the tracking store cannot be reached or written

A message says what is wrong, where (file and key, or override), and what would be right.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ExpkitError(Exception):
    """Base of all errors that expkit raises on purpose."""

    exit_code = 1


class ConfigError(ExpkitError):
    """A config file, an override or a choice is wrong."""

    exit_code = 2


class RegistryError(ConfigError):
    """A name or an argument that the registry does not know."""


class DataError(ExpkitError):
    """A data file or a dataset cannot be used."""

    exit_code = 2


class CheckpointError(ExpkitError):
    """A checkpoint is corrupt, foreign, or does not fit the model."""

    exit_code = 2


class DeviceError(ExpkitError, RuntimeError):
    """A device was asked for that is not there."""

    exit_code = 2


class ShapeError(ExpkitError, RuntimeError):
    """Shapes do not fit together."""

    exit_code = 2


class LinAlgError(ExpkitError, RuntimeError):
    """A matrix is singular, not positive definite, or an algorithm did not converge."""


class RangeError(ExpkitError, IndexError):
    """An index is out of bounds."""

    exit_code = 2


class AutogradError(ExpkitError, RuntimeError):
    """Differentiation cannot go on."""


class InplaceError(AutogradError):
    """A value that backward needs was overwritten in place."""


class TraceError(ExpkitError, RuntimeError):
    """A function cannot be traced into a graph."""


class NonFiniteError(ExpkitError, ArithmeticError, RuntimeError):
    """The loss became NaN or infinite."""


class HookError(ExpkitError, TypeError):
    """A callback names an unknown hook, or a hook takes the wrong arguments."""

    exit_code = 2


class TrackingError(ExpkitError):
    """The tracking store cannot be reached or written."""


def did_you_mean(word: str, known: Iterable[str], *, limit: int = 3) -> str:
    """` Did you mean 'a' or 'b'?` for the known words close to `word`; empty when none is close."""
    matches = get_close_matches(word, list(known), n=limit, cutoff=0.6)
    matches.sort(key=lambda match: not match.startswith(word))  # of equally close ones, that which was begun
    return f" Did you mean {' or '.join(repr(m) for m in matches)}?" if matches else ""
