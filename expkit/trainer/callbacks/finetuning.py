"""BaseFinetuning and BackboneFinetuning: parts of a model are frozen at first, and trained from some epoch on."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from expkit.errors import ConfigError
from expkit.nn.module import Module
from expkit.nn.norm import _BatchNorm
from expkit.optim import Optimizer
from expkit.registry import register
from expkit.tensor import Tensor
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.console import say, warn

Modules = Module | Iterable[Any]
PER_GROUP = ("base_lrs", "max_lrs", "min_lrs", "lr_lambdas", "_last_lr")  # lists that schedules keep


class BaseFinetuning(Callback):
    """Base of callbacks that freeze and unfreeze: write `freeze_before_training` and `finetune_function`.

    What is unfrozen with `unfreeze_and_add_param_group` becomes a parameter group of its own; a resumed run has it too.
    """

    def __init__(self) -> None:
        self._trainer: Any = None
        self._groups: list[list[str]] = []  # names of the parameters of each group that was added

    def freeze_before_training(self, task: Any) -> None:
        """Freezes what is not trained at first."""
        raise NotImplementedError(f"{type(self).__name__} has no freeze_before_training(self, task)")

    def finetune_function(self, task: Any, epoch: int, optimizer: Optimizer) -> None:
        """Called as each epoch begins: unfreezes what is to be trained from then on."""
        raise NotImplementedError(f"{type(self).__name__} has no finetune_function(self, task, epoch, optimizer)")

    # ---- what subclasses call

    @staticmethod
    def flatten_modules(modules: Modules) -> list[Module]:
        """All modules that have parameters or buffers of their own, each once."""
        given = [modules] if isinstance(modules, Module) else list(modules)
        nested = chain.from_iterable(
            part.modules() if isinstance(part, Module) else BaseFinetuning.flatten_modules(part) for part in given
        )
        owning = (m for m in nested if any(True for _ in chain(m.parameters(recurse=False), m.buffers(recurse=False))))
        return list(dict.fromkeys(owning))

    @staticmethod
    def filter_params(modules: Modules, train_bn: bool = True, requires_grad: bool = True) -> Iterator[Tensor]:
        """Their parameters whose requires_grad is as said; train_bn: those of batch norms too."""
        for module in BaseFinetuning.flatten_modules(modules):
            if train_bn or not isinstance(module, _BatchNorm):
                yield from (p for p in module.parameters(recurse=False) if p.requires_grad is requires_grad)

    @staticmethod
    def make_trainable(modules: Modules) -> None:
        """Unfreezes modules."""
        for module in BaseFinetuning.flatten_modules(modules):
            if isinstance(module, _BatchNorm):
                module.track_running_stats = True
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)

    @staticmethod
    def freeze(modules: Modules, train_bn: bool = True) -> None:
        """Freezes modules; train_bn: but for batch norms."""
        for module in BaseFinetuning.flatten_modules(modules):
            norm = isinstance(module, _BatchNorm)
            if norm and train_bn:
                BaseFinetuning.make_trainable(module)
                continue
            if norm:
                module.track_running_stats = False
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)

    def unfreeze_and_add_param_group(
        self, modules: Modules, optimizer: Optimizer, lr: float | None = None, initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:  # fmt: skip
        """Unfreezes modules; those of their parameters that no group has yet become one, with learning rate `lr`, or
        that of the first group / initial_denom_lr."""
        self.make_trainable(modules)
        known = {id(p) for group in optimizer.param_groups for p in group["params"]}
        fresh = [p for p in self.filter_params(modules, train_bn) if id(p) not in known]
        if fresh:
            first = float(optimizer.param_groups[0]["lr"])
            names = {id(p): name for name, p in self._trainer.task.named_parameters()}
            self._groups.append([names[id(p)] for p in fresh])
            self._add(optimizer, fresh, first / initial_denom_lr if lr is None else lr)

    def _add(self, optimizer: Optimizer, params: list[Tensor], lr: float) -> None:
        named = "param_names" in optimizer.param_groups[0]
        names = {id(p): name for name, p in self._trainer.task.named_parameters()}
        given: list[Any] = [(names[id(p)], p) for p in params] if named else params
        optimizer.add_param_group({"params": given, "lr": lr})
        for schedule in self._trainer.schedules:
            _follow(schedule.scheduler, optimizer, lr)

    # ---- when

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        if stage == "fit":
            self._trainer, self._groups = trainer, []
            self.freeze_before_training(task)

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        for optimizer in trainer.optimizers:
            self.finetune_function(task, trainer.current_epoch, optimizer)

    # ---- resuming

    def state_dict(self) -> dict[str, Any]:
        task = Module() if self._trainer is None else self._trainer.task
        return {
            "groups": self._groups,
            "frozen": [name for name, p in task.named_parameters() if not p.requires_grad],
            "tracking": [name for name, norm in _norms(task) if norm.track_running_stats],
        }

    def on_load_checkpoint(self, trainer: Any, task: Any, checkpoint: dict[str, Any]) -> None:
        """Freezes and adds groups as it was, before the optimizer's state is loaded."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            return
        named = dict(task.named_parameters())
        for name, parameter in named.items():
            parameter.requires_grad_(name not in state["frozen"])
        for name, norm in _norms(task):
            norm.track_running_stats = name in state["tracking"]
        self._groups = state["groups"]
        for names in self._groups:
            self._add(trainer.optimizer, [named[name] for name in names], 0.0)


