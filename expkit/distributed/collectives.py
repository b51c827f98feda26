"""Collective operations that write into the tensors they are given, as torch.distributed's. Not recorded."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from expkit.autograd import no_grad
from expkit.distributed.group import ReduceOp, member
from expkit.distributed.nn import functional as F
from expkit.errors import ShapeError
from expkit.tensor import Tensor


class Work:
    """What async_op=True returns. The operation is over by then."""

    def wait(self, timeout: Any = None) -> bool:
        return True

    def is_completed(self) -> bool:
        return True


def _collective(fn: Callable[..., None]) -> Callable[..., Work | None]:
    """fn, unrecorded, with the argument async_op."""

    @wraps(fn)
    def call(*args: Any, async_op: bool = False, **kw: Any) -> Work | None:
        with no_grad():
            fn(*args, **kw)
        return Work() if async_op else None

    return call


def _into(targets: Sequence[Tensor], values: Sequence[Tensor], what: str) -> None:
    if len(targets) != len(values):
        raise ValueError(f"{what}: a tensor for each of the {len(values)} ranks is needed, got {len(targets)}")
    for target, value in zip(targets, values, strict=True):
        if tuple(target.shape) != tuple(value.shape):
            raise ShapeError(f"{what}: a result of shape {tuple(value.shape)} does not go into {tuple(target.shape)}")
        target.copy_(value)


@_collective
def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> None:
    """tensor = the sum (or mean, product, minimum, maximum) over all ranks."""
    tensor.copy_(F.all_reduce(tensor, op, group))


@_collective
def broadcast(tensor: Tensor, src: int = 0, group: Any = None) -> None:
    """tensor = what rank `src` has."""
    tensor.copy_(F.broadcast(tensor, src, group))


@_collective
def reduce(tensor: Tensor, dst: int = 0, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> None:
    """tensor = the sum (or mean) over all ranks, on rank `dst`; it stays as it is elsewhere."""
    total = F.reduce(tensor, dst, op, group)
    if member(group).rank == dst:
        tensor.copy_(total)


@_collective
def gather(tensor: Tensor, gather_list: Sequence[Tensor] | None = None, dst: int = 0, group: Any = None) -> None:
    """gather_list[r] = what rank r has, on rank `dst`; the others leave gather_list out."""
    mine = member(group).rank == dst
    if mine != (gather_list is not None):
        raise ValueError("gather: gather_list is for the rank dst, and for that one alone")
    parts = F.gather(tensor, dst, group)
    if gather_list is not None:
        _into(gather_list, parts, "gather")


@_collective
def scatter(tensor: Tensor, scatter_list: Sequence[Tensor] | None = None, src: int = 0, group: Any = None) -> None:
    """tensor = this rank's one of scatter_list, which rank `src` gives and the others leave out."""
    comm = member(group)
    if (comm.rank == src) != (scatter_list is not None):
        raise ValueError("scatter: scatter_list is for the rank src, and for that one alone")
    given = [tensor] * comm.size if scatter_list is None else scatter_list
    _into([tensor], [F.scatter(given, src, group)], "scatter")


@_collective
def all_gather(tensor_list: Sequence[Tensor], tensor: Tensor, group: Any = None) -> None:
    """tensor_list[r] = what rank r has."""
    _into(tensor_list, F.all_gather(tensor, group), "all_gather")


@_collective
def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: Any = None) -> None:
    """output_tensor = what all ranks have, joined along dim 0, or stacked if it is of that shape."""
    size = member(group).size
    stacked = (size, *input_tensor.shape)
    joined = (size * input_tensor.shape[0], *input_tensor.shape[1:]) if input_tensor.ndim else stacked
    if tuple(output_tensor.shape) not in (stacked, joined):
        raise ShapeError(
            f"all_gather_into_tensor: expected an output of shape {joined}, got {tuple(output_tensor.shape)}"
        )
    _into(output_tensor.reshape(*stacked).unbind(0), F.all_gather(input_tensor, group), "all_gather_into_tensor")


@_collective
def reduce_scatter(
    output: Tensor, input_list: Sequence[Tensor], op: ReduceOp = ReduceOp.SUM, group: Any = None
) -> None:
    """output = the sum (or mean) over all ranks of what they have for this one."""
    _into([output], [F.reduce_scatter(None, input_list, op, group)], "reduce_scatter")


@_collective
def reduce_scatter_tensor(output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None) -> None:
    """As reduce_scatter, of the equal parts of `input` along dim 0."""
    size = member(group).size
    if not input.ndim or input.shape[0] % size:
        raise ShapeError(f"reduce_scatter_tensor: dim 0 of {tuple(input.shape)} does not part into {size} ranks")
    total = F.reduce_scatter(None, input.chunk(size), op, group)
    _into(
        [output], [total.reshape(*output.shape) if total.numel() == output.numel() else total], "reduce_scatter_tensor"
    )


@_collective
def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Any = None) -> None:
    """output_tensor_list[r] = what rank r has for this one."""
    _into(output_tensor_list, F.all_to_all(None, input_tensor_list, group), "all_to_all")


@_collective
def all_to_all_single(output: Tensor, input: Tensor, group: Any = None) -> None:
    """As all_to_all, of the equal parts of `input` along dim 0."""
    _into([output], [F.all_to_all_single(None, input, group)], "all_to_all_single")


@_collective
def barrier(group: Any = None) -> None:
    """Waits for all ranks."""
    member(group).barrier()
