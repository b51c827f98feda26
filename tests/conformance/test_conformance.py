"""PyTorch's test data in the suite: a few samples of each name; all of them in `make soak`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="PyTorch's test data needs it")

from tests.conformance import forms, modules, operators, optimizers  # noqa: E402
from tests.conformance.convert import NAMES  # noqa: E402
from tests.conformance.gaps import GAPS  # noqa: E402

pytestmark = pytest.mark.torch

LINES = Path(__file__).with_name("names.txt").read_text().splitlines()
PROMISED = [line for line in LINES if line and not line.startswith("#")]
DTYPES = {  # which dtypes a check runs in, and on how many samples of a variant at most
    "value": (["float64", "float32", "int64", "bool", "complex128"], 6),
    "method": (["float64"], 4),
    "inplace": (["float64"], 4),
    "grad": (["float64", "complex128"], 6),
    "grad2": (["float64"], 4),
    "jvp": (["float64"], 4),
    "vmap": (["float64"], 4),
}


def _present(name: str) -> bool:
    try:
        forms.function_of(name)
    except NotImplementedError:
        return False
    return True


OPERATORS = sorted(name for name, variants in forms.operators().items() if variants and _present(name))
MODULES = sorted(modules.modules())
OPTIMIZERS = sorted(optimizers.optimizers())


def verdict(name: str, check: str, outcomes: Iterable[tuple[str, str]]) -> None:
    failures = [what for outcome, what in outcomes if outcome == "fail"]
    unknown = [what for what in failures if not any(gap.covers(name, check, what) for gap in GAPS)]
    assert not unknown, "\n".join([f"{check}: {len(unknown)} samples differ from PyTorch", *unknown[:5]])


def outcomes_of(name: str, check: str, dtypes: Iterable[str], limit: int) -> Iterator[tuple[str, str]]:
    for dtype in dtypes:
        yield from operators.run(name, check, getattr(torch, dtype), limit)


@pytest.mark.parametrize("name", PROMISED)
def test_promised_names_are_there(name: str) -> None:
    assert _present(name)


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(name: str) -> None:
    for check, (dtypes, limit) in DTYPES.items():
        verdict(name, check, outcomes_of(name, check, dtypes, limit))


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_refuses(name: str) -> None:
    verdict(name, "error", operators.run(name, "error", torch.float64))


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    for check in [*modules.CHECKS, "error"]:
        verdict(name, check, modules.run(name, check, limit=8))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name: str) -> None:
    verdict(name, "steps", optimizers.run(name))


@pytest.mark.soak
@pytest.mark.parametrize("check", operators.CHECKS)
@pytest.mark.parametrize("name", OPERATORS)
def test_operator_on_all_samples(name: str, check: str) -> None:
    dtypes = NAMES if check == "value" else DTYPES[check][0]
    verdict(name, check, outcomes_of(name, check, dtypes, limit=0))


@pytest.mark.soak
@pytest.mark.parametrize("check", modules.CHECKS)
@pytest.mark.parametrize("name", MODULES)
def test_module_on_all_samples(name: str, check: str) -> None:
    verdict(name, check, modules.run(name, check))
