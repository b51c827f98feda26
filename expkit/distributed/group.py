"""The default group: which communicator the collectives of this thread use."""

from enum import Enum
from typing import Any

from expkit.tensor.communicator import CURRENT, Communicator, LocalCommunicator, ThreadCommunicator


class ReduceOp(Enum):
    """How values of several ranks become one."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"


def is_available() -> bool:
    """Whether there are collective operations: always."""
    return True


def is_initialized() -> bool:
    """Whether this thread has a default group."""
    return CURRENT.communicator is not None


def init_process_group(
    backend: str | None = None, *, world_size: int = -1, rank: int = -1, communicator: Communicator | None = None
) -> None:
    """Makes a world of one the default group of this thread, or `communicator`.

    backend: "local" or None. More than one process is not possible yet; `threads` runs several ranks in one.
    """
    if is_initialized():
        raise ValueError("init_process_group: there is a default group already; destroy_process_group() ends it")
    if communicator is None:
        if backend not in (None, "local"):
            raise ValueError(f"init_process_group: the only backend is 'local', not {backend!r}")
        if world_size not in (-1, 1) or rank not in (-1, 0):
            raise ValueError(
                f"init_process_group: a process is a world of one here, not rank {rank} of {world_size}. "
                "distributed.threads(fn, size) runs several ranks as threads."
            )
    CURRENT.communicator = communicator or LocalCommunicator()


def destroy_process_group(group: Any = None) -> None:
    """Ends the default group of this thread."""
    member(None)
    CURRENT.communicator = None


def member(group: Any) -> Communicator:
    """The communicator to use: `group`, or the default one. ValueError where there is none."""
    if isinstance(group, Communicator):
        return group
    if group is not None:
        raise TypeError(f"a group must be a Communicator or None, not {type(group).__name__}")
    if CURRENT.communicator is None:
        raise ValueError("there is no default group: call distributed.init_process_group(), or use distributed.threads")
    return CURRENT.communicator


def get_rank(group: Any = None) -> int:
    """The number of this rank."""
    return member(group).rank


def get_world_size(group: Any = None) -> int:
    """How many ranks there are."""
    return member(group).size


def get_backend(group: Any = None) -> str:
    """ "threads" or "local"."""
    return "threads" if isinstance(member(group), ThreadCommunicator) else "local"
