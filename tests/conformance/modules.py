"""Checks of one module of PyTorch's database (a ModuleInfo): both libraries' modules with the same state."""

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

import expkit as ek
from tests.conformance.convert import attempt, compare, leaves, must_be_refused, replaced, smooth, tensor_to_ek, to_ek
from tests.conformance.operators import outcome, weighted_slopes

DTYPE = torch.float64
RANDOM_WHEN_TRAINING = {"nn.FractionalMaxPool2d", "nn.FractionalMaxPool3d"}


@cache
def modules() -> dict[str, Any]:
    return {info.name: info for info in module_db}


class Case:
    """Modules of both libraries, made from the same arguments, and what they are called with."""

    def __init__(self, info: Any, sample: Any, training: bool) -> None:
        self.info, self.training = info, training
        make, call = sample.constructor_input, sample.forward_input
        self.what = f"{info.name}({sample.desc}; {make.args}, {make.kwargs}, training={training})"[:250]
        self.made = (make.args, make.kwargs)
        self.given = (call.args, call.kwargs) if call is not None else ((), {})
        torch.manual_seed(1)
        self.theirs = info.module_cls(*make.args, **make.kwargs).to(DTYPE).train(training)

    def ours(self) -> Any:
        args, kw = to_ek(self.made)
        module = getattr(ek.nn, self.info.name.removeprefix("nn."))(*args, **kw)
        return module.to(ek.float64).train(self.training)

    def pair(self) -> tuple[Any, Any]:
        """Both modules with the state of torch's; lazy ones have seen their input once."""
        mine = self.ours()
        if self.info.is_lazy:
            self.theirs(*self.given[0], **self.given[1])
            args, kw = to_ek(self.given)
            mine(*args, **kw)
        mine.load_state_dict({k: to_ek(v) for k, v in self.theirs.state_dict().items()})
        return self.theirs, mine

    @property
    def random(self) -> bool:
        return self.info.name in RANDOM_WHEN_TRAINING and "_random_samples" not in self.made[1]


def check_value(case: Case) -> bool:
    """Outputs, and the buffers afterwards."""
    theirs, mine = case.pair()
    expected, refused = attempt(lambda: theirs(*case.given[0], **case.given[1]))
    if refused is not None:
        return False
    args, kw = to_ek(case.given)
    compare(mine(*args, **kw), expected, values=not case.random)
    _same_state(mine, theirs)
    return True


def _same_state(mine: Any, theirs: Any, values: bool = True) -> None:
    got, expected = mine.state_dict(), theirs.state_dict()
    assert list(got) == list(expected), f"state_dict has {list(got)}, PyTorch {list(expected)}"
    for key in expected:
        compare(got[key], expected[key], values=values)


def check_state(case: Case) -> bool:
    """The keys, shapes and dtypes of a new module's state, what it trains, how it prints."""
    if case.info.is_lazy:
        return False
    mine = case.ours()
    _same_state(mine, case.theirs, values=False)
    trained = [k for k, p in case.theirs.named_parameters() if p.requires_grad]
    assert [k for k, p in mine.named_parameters() if p.requires_grad] == trained
    shown = repr(case.theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    if "<" not in shown:
        assert repr(mine) == shown, f"repr {mine!r}, PyTorch {shown}"
    return True


def check_factory(case: Case) -> bool:
    """device= and dtype= of the constructor, where PyTorch's takes them."""
    options: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float16}
    args, kw = case.made
    theirs, refused = attempt(lambda: case.info.module_cls(*args, **kw, **options))
    if refused is not None or "dtype" in kw:
        return False
    args, kw = to_ek(case.made)
    mine = getattr(ek.nn, case.info.name.removeprefix("nn."))(*args, **kw, device="cpu", dtype=ek.float16)
    if not case.info.is_lazy:
        _same_state(mine, theirs, values=False)
    return True


def _slopes(case: Case, order: int) -> bool:
    """Gradients in the inputs and the parameters."""
    theirs, mine = case.pair()
    if case.random:
        return False
    expected, refused = attempt(lambda: _module_slopes(torch, theirs, case.given, order))
    if refused is not None or expected is None:
        return False
    got = _module_slopes(ek, mine, to_ek(case.given), order)
    assert got is not None, "no result that depends on the inputs"
    for a, b in zip(got, expected, strict=True):
        if a is not None or b is not None:
            zero = tensor_to_ek(torch.zeros_like(b)) if a is None else a
            compare(zero, torch.zeros(tuple(a.shape), dtype=DTYPE) if b is None else b, scale=10.0)
    return True


def _module_slopes(library: Any, module: Any, given: Any, order: int) -> list[Any] | None:
    kind = torch.Tensor if library is torch else ek.Tensor
    every = leaves(given, kind)
    places = [i for i, x in enumerate(every) if smooth(x) and x.requires_grad]
    inputs = [every[i].detach().requires_grad_() for i in places]
    variables = [*inputs, *(p for p in module.parameters() if p.requires_grad)]

    def f(*_: Any) -> list[Any]:
        values = list(every)
        for i, x in zip(places, inputs, strict=True):
            values[i] = x
        args, kw = replaced(given, kind, iter(values))
        return [y for y in leaves(module(*args, **kw), kind) if smooth(y)]

    return weighted_slopes(library, f, variables, order) if variables else None


def check_grad(case: Case) -> bool:
    return _slopes(case, 1)


def check_grad2(case: Case) -> bool:
    if getattr(case.theirs, "options", None) is not None:  # PyTorch's LinearCrossEntropyLoss in chunks: none of its own
        return False
    return case.info.supports_gradgrad and _slopes(case, 2)


CHECKS: dict[str, Callable[[Case], bool]] = {
    "value": check_value, "state": check_state, "factory": check_factory, "grad": check_grad, "grad2": check_grad2,
}  # fmt: skip


def run(name: str, check: str, limit: int = 0) -> Iterator[tuple[str, str]]:
    """("pass" | "fail" | "skip", what) for every sample of a module, in training and evaluation where they differ."""
    info = modules()[name]
    if check == "error":
        yield from _run_errors(info)
        return
    for training in (True, False) if info.train_and_eval_differ else (True,):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = info.module_inputs_func(info, device="cpu", dtype=DTYPE, requires_grad=True, training=training)
        step = max(1, -(-len(found) // limit)) if limit else 1
        for sample in found[::step]:
            if sample.forward_input is not None or check in ("state", "factory"):
                case, refused = attempt(lambda: Case(info, sample, training))  # noqa: B023
                if refused is None:
                    yield outcome(lambda: CHECKS[check](case), case.what)  # noqa: B023


def _run_errors(info: Any) -> Iterator[tuple[str, str]]:
    if info.module_error_inputs_func is None:
        return
    for wrong in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=True
    ):
        what = f"{info.name}{wrong.module_error_input.constructor_input.args}: {wrong.error_regex}"[:250]
        yield outcome(lambda: _refused(info, wrong), what)  # noqa: B023


def _refused(info: Any, wrong: Any) -> bool:
    make, call = wrong.module_error_input.constructor_input, wrong.module_error_input.forward_input
    args, kw = to_ek((make.args, make.kwargs))
    kind = getattr(ek.nn, info.name.removeprefix("nn."))
    if wrong.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
        must_be_refused(*attempt(lambda: kind(*args, **kw)))
    else:
        module = kind(*args, **kw)
        given, options = to_ek((call.args, call.kwargs))
        must_be_refused(*attempt(lambda: module(*given, **options)))
    return True
