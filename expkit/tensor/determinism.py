"""Whether only operations are allowed that give the same bits in every run, as torch.use_deterministic_algorithms.

What it means here. On the CPU every operation is deterministic anyway: kernels share their work out in fixed pieces and
sum them up in a fixed order. On a GPU the operations that add several values into one place (scatter_add, index_add,
the gradients of indexing and of embeddings) do it in no fixed order, so that their last bits vary: with the switch on
they are refused, or with warn_only=True reported. Random numbers depend on seed and offset alone.
"""

import warnings

from expkit.errors import ExpkitError


class NondeterministicError(ExpkitError, RuntimeError):
    """An operation without a deterministic form was called while only such are allowed."""


class _Switch:
    enabled = False
    warn_only = False


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Refuses operations that may differ from run to run (see above), for the whole process; mode=False allows them."""
    if not isinstance(mode, bool):
        raise TypeError(f"use_deterministic_algorithms: mode must be True or False, not {mode!r}")
    _Switch.enabled, _Switch.warn_only = mode, bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """Whether use_deterministic_algorithms is on."""
    return _Switch.enabled


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether use_deterministic_algorithms was called with warn_only=True."""
    return _Switch.warn_only


def alert(name: str) -> None:
    """Called by operations that have no deterministic form, before they run."""
    if not _Switch.enabled:
        return
    text = (
        f"{name} on a GPU is not deterministic, and use_deterministic_algorithms(True) is set. "
        "Run it on the CPU, or allow it with use_deterministic_algorithms(True, warn_only=True)."
    )
    if not _Switch.warn_only:
        raise NondeterministicError(text)
    warnings.warn(text, UserWarning, stacklevel=2)
