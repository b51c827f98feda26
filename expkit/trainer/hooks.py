"""Every hook that callbacks and tasks may write; one that is not in this table, or takes other arguments, is refused.

A callback's hook gets (trainer, task) before the arguments listed here; a task's hook gets the arguments alone.
Names and order are Lightning's. on_train_batch_start may return -1: the rest of the epoch is then left out, and what
follows an epoch (validation, on_train_epoch_end) comes at once.
"""

import inspect
from collections.abc import Callable
from typing import Any

from expkit.errors import HookError, did_you_mean

_EPOCH = dict.fromkeys(("start", "end", "epoch_start", "epoch_end"), ())
_EVALUATION = {
    **_EPOCH,
    "batch_start": ("batch", "batch_idx", "dataloader_idx"),
    "batch_end": ("outputs", "batch", "batch_idx", "dataloader_idx"),
}

HOOKS: dict[str, tuple[str, ...]] = {
    "setup": ("stage",),
    "teardown": ("stage",),
    "on_fit_start": (),
    "on_fit_end": (),
    "on_sanity_check_start": (),
    "on_sanity_check_end": (),
    **{f"on_train_{when}": args for when, args in _EPOCH.items()},
    "on_train_batch_start": ("batch", "batch_idx"),
    "on_train_batch_end": ("outputs", "batch", "batch_idx"),
    "on_before_backward": ("loss",),
    "on_after_backward": (),
    "on_before_optimizer_step": ("optimizer",),
    "on_before_zero_grad": ("optimizer",),
    **{f"on_{stage}_{when}": args for stage in ("validation", "test", "predict") for when, args in _EVALUATION.items()},
    "on_save_checkpoint": ("checkpoint",),
    "on_load_checkpoint": ("checkpoint",),
    "on_exception": ("exception",),
}

#: Methods of tasks alone that give a batch back, so that they are no hooks.
TRANSFER = ("on_before_batch_transfer", "on_after_batch_transfer")

OPTIONAL = {"dataloader_idx"}  # an argument that a hook may leave out

_SWITCH = "the trainer calls eval() and train() itself: override those of the module that must stay as it is"
_MOVE = "batches are moved, and cast, by the trainer: change them in the data set or at the beginning of the step"
_BY_HAND = "the trainer's own step is one program: set automatic_optimization = False, and make the steps yourself"
_OLD_EPOCH = "Lightning 2 has no such hook either: write on_{stage}_epoch_end, and keep what steps gave on self"

#: Methods of Lightning's (also of its older versions) that nobody calls here -> what to do instead.
REFUSED: dict[str, str] = {
    **{f"on_{stage}_model_eval": _SWITCH for stage in ("validation", "test", "predict")},
    **{f"on_{stage}_model_train": _SWITCH for stage in ("validation", "test", "predict")},
    "on_validation_model_zero_grad": "gradients are cleared as a step begins: write on_before_zero_grad",
    "transfer_batch_to_device": _MOVE,
    **dict.fromkeys(("backward", "optimizer_step", "optimizer_zero_grad", "lr_scheduler_step"), _BY_HAND),
    "configure_gradient_clipping": "set trainer.gradient_clip_val, or change gradients in on_before_optimizer_step",
    "configure_callbacks": "give callbacks to the Trainer",
    "configure_model": "build the model in __init__",
    "configure_sharded_model": "models are not sharded: build it in __init__",
    "prepare_data": "get the data before training, or write a DataModule",
    "on_keyboard_interrupt": "write on_exception, which gets the KeyboardInterrupt",
    "on_epoch_start": "write on_train_epoch_start",
    "on_epoch_end": "write on_train_epoch_end",
    "on_batch_start": "write on_train_batch_start",
    "on_batch_end": "write on_train_batch_end",
    **{
        f"{stage}_epoch_end": _OLD_EPOCH.format(stage="train" if stage == "training" else stage)
        for stage in ("training", "validation", "test")
    },
    **{
        f"{stage}_step_end": f"there is one device: write this at the end of {stage}_step"
        for stage in ("training", "validation", "test")
    },
}


def default(name: str, leading: tuple[str, ...]) -> Callable[..., None]:
    """The hook that does nothing: what the base classes have under `name`."""

    def hook(self: Any, *args: Any) -> None:
        return None

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    hook.__name__ = name
    hook.__doc__ = f"Called with ({', '.join((*leading, *HOOKS[name]))}); does nothing unless written."
    parameters = [inspect.Parameter(argument, kind) for argument in ("self", *leading, *HOOKS[name])]
    hook.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    hook.is_default = True  # type: ignore[attr-defined]
    return hook


def written(owner: Any, leading: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    """The hooks that `owner` really has, by name, ready to be called with (*leading, *arguments of HOOKS).

    HookError for a method called on_* that is no hook, for one of Lightning's that nobody would call, and for one that
    takes other arguments.
    """
    for name, instead in REFUSED.items():
        if callable(getattr(owner, name, None)):
            raise HookError(f"{type(owner).__name__}.{name} would never be called: {instead}.")
    hooks = {}
    for name in dir(type(owner)) + list(vars(owner)):
        if not name.startswith("on_") and name not in HOOKS:
            continue
        if name in TRANSFER and not leading:
            continue
        method = getattr(owner, name)
        if not callable(method) or getattr(method, "is_default", False):
            continue
        if name not in HOOKS:
            raise HookError(
                f"{type(owner).__name__}.{name} is not a hook: it would never be called.{did_you_mean(name, HOOKS)}\n"
                f"  Hooks: {', '.join(HOOKS)}. Start the name of a helper with something else than 'on_'."
            )
        hooks[name] = _fitted(owner, name, method, leading)
    return hooks


def taking(method: Callable[..., Any], count: int) -> Callable[..., Any]:
    """`method` that is called with more arguments than the first `count`, which it takes."""
    return lambda *args: method(*args[:count])


def _fitted(owner: Any, name: str, method: Callable[..., Any], leading: tuple[str, ...]) -> Callable[..., Any]:
    expected = (*leading, *HOOKS[name])
    required = tuple(argument for argument in expected if argument not in OPTIONAL)
    signature = inspect.signature(method)
    for count in (len(expected), len(required)):
        try:
            signature.bind(*expected[:count])
        except TypeError:
            continue
        return method if count == len(expected) else taking(method, count)
    raise HookError(
        f"{type(owner).__name__}.{name}{signature} takes the wrong arguments: "
        f"it is called as {name}({', '.join(expected)})."
    )