def _norms(task: Module) -> list[tuple[str, _BatchNorm]]:
    return [(name, module) for name, module in task.named_modules() if isinstance(module, _BatchNorm)]


def _follow(scheduler: Any, optimizer: Optimizer, lr: float) -> None:
    """A schedule goes on with one more group, which begins at `lr`."""
    if getattr(scheduler, "optimizer", None) is not optimizer:
        return
    optimizer.param_groups[-1].setdefault("initial_lr", lr)
    for name in PER_GROUP:
        values = getattr(scheduler, name, None)
        if isinstance(values, list) and len(values) == len(optimizer.param_groups) - 1:
            values.append(values[-1] if name == "lr_lambdas" else lr)


def multiplicative(epoch: int) -> float:
    """The factor of the backbone's learning rate for each epoch after it was unfrozen."""
    return 2.0


@register("callback", "backbone_finetuning")
class BackboneFinetuning(BaseFinetuning):
    """The backbone is frozen until epoch `unfreeze_backbone_at_epoch`, then trained with a learning rate of its own:
    `backbone_initial_lr`, or the present one * `backbone_initial_ratio_lr`; after that each epoch lambda_func(epoch)
    times the one before (2 by default), at most the present one if `should_align`.

    backbone: where it is in the task, or in its model. train_bn: batch norms of the backbone are trained from the start
    (their statistics at least). initial_denom_lr: see unfreeze_and_add_param_group. verbose: say the rates; rounding:
    their digits.
    """

    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] | None = None,
        backbone_initial_ratio_lr: float = 0.1,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
        backbone: str = "backbone",
    ) -> None:
        super().__init__()
        if unfreeze_backbone_at_epoch < 1:
            raise ConfigError(
                f"BackboneFinetuning: unfreeze_backbone_at_epoch={unfreeze_backbone_at_epoch}: expected 1 or above: "
                "what is trained from the start needs no callback."
            )
        self.unfreeze_backbone_at_epoch, self.lambda_func = unfreeze_backbone_at_epoch, lambda_func or multiplicative
        self.backbone_initial_ratio_lr, self.backbone_initial_lr = backbone_initial_ratio_lr, backbone_initial_lr
        self.should_align, self.initial_denom_lr, self.train_bn = should_align, initial_denom_lr, train_bn
        self.verbose, self.rounding, self.backbone = verbose, rounding, backbone
        self.previous_backbone_lr: float | None = None

    def backbone_of(self, task: Any) -> Module:
        """The backbone. ConfigError where there is none."""
        for place in (self.backbone, f"model.{self.backbone}"):
            found: Any = task
            for name in place.split("."):
                found = getattr(found, name, None)
            if isinstance(found, Module):
                return found
        names = [name for name, _ in task.named_modules() if name]
        raise ConfigError(
            f"BackboneFinetuning: {type(task).__name__} has no module {self.backbone!r}: say which one with "
            f"`backbone`. Modules: {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}."
        )

    def freeze_before_training(self, task: Any) -> None:
        self.freeze(self.backbone_of(task), self.train_bn)

    def finetune_function(self, task: Any, epoch: int, optimizer: Optimizer) -> None:
        current = float(optimizer.param_groups[0]["lr"])
        groups = len(optimizer.param_groups)
        if epoch == self.unfreeze_backbone_at_epoch:
            given = self.backbone_initial_lr
            rate = current * self.backbone_initial_ratio_lr if given is None else given
            self.unfreeze_and_add_param_group(
                self.backbone_of(task), optimizer, rate, self.initial_denom_lr, self.train_bn
            )
            if len(optimizer.param_groups) == groups:
                warn("BackboneFinetuning: the backbone is in the optimizer already: its learning rate stays.")
                return
        elif epoch > self.unfreeze_backbone_at_epoch and self.previous_backbone_lr is not None:
            rate = self.lambda_func(epoch + 1) * self.previous_backbone_lr
            rate = current if self.should_align and rate > current else rate
            optimizer.param_groups[-1]["lr"] = rate
        else:
            return
        self.previous_backbone_lr = rate
        if self.verbose:
            say(f"learning rates: {round(current, self.rounding)}, of the backbone {round(rate, self.rounding)}")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]
