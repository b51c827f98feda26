"""Non-finite numbers: stop with the step, the batch, and where they first appear."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from expkit import tree
from expkit.errors import NonFiniteError
from expkit.nn.module import Module
from expkit.tensor import Tensor, isfinite, no_grad, set_rng_state
from expkit.trainer.state import same_module_after, same_rng_after

if TYPE_CHECKING:
    from expkit.trainer.trainer import Trainer


def check_loss(t: "Trainer", loss: Tensor, batch: Any, index: int, generator: Any) -> None:
    """NonFiniteError unless `loss` is finite; `generator` is the state before its forward pass."""
    value = loss.item()
    if math.isfinite(value):
        return
    t.forget_logged()  # what this step logged is not to be kept
    where = culprit(t, batch, index, generator)
    newest = t.newest_checkpoint()
    kept = f"The last good state is {newest}." if newest else "No checkpoint was saved before it."
    step, epoch = t.progress.global_step + 1, t.progress.epoch
    raise NonFiniteError(
        f"the loss became {value} at step {step} (epoch {epoch}, batch {index}): {where}.\n"
        f"  {kept} Try a lower optim.lr, trainer.gradient_clip_val, or trainer.detect_anomaly=true."
    )


def check_gradients(t: "Trainer") -> None:
    """NonFiniteError naming the first parameter whose gradient is not finite."""
    for name, param in t.task.named_parameters():
        if param.grad is not None and not is_finite(param.grad):
            raise NonFiniteError(
                f"the gradient of {name} {tuple(param.shape)} is not finite at step {t.progress.global_step + 1} "
                f"(epoch {t.progress.epoch}, batch {t.progress.batch}), though the loss is: look at what uses {name}."
            )


def culprit(t: "Trainer", batch: Any, index: int, generator: Any) -> str:
    """Where the first value that is not finite appears when the step's forward pass is run again."""
    for path, leaf in _tensors(batch, "batch"):
        if not is_finite(leaf):
            return f"the data: {path} holds {_kinds(leaf)}"
    for name, tensor in t.task.named_parameters():
        if not is_finite(tensor):
            return f"parameter {name} {tuple(tensor.shape)} holds {_kinds(tensor)} already, from an earlier step"
    found: list[tuple[str, str]] = []
    with same_rng_after(), same_module_after(t.task), no_grad(), _watched(t.task, found), t.muted(), _inert(t):
        set_rng_state(generator)
        t.steps["train"](batch, index)
    for name, tensor in t.task.named_buffers():  # those of other layers are bad because of the layer that is found
        if not is_finite(tensor) and (not found or name.rpartition(".")[0] == found[0][0]):
            return f"buffer {name} {tuple(tensor.shape)} holds {_kinds(tensor)} already, from an earlier step"
    if found:
        return found[0][1]
    return "every layer's output is finite, so it is the loss itself (log of zero, overflow, division by zero)"


def _inert(t: "Trainer") -> AbstractContextManager[None]:
    """Within it a task that makes its steps itself makes none."""
    return nullcontext() if t.task.automatic_optimization else t.training_step.looked_at()


@contextmanager
def _watched(model: Module, found: list[tuple[str, str]]) -> Iterator[None]:
    """Appends to `found` (path, sentence) of each module whose output is not finite, in the order in which they finish.

    What a layer is given may be bad before it: then what its surroundings compute in between is named.
    """
    handles = []
    for name, module in model.named_modules():
        if name:

            def look(module: Module, inputs: Any, output: Any, name: str = name) -> None:
                bad = next((leaf for _, leaf in _tensors(output, name) if not is_finite(leaf)), None)
                if bad is None:
                    return
                given = [value for _, value in _tensors(inputs, "input")]
                wrong = next((value for value in given if not is_finite(value)), None)
                layer = f"{name} ({module.brief()})"
                if wrong is None:
                    ranges = ", ".join(map(_range, given)) or "no tensor"
                    found.append((name, f"the first layer that goes wrong is {layer}, whose output {tuple(bad.shape)} "
                                        f"holds {_kinds(bad)} for finite inputs in {ranges}"))  # fmt: skip
                else:
                    found.append((name, f"the input {tuple(wrong.shape)} of {layer} holds {_kinds(wrong)} already, and "
                                        "no layer before it gave any: look at what is computed around it"))  # fmt: skip

            handles.append(module.register_forward_hook(look))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    nested = dict(value) if isinstance(value, Mapping) else value
    for name, leaf in tree.items(nested, path):
        if isinstance(leaf, Tensor) and leaf.dtype.is_floating_point:
            yield name, leaf


def is_finite(tensor: Tensor) -> bool:
    """Whether every element is."""
    return bool(isfinite(tensor.detach()).all().item())


def _kinds(tensor: Tensor) -> str:
    values = tensor.detach().cpu().numpy().astype(np.float64)
    nans, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    parts = [f"{count} {name}" for count, name in ((nans, "NaN"), (infinite, "infinite")) if count]
    return f"{' and '.join(parts)} of {values.size} values"


def _range(tensor: Tensor) -> str:
    values = tensor.detach().cpu().numpy()
    return f"[{values.min():.3g}, {values.max():.3g}]" if values.size else "[]"
