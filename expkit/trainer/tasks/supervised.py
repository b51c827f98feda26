"""SupervisedTask: inputs, targets, a loss. What configs train, and what a plain model is wrapped into."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from expkit.errors import CheckpointError, ConfigError, DataError
from expkit.nn import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, NLLLoss
from expkit.nn.module import Module
from expkit.optim import Adam, Optimizer
from expkit.registry import register
from expkit.tensor import Tensor, as_tensor
from expkit.trainer.console import say
from expkit.trainer.metrics import AUTO, TASK_METRICS, Metric, make_metrics
from expkit.trainer.task import Task
from expkit.trainer.tasks.mixing import Mixing, hardest

AUTO_LOSS = {
    **dict.fromkeys(("classification", "segmentation", "language_modeling"), CrossEntropyLoss),
    **dict.fromkeys(("regression", "reconstruction"), MSELoss),
}
STAGES = ("train", "val", "test")


@register("task", "supervised")
class SupervisedTask(Task):
    """Minimises loss(model(x), y) over batches (x, y); logs train/loss, val/loss, val/acc, ...

    model: any module. loss: module or function of (prediction, target). optimizer: parameters -> Optimizer (default:
    Adam with lr 1e-3). scheduler: optimizer -> scheduler, or a dict as Lightning's. task: "classification",
    "regression" or "segmentation", which chooses the metrics unless `metrics` gives others: a function of nothing that
    gives new ones by the name that they are logged under. They get the model's predictions as they are.

    mixup_alpha, cutmix_alpha, mix_prob, switch_prob: mixtures of training samples (tasks/mixing.py), whose likeliest
    class is what the metrics of training take for the target; num_classes: how many classes there are then.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor],
        optimizer: Callable[[Iterable[Tensor]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], Any] | None = None,
        task: str = "classification",
        metrics: Callable[[], dict[str, Metric]] | None = None,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        mix_prob: float = 1.0,
        switch_prob: float = 0.5,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        if task not in TASK_METRICS:
            raise ConfigError(f"task={task!r}: expected {' or '.join(map(repr, TASK_METRICS))}.")
        self.model, self.loss, self.task = model, loss, task
        self._optimizer, self._scheduler = optimizer, scheduler
        make = metrics or make_metrics(AUTO, task, logits=not isinstance(loss, BCELoss))
        self.metrics = {stage: make() for stage in STAGES}
        self.mixing = Mixing(mixup_alpha, cutmix_alpha, mix_prob, switch_prob)
        self._classes = num_classes if task == "classification" else None
        if self.mixing.on:
            self._check_mixing(task)

    def forward(self, *inputs: Any) -> Any:
        return self.model(*inputs)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Training batches mixed, where that is asked for."""
        if not (self.mixing.on and self.training):
            return batch
        return self.mixing(*split(batch), self._classes)

    def _check_mixing(self, task: str) -> None:
        if task not in ("classification", "regression"):
            raise ConfigError(f"mixup_alpha and cutmix_alpha are for classification and regression, not for {task}.")
        if task == "classification" and not isinstance(self.loss, CrossEntropyLoss):
            raise ConfigError(
                "mixup_alpha, cutmix_alpha: mixed classes are probabilities, which take loss=cross_entropy, not "
                f"{type(self.loss).__name__}."
            )
        if task == "classification" and self._classes is None:
            raise ConfigError("mixup_alpha, cutmix_alpha: give num_classes, the number of classes.")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step(batch, "test")

    def _step(self, batch: Any, stage: str) -> Tensor:
        x, y = split(batch)
        prediction, target = fit_target(self.model(x), y, self.loss)
        training = stage == "train"
        loss = self.objective(x, prediction, target) if training else self.loss(prediction, target)
        size = len(y)
        self.log(f"{stage}/loss", loss, on_step=training, on_epoch=True, prog_bar=True, batch_size=size)
        scores = prediction.detach() if prediction.itemsize > 2 else prediction.detach().float()
        for place, (name, metric) in enumerate(self.metrics[stage].items()):
            metric.update(scores, hardest(y) if training and self.mixing.on else y)
            shown = place == 0 and not training
            self.log(f"{stage}/{name}", metric, on_step=False, on_epoch=True, prog_bar=shown, batch_size=size)
        return loss

    def objective(self, x: Any, prediction: Tensor, target: Tensor) -> Tensor:
        """What training minimises: the loss. Written anew by tasks that add to it."""
        return self.loss(prediction, target)

    def configure_optimizers(self) -> Any:
        parameters = [param for param in self.parameters() if param.requires_grad]
        optimizer = Adam(parameters, lr=1e-3) if self._optimizer is None else self._optimizer(parameters)
        if self._scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._scheduler(optimizer)}

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """The model's own state dict, without the prefix `model.`: the file fits the bare model too."""
        return self.model.state_dict()

    def load_checkpoint_weights(self, weights: Mapping[str, Tensor], strict: bool = True) -> None:
        self.model.load_state_dict(weights, strict)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if isinstance(self.loss, Module):
            checkpoint["loss_state"] = dict(self.loss.state_dict())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if isinstance(self.loss, Module):
            state = checkpoint.get("loss_state", {})
            if set(state) != set(self.loss.state_dict()):
                raise CheckpointError(
                    f"the checkpoint was made with another loss: it has {sorted(state) or 'no state'}, "
                    f"{type(self.loss).__name__} has {sorted(self.loss.state_dict()) or 'none'}. Choose the same loss."
                )
            self.loss.load_state_dict(state)


def split(batch: Any) -> tuple[Any, Tensor]:
    """A batch as (inputs, targets). DataError for another structure."""
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    what = f"{len(batch)} parts" if isinstance(batch, list | tuple) else type(batch).__name__
    raise DataError(f"a batch must be a pair (inputs, targets), got {what}. Write a Task for other batches.")


def fit_target(prediction: Tensor, target: Tensor, loss: Any) -> tuple[Tensor, Tensor]:
    """Prediction and target in the shapes and dtypes that `loss` wants; values are never changed.

    A model with one output gives (N, 1) where targets are (N,): without this the difference would broadcast to (N, N).
    """
    if isinstance(loss, CrossEntropyLoss | NLLLoss):
        return prediction, target
    if prediction.ndim == target.ndim + 1 and prediction.shape[-1] == 1:
        prediction = prediction.squeeze(-1)
    elif target.ndim == prediction.ndim + 1 and target.shape[-1] == 1:
        target = target.squeeze(-1)
    binary = isinstance(loss, BCELoss | BCEWithLogitsLoss)
    if binary or not target.is_floating_point():
        target = target.to(prediction.dtype)
    return prediction, target


def wrap(model: Module, first_batch: Any) -> SupervisedTask:
    """A plain model as a task: loss and metrics from the kind of the targets, Adam(lr=1e-3)."""
    _, y = split(first_batch)
    y = as_tensor(y)
    task = "regression" if y.is_floating_point() else "classification"
    loss = AUTO_LOSS[task]()
    say(
        f"{type(model).__name__} is trained as {task} (targets are {y.dtype}): {type(loss).__name__}, "
        f"metrics {', '.join(TASK_METRICS[task])}, Adam(lr=0.001). Write a Task to choose otherwise."
    )
    return SupervisedTask(model, loss, task=task)
