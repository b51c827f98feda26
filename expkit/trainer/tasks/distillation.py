"""Knowledge distillation: a model that learns from the outputs of one that was trained before."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from expkit.errors import CheckpointError, ConfigError, ShapeError
from expkit.nn import functional as F
from expkit.nn.module import Module
from expkit.optim import Optimizer
from expkit.registry import build, load_plugins, register
from expkit.tensor import Tensor, no_grad
from expkit.trainer import checkpoint
from expkit.trainer.console import say
from expkit.trainer.metrics import Metric
from expkit.trainer.tasks.supervised import SupervisedTask


@register("task", "distillation")
class DistillationTask(SupervisedTask):
    """Minimises alpha T² KL(softmax(teacher / T) || softmax(model / T)) + (1 - alpha) loss(model, y).

    Hinton, Vinyals, Dean, arXiv:1503.02531. Of classification; validation and testing are the supervised task's.

    teacher: a run directory (its best checkpoint), a checkpoint, a folder of runs (the newest), or a module. It is not
    part of this task's weights. temperature: T. alpha: what share its outputs have in the objective.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor],
        teacher: str | Module,
        temperature: float = 4.0,
        alpha: float = 0.9,
        optimizer: Callable[[Iterable[Tensor]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], Any] | None = None,
        task: str = "classification",
        metrics: Callable[[], dict[str, Metric]] | None = None,
        input_shape: tuple[int, ...] | None = None,
        output_size: int | None = None,
    ) -> None:
        if task != "classification":
            raise ConfigError(f"task 'distillation' is for classification, and the data is for {task}.")
        if not temperature > 0:
            raise ConfigError(f"temperature={temperature}: expected a number above 0.")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha={alpha}: expected a share from 0 to 1.")
        super().__init__(model, loss, optimizer, scheduler, task, metrics)
        self.temperature, self.alpha = temperature, alpha
        given = {"input_shape": input_shape, "output_size": output_size}
        made = teacher if isinstance(teacher, Module) else load_teacher(teacher, given)
        self.__dict__["_teacher"] = made.requires_grad_(False).eval()  # beside the module tree: not trained, not saved

    @property
    def teacher(self) -> Module:
        """The trained model; it stays in evaluation mode."""
        return self.__dict__["_teacher"]

    def setup(self, stage: str) -> None:
        first = next(iter(self.model.parameters()))
        self.teacher.to(device=first.device, dtype=first.dtype)

    def objective(self, x: Any, prediction: Tensor, target: Tensor) -> Tensor:
        with no_grad():
            taught = self.teacher(x)
        if taught.shape != prediction.shape:
            raise ShapeError(
                f"the teacher gives {tuple(taught.shape)} where the model gives {tuple(prediction.shape)}: they need "
                "the same classes."
            )
        soft, told = (F.log_softmax(scores / self.temperature, -1) for scores in (prediction, taught))
        learned = F.kl_div(soft, told, reduction="batchmean", log_target=True) * self.temperature**2
        return learned * self.alpha + self.loss(prediction, target) * (1 - self.alpha)


def load_teacher(path: str, given: dict[str, Any]) -> Module:
    """The model of a run or checkpoint, with its weights. CheckpointError where `path` holds none that can be built.

    given: input_shape and output_size, which its config does not say.
    """
    try:
        found = _find(Path(path).expanduser())
    except CheckpointError as error:
        raise CheckpointError(f"teacher: {error} Train one first, and name its run directory.") from None
    config = checkpoint.read_manifest(found).get("config") or {}
    entry = config.get("model")
    if not isinstance(entry, dict):
        raise CheckpointError(
            f"{found} does not say which model its weights are of: it was not made by `expkit train`. In Python, give "
            "the teacher as a module."
        )
    load_plugins(config.get("plugins") or [])
    model: Module = build("model", entry, given=given, where=f"the config of {found}")
    try:
        model.load_state_dict(checkpoint.load_weights(found))
    except CheckpointError as error:
        raise CheckpointError(
            f"teacher: {found} was trained on data of other shapes than input_shape={given['input_shape']}, "
            f"output_size={given['output_size']}. {error}"
        ) from None
    say(f"teacher: {entry['name']} of {found}")
    return model


def _find(path: Path) -> Path:
    """The checkpoint that is meant: also by a folder of runs, of which the newest that kept one is taken."""
    if path.is_dir() and not (path / checkpoint.MANIFEST).is_file() and not (path / "checkpoints").is_dir():
        runs = sorted(path.glob(f"*/checkpoints/{checkpoint.POINTER}"), key=lambda file: file.stat().st_mtime)
        if runs:
            return checkpoint.best_of(runs[-1].parent.parent)
    return checkpoint.best_of(path)
