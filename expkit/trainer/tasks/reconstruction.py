"""ReconstructionTask: the input is the target. For autoencoders, also variational ones."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from expkit.errors import ConfigError
from expkit.nn import MSELoss
from expkit.nn.models import VAE
from expkit.nn.module import Module
from expkit.optim import Optimizer
from expkit.registry import register
from expkit.tensor import Tensor
from expkit.trainer.metrics import MeanMetric, Metric
from expkit.trainer.tasks.supervised import SupervisedTask


@register("task", "reconstruction")
class ReconstructionTask(SupervisedTask):
    """Minimises loss(model(x), x) over batches x or (x, anything); logs train/loss, val/loss and the metrics.

    Of a `VAE` it minimises loss + beta KL(q(z|x) || p(z)) / numbers in a sample, and logs val/recon, the loss alone,
    and val/kl, in nats for each sample. With the mean squared error and beta=1 that is, for each number and up to a
    constant, the bound of Kingma and Welling (2014) for a normal decoder of variance 1/2; Higgins et al. (2017) have
    larger betas. metrics: of reconstructions and inputs.
    """

    kind = "reconstruction"

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor] | None = None,
        optimizer: Callable[[Iterable[Tensor]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], Any] | None = None,
        metrics: Callable[[], dict[str, Metric]] | None = None,
        beta: float = 1.0,
    ) -> None:
        super().__init__(model, loss or MSELoss(), optimizer, scheduler, task=self.kind, metrics=metrics)
        if beta < 0:
            raise ConfigError(f"ReconstructionTask: beta={beta}: expected a number of at least 0.")
        self.beta = beta
        if isinstance(model, VAE):
            for stage, metrics_of_stage in self.metrics.items():
                self.metrics[stage] = {"recon": MeanMetric(), "kl": MeanMetric()} | metrics_of_stage

    def _step(self, batch: Any, stage: str) -> Tensor:
        x = batch[0] if isinstance(batch, list | tuple) else batch
        reconstruction, kl = self._reconstructed(x)
        recon = self.loss(reconstruction, x.to(reconstruction.dtype))
        loss = recon if kl is None else recon + self.beta / math.prod(x.shape[1:]) * kl
        values = {} if kl is None else {"recon": recon.detach(), "kl": kl.detach()}
        shown = reconstruction.detach() if reconstruction.itemsize > 2 else reconstruction.detach().float()
        training, size = stage == "train", len(x)
        self.log(f"{stage}/loss", loss, on_step=training, on_epoch=True, prog_bar=True, batch_size=size)
        for name, metric in self.metrics[stage].items():
            metric.update(*((values[name], size) if name in values else (shown, x)))
            self.log(f"{stage}/{name}", metric, on_step=False, on_epoch=True, batch_size=size)
        return loss

    def _reconstructed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The reconstruction, and the mean divergence from the prior where there is one."""
        if not isinstance(self.model, VAE):
            return self.model(x), None
        mean, log_var = self.model.encode(x)
        return self.model.decode(self.model.reparameterize(mean, log_var)), self.model.kl(mean, log_var)
