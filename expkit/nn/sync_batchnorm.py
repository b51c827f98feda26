"""SyncBatchNorm: batch normalisation by the statistics of all ranks' batches together."""

from __future__ import annotations

from typing import Any

import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import ShapeError
from expkit.nn.module import Module
from expkit.nn.norm import _BatchNorm
from expkit.tensor import Tensor
from expkit.tensor.communicator import current
from expkit.tensor.ops.collective import all_reduce_p


class SyncBatchNorm(_BatchNorm):
    """Each channel to mean 0 and variance 1 over the batches of all ranks.   (N, C, ...)

    As BatchNorm of the joined batch: values, running statistics and gradients. Two collectives forward (the mean, then
    the variance about it), two backward. In evaluation, and in a world of one, it is BatchNorm. process_group: a
    communicator; None: the default one. The ranks' batches may differ in size.
    """

    dims = tuple(range(2, 9))
    picture = "(N, C, ...)"

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        comm = self.process_group or current()
        if comm.size == 1 or not (self.training or self.running_mean is None):
            return super().forward(input)
        self._check(input)
        moved = self._count() if self.training and self.track_running_stats else None
        return self._normalized(input, comm, moved)

    def _normalized(self, input: Tensor, comm: Any, moved: float | None) -> Tensor:
        x = input if input.dtype.itemsize > 2 else input.float()
        axes = (0, *range(2, x.ndim))
        beside = (1, -1, *[1] * (x.ndim - 2))
        here = x.new_full((1,), x.numel() // self.num_features)
        sums = all_reduce_p(T.cat([x.sum(axes), here]), comm=comm)
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        if count.item() == 1:
            raise ShapeError(f"Expected more than 1 value per channel when training, got {tuple(input.shape)} in all")
        centred = x - mean.reshape(beside)
        var = all_reduce_p((centred * centred).sum(axes), comm=comm) / count
        if moved is not None:
            self._move(mean.detach(), var.detach() * (count / (count - 1)), moved)
        out = centred * (var + self.eps).rsqrt().reshape(beside)
        if self.weight is not None:
            out = out * self.weight.reshape(beside)
        if self.bias is not None:
            out = out + self.bias.reshape(beside)
        return out.to(input.dtype)

    def _move(self, mean: Tensor, var: Tensor, momentum: float) -> None:
        with no_grad():
            for running, value in ((self.running_mean, mean), (self.running_var, var)):
                running.copy_(running * (1 - momentum) + value * momentum)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with a SyncBatchNorm, of the same parameters and statistics, for every BatchNorm in it."""
        made = module
        if isinstance(module, _BatchNorm):
            made = cls(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats,
                process_group,
            )  # fmt: skip
            made.weight, made.bias = module.weight, module.bias
            made.running_mean, made.running_var = module.running_mean, module.running_var
            made.num_batches_tracked = module.num_batches_tracked
            made.training = module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made
