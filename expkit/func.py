"""Function transforms by torch.func's names, and `functional_call`, which makes a module a function of its tensors."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from expkit.autograd.jacobians import hessian, jacfwd, jacrev
from expkit.autograd.trace import trace
from expkit.autograd.transforms import func_grad as grad
from expkit.autograd.transforms import grad_and_value, jvp, linearize, vjp
from expkit.autograd.vmap import vmap
from expkit.errors import did_you_mean
from expkit.tensor import stack


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Mapping[str, Any] | tuple[Mapping[str, Any], ...],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs) with the given tensors in place of its own, as torch.func.functional_call.

    Names are those of named_parameters() and named_buffers(). Tensors that the module shares are replaced together
    (tie_weights). Names that the module does not have are passed over, and its others stay as they are; with
    strict=True both are a RuntimeError.
    """
    if not hasattr(module, "named_modules"):
        raise TypeError(f"functional_call: expected a Module, got {type(module).__name__}")
    given = _joined(parameter_and_buffer_dicts)
    args = args if isinstance(args, tuple) else () if args is None else (args,)
    with _replaced(module, given, tie_weights, strict):
        return module(*args, **(kwargs or {}))


def _joined(dicts: Any) -> dict[str, Any]:
    """The dictionaries as one. ValueError where they share a name."""
    if isinstance(dicts, Mapping):
        return dict(dicts)
    if not isinstance(dicts, tuple | list) or not all(isinstance(part, Mapping) for part in dicts):
        raise ValueError(f"functional_call: expected a dict of tensors or a tuple of them, got {type(dicts).__name__}")
    counts = Counter(name for part in dicts for name in part)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"functional_call: {', '.join(twice)} appears in more than one of the dictionaries")
    return {name: tensor for part in dicts for name, tensor in part.items()}


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of an ensemble, each stacked along a new first axis, for vmap over functional_call.

    The stacked parameters are leaves that require grad as the models' do. All models must be of one class and in one
    mode (train or eval).
    """
    models = list(models)
    if not models or not all(hasattr(model, "named_parameters") for model in models):
        raise RuntimeError("stack_module_state: expected at least one model, and modules only")
    if len({model.training for model in models}) > 1:
        raise RuntimeError("stack_module_state: expected all models to be in the same mode, train() or eval()")
    kinds = {type(model) for model in models}
    if len(kinds) > 1:
        named = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise RuntimeError(f"stack_module_state: expected all models to be of the same class, got {named}")
    return (
        {name: _ensemble(models, name, "named_parameters") for name, _ in models[0].named_parameters()},
        {name: _ensemble(models, name, "named_buffers") for name, _ in models[0].named_buffers()},
    )


def _ensemble(models: list[Any], name: str, of: str) -> Any:
    tensors = [dict(getattr(model, of)())[name] for model in models]
    needs = {t.requires_grad for t in tensors}
    if len(needs) > 1:
        raise RuntimeError(f"stack_module_state: {name} requires grad in some of the models only")
    return stack([t.detach() for t in tensors]).requires_grad_(needs.pop())


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Lets every BatchNorm in the module forget its running statistics and keep none; returns the module.

    Writing them is what a transform of the module could not do.
    """
    for module in root.modules():
        if hasattr(module, "num_batches_tracked") and hasattr(module, "track_running_stats"):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


@contextmanager
def _replaced(module: Any, given: Mapping[str, Any], tie_weights: bool, strict: bool) -> Iterator[None]:
    """The module's tensors exchanged for those given, and put back at the end."""
    slots = dict(_slots(module))
    wanted = {name: given[name] for name in slots if name in given}
    if tie_weights:
        shared = {id(_held(slots[name], name)): tensor for name, tensor in wanted.items()}
        wanted = {
            name: wanted.get(name, shared[id(_held(slot, name))])
            for name, slot in slots.items()
            if name in wanted or id(_held(slot, name)) in shared
        }
    if strict:
        _check_names(module, slots, given, wanted)
    before = {name: _held(slots[name], name) for name in wanted}
    try:
        for name, tensor in wanted.items():
            slots[name][name.rpartition(".")[2]] = tensor
        yield
    finally:
        for name, tensor in before.items():
            slots[name][name.rpartition(".")[2]] = tensor


def _slots(module: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(dotted name, the dictionary that holds the tensor) of every parameter and buffer, shared ones each time."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    yield (f"{prefix}.{name}" if prefix else name), held


def _held(slot: dict[str, Any], name: str) -> Any:
    return slot[name.rpartition(".")[2]]


def _check_names(module: Any, slots: Mapping[str, Any], given: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """RuntimeError where the names given are not exactly the module's."""
    missing = [name for name in slots if name not in wanted]
    unexpected = [f"{name!r}.{did_you_mean(name, slots)}" for name in given if name not in slots]
    errors = [f"no parameter or buffer {text}" for text in unexpected]
    if missing:
        errors.append(f"nothing is given for {', '.join(missing)}")
    if errors:
        raise RuntimeError(f"functional_call: strict=True, and for {type(module).__name__}: {'; '.join(errors)}")


__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "replace_all_batch_norm_modules_", "stack_module_state", "trace", "vjp", "vmap",
]  # fmt: skip
