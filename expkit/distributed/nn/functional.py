"""Collective operations that return their results and can be differentiated, as torch.distributed.nn.functional.

A gradient is that of the sum of what all ranks differentiate. Every rank must take part, in backward too.
"""

from collections.abc import Sequence
from typing import Any

import expkit.tensor as T
from expkit.distributed.group import ReduceOp, member
from expkit.errors import ShapeError
from expkit.tensor import Tensor
from expkit.tensor.communicator import Communicator
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.collective import (
    all_gather_p,
    all_reduce_p,
    all_to_all_p,
    broadcast_p,
    reduce_p,
    reduce_scatter_p,
)


def _op(op: Any, what: str) -> ReduceOp:
    if not isinstance(op, ReduceOp):
        raise TypeError(f"{what}: op must be one of ReduceOp, not {op!r}")
    return op


def _source(rank: Any, comm: Communicator, what: str) -> int:
    if not isinstance(rank, int) or not 0 <= rank < comm.size:
        raise ValueError(f"{what}: there is no rank {rank!r} among {comm.size}")
    return rank


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum (or mean, product, minimum, maximum) over all ranks."""
    comm = member(group)
    x = require_tensor(tensor, "all_reduce")
    if _op(op, "all_reduce") is ReduceOp.SUM:
        return all_reduce_p(x, comm=comm)
    if op is ReduceOp.AVG:
        return all_reduce_p(x, comm=comm) / comm.size
    parts = all_gather_p(x, comm=comm)
    if op is ReduceOp.PRODUCT:
        return parts.prod(0)
    return parts.amax(0) if op is ReduceOp.MAX else parts.amin(0)


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """What rank `src` has, on all ranks."""
    comm = member(group)
    return broadcast_p(require_tensor(tensor, "broadcast"), comm=comm, source=_source(src, comm, "broadcast"))


def reduce(tensor: Tensor, dst: int, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The sum (or mean) over all ranks on rank `dst`, zeros elsewhere."""
    comm = member(group)
    if _op(op, "reduce") not in (ReduceOp.SUM, ReduceOp.AVG):
        raise ValueError(f"reduce: op must be SUM or AVG, not {op}")
    total = reduce_p(require_tensor(tensor, "reduce"), comm=comm, target=_source(dst, comm, "reduce"))
    return total / comm.size if op is ReduceOp.AVG else total


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """What all ranks have, by rank."""
    return tuple(all_gather_p(require_tensor(tensor, "all_gather"), comm=member(group)).unbind(0))


def gather(tensor: Tensor, dst: int = 0, group: Any = None) -> tuple[Tensor, ...]:
    """What all ranks have, by rank, on rank `dst`; zeros elsewhere."""
    comm = member(group)
    parts = all_gather_p(require_tensor(tensor, "gather"), comm=comm)
    if _source(dst, comm, "gather") != comm.rank:  # zeros that backward comes by: it is a collective as well
        parts = parts.masked_fill(T.ones_like(parts, dtype=T.bool_), 0)
    return tuple(parts.unbind(0))


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Any = None) -> Tensor:
    """This rank's one of the tensors that rank `src` has; the others give tensors of the same shape."""
    comm = member(group)
    parts = _stacked(tensors, comm, "scatter")
    return broadcast_p(parts, comm=comm, source=_source(src, comm, "scatter"))[comm.rank]


def _stacked(tensors: Sequence[Tensor], comm: Communicator, what: str) -> Tensor:
    if len(tensors) != comm.size:
        raise ValueError(f"{what}: a tensor for each of the {comm.size} ranks is needed, got {len(tensors)}")
    return T.stack([require_tensor(x, what) for x in tensors])


def reduce_scatter(
    output: Tensor | None, input_list: Sequence[Tensor], op: ReduceOp = ReduceOp.SUM, group: Any = None
) -> Tensor:
    """The sum (or mean) over all ranks of what they have for this one. `output` is not looked at."""
    comm = member(group)
    if _op(op, "reduce_scatter") not in (ReduceOp.SUM, ReduceOp.AVG):
        raise ValueError(f"reduce_scatter: op must be SUM or AVG, not {op}")
    total = reduce_scatter_p(_stacked(input_list, comm, "reduce_scatter"), comm=comm)
    return total / comm.size if op is ReduceOp.AVG else total


def all_to_all(
    output_tensor_list: Sequence[Tensor] | None, input_tensor_list: Sequence[Tensor], group: Any = None
) -> tuple[Tensor, ...]:
    """What all ranks have for this one, by rank; all of one shape. `output_tensor_list` is not looked at."""
    comm = member(group)
    return tuple(all_to_all_p(_stacked(input_tensor_list, comm, "all_to_all"), comm=comm).unbind(0))


def all_to_all_single(output: Tensor | None, input: Tensor, group: Any = None) -> Tensor:
    """As all_to_all, of the equal parts of `input` along dim 0, joined again. `output` is not looked at."""
    comm = member(group)
    if not require_tensor(input, "all_to_all_single").ndim or input.shape[0] % comm.size:
        raise ShapeError(f"all_to_all_single: dim 0 of {tuple(input.shape)} does not part into {comm.size} ranks")
    parts = input.reshape(comm.size, input.shape[0] // comm.size, *input.shape[1:])
    return all_to_all_p(parts, comm=comm).reshape(*input.shape)
