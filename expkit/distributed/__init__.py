"""Collective operations by torch.distributed's names, over the communicators that there are so far.

    results = ek.distributed.threads(train, 4)       # train() on four ranks, which are threads of this process

A process by itself is a world of one: init_process_group() makes it so. The functions here write into the tensors that
they are given and are not recorded; those of `distributed.nn.functional` return their results and have gradients.
"""

from expkit.distributed import nn
from expkit.distributed.collectives import (
    all_gather,
    all_gather_into_tensor,
    all_reduce,
    all_to_all,
    all_to_all_single,
    barrier,
    broadcast,
    gather,
    reduce,
    reduce_scatter,
    reduce_scatter_tensor,
    scatter,
)
from expkit.distributed.group import (
    ReduceOp,
    destroy_process_group,
    get_backend,
    get_rank,
    get_world_size,
    init_process_group,
    is_available,
    is_initialized,
)
from expkit.tensor.communicator import CollectiveError, Communicator, LocalCommunicator, threads

__all__ = [
    "CollectiveError", "Communicator", "LocalCommunicator", "ReduceOp", "all_gather", "all_gather_into_tensor",
    "all_reduce", "all_to_all", "all_to_all_single", "barrier", "broadcast", "destroy_process_group", "gather",
    "get_backend", "get_rank", "get_world_size", "init_process_group", "is_available", "is_initialized", "nn", "reduce",
    "reduce_scatter", "reduce_scatter_tensor", "scatter", "threads",
]  # fmt: skip
