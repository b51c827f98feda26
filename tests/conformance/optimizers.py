"""Checks of one optimizer of PyTorch's database (an OptimizerInfo): ten steps beside PyTorch's, and refusals."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import expkit as ek
from tests.conformance.convert import attempt, compare, must_be_refused, tensor_to_ek, to_ek
from tests.conformance.operators import outcome

STEPS = 10
SPARSE_ONLY = {"SparseAdam"}  # takes sparse gradients alone, which the engine does not have


@cache
def optimizers() -> dict[str, Any]:
    return {info.name: info for info in optim_db if info.name not in SPARSE_ONLY}


def run(name: str) -> Iterator[tuple[str, str]]:
    """("pass" | "fail" | "skip", what) for every set of arguments, and every wrong one."""
    info = optimizers()[name]
    for sample in info.optim_inputs_func(device="cpu"):
        what = f"{name} {sample.desc} {sample.kwargs}"
        yield outcome(lambda: _steps(info, sample), what)  # noqa: B023
    for wrong in info.optim_error_inputs_func("cpu", torch.float32):
        what = f"{name} {wrong.optimizer_error_input.desc}: {wrong.error_regex}"
        yield outcome(lambda: _refused(info, wrong), what)  # noqa: B023


def _weights() -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((6, 4), (4, 6))]


def _loss(library: Any, params: list[Any], x: Any) -> Any:
    """Smooth, not convex, and different at each step only through the parameters."""
    return (library.tanh(x @ params[0]) @ params[1]).square().mean()


def _train(library: Any, optimizer: Any, params: list[Any], x: Any) -> list[float]:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = _loss(library, params, x)
        loss.backward()
        return loss

    return [float(optimizer.step(closure)) for _ in range(STEPS)]


def _steps(info: Any, sample: Any) -> bool:
    """The same parameters and the same state after ten steps."""
    start, x = _weights(), torch.linspace(-1, 1, 18, dtype=torch.float64).reshape(3, 6)
    theirs = [p.clone().requires_grad_() for p in start]
    mine = [tensor_to_ek(p).requires_grad_() for p in start]
    reference, refused = attempt(lambda: info.optim_cls(theirs, **sample.kwargs))
    if refused is not None:
        return False
    optimizer = getattr(ek.optim, info.name)(mine, **to_ek(sample.kwargs))
    expected = _train(torch, reference, theirs, x)
    torch.testing.assert_close(_train(ek, optimizer, mine, tensor_to_ek(x)), expected)
    for p, q in zip(mine, theirs, strict=True):
        compare(p, q.detach())
    got, wanted = optimizer.state_dict(), reference.state_dict()
    assert list(got["state"]) == list(wanted["state"]), "other parameters have state"
    for key, entry in wanted["state"].items():
        _same_entry(got["state"][key], entry)
    return True


def _same_entry(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sorted(got) == sorted(expected), f"state has {sorted(got)}, PyTorch {sorted(expected)}"
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            compare(got[name], value, dtypes=name != "step")


def _params_to_ek(params: Any, known: dict[int, Any]) -> Any:
    """Parameters in any of their forms, with their gradients; the same one stays the same."""
    if isinstance(params, dict):
        return {key: _params_to_ek(value, known) for key, value in params.items()}
    if isinstance(params, list | tuple):
        return type(params)(_params_to_ek(value, known) for value in params)
    if isinstance(params, torch.Tensor):
        if id(params) not in known:
            made = known[id(params)] = to_ek(params)
            made.grad = None if params.grad is None else to_ek(params.grad)
        return known[id(params)]
    return to_ek(params)


def _refused(info: Any, wrong: Any) -> bool:
    """An error, or a warning where PyTorch only warns."""
    sample = wrong.optimizer_error_input
    params = [ek.zeros(2, 2, requires_grad=True)] if sample.params is None else _params_to_ek(sample.params, {})
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        if wrong.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR:
            _, error = attempt(lambda: getattr(ek.optim, info.name)(params, **to_ek(sample.kwargs)))
        else:
            optimizer = getattr(ek.optim, info.name)(params, **to_ek(sample.kwargs))
            _, error = attempt(optimizer.step)
    if issubclass(wrong.error_type, Warning):
        assert heard or error is not None, "no warning"
        return True
    must_be_refused(None, error)
    return True
