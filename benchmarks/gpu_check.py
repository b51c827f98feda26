"""Is the engine right, and how fast is it, on this machine's GPU?    python benchmarks/gpu_check.py

Needs NumPy, ml_dtypes, CuPy and this checkout, nothing else. Stages: machine, operations (every sample row of
tests/ops/table.py against float64 on the CPU), gradients, training (a small MLP on both devices), timing. Each prints
one line of JSON when it is done, so that a run that is cut off still tells something; a table ends the run, which takes
at most ten minutes. Exit code 1 when something was wrong, 0 otherwise, also where there is no GPU.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import expkit as ek
from expkit import nn
from expkit.errors import DeviceError
from expkit.nn import functional as F
from tests.ops.checkers import attempt
from tests.ops.rows import Row, Sample, array_of, assert_close, tensors, to_ek
from tests.ops.table import ROWS

GPU = "cuda"
STEPS = 50  # of training
SHOWN = 20  # problems that a stage lists in full
# Rows whose results are no function of their arguments alone: memory as it is, draws and limits of the dtype.
UNCOMPARED = {"empty_like", "rand_like", "randn_like", "normal", "bernoulli", "multinomial", "nan_to_num"}
COMPARED = [row for row in ROWS if row.name not in UNCOMPARED]
Problem = dict[str, str]


def compare(row: Row, sample: Sample, dtype: str) -> None:
    """One sample on the GPU in `dtype` against float64 on the CPU; AssertionError where they differ."""
    here, function = to_ek(sample, "float64"), row.function()
    expected, refused = attempt(lambda: function(*here.args, **here.kw))
    there = to_ek(sample, dtype).map(lambda x: x.to(GPU))
    got, error = attempt(lambda: function(*there.args, **there.kw))
    if refused is not None:
        assert error is not None, f"the CPU refuses this ({refused}), the GPU does not"
        return
    if error is not None:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    for y, e in zip(tensors(got), tensors(expected), strict=True):
        assert y.device.type == GPU, f"the result lies on {y.device}"
        assert_close(y.cpu(), array_of(e), dtype, f"{row.name}{sample!r}", row.tolerance * 10)


def compare_gradient(row: Row, sample: Sample, dtype: str) -> None:
    """The gradients of one sample, seeded with ones, on the GPU against the CPU."""
    gradients = []
    for device in ("cpu", GPU):
        inputs = to_ek(sample, dtype).map(lambda x, device=device: x.to(device))
        for x in inputs.arrays():
            x.requires_grad_(x.dtype.is_floating_point)
        out, refused = attempt(lambda inputs=inputs: row.function()(*inputs.args, **inputs.kw))
        roots = [] if refused else [y for y in tensors(out) if y.requires_grad]
        if not roots:
            return
        ek.autograd.backward(roots, [ek.ones_like(y) for y in roots])
        gradients.append([x.grad for x in inputs.arrays()])
    for e, g in zip(*gradients, strict=True):
        if e is not None:
            assert_close(g.cpu(), array_of(e), dtype, f"gradient of {row.name}{sample!r}", row.tolerance * 10)


def check_rows(check: Callable[[Row, Sample, str], None], rows: list[Row], deadline: float) -> dict[str, Any]:
    """Every sample of the rows, in float32 and float64, until the time is over."""
    done, problems = 0, []
    for row in rows:
        for sample, dtype in ((s, d) for s in row.make() if s.arrays() for d in ("float32", "float64")):
            if time.monotonic() > deadline:
                return _result(done, problems, stopped_at=row.name)
            done += 1
            try:
                check(row, sample, dtype)
            except Exception as error:  # noqa: BLE001  (whatever goes wrong is what this stage reports)
                problems.append({"row": row.name, "sample": repr(sample), "dtype": dtype, "error": str(error)[:300]})
    return _result(done, problems)


def _result(done: int, problems: list[Problem], **more: Any) -> dict[str, Any]:
    return {"checked": done, "wrong": len(problems), "problems": problems[:SHOWN], **more}


# ---- stages ----------------------------------------------------------------------------------------------------------


def machine(deadline: float) -> dict[str, Any]:
    import cupy

    properties = getattr(cupy.cuda.runtime, "getDeviceProperties", lambda _: {"name": b"unknown"})(0)
    versions = {"cupy": getattr(cupy, "__version__", "?"), "numpy": np.__version__, "expkit": ek.__version__}
    return {"gpu": properties["name"].decode(), "versions": versions, "wrong": 0}


def operations(deadline: float) -> dict[str, Any]:
    return check_rows(compare, COMPARED, deadline)


def gradients(deadline: float) -> dict[str, Any]:
    return check_rows(compare_gradient, [row for row in COMPARED if row.grad], deadline)


def _model() -> nn.Sequential:
    ek.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.LayerNorm(256), nn.Linear(256, 10))


def _trainer(device: str) -> Callable[[], ek.Tensor]:
    """One training step on fixed data, as a function."""
    model = _model().to(device)
    optimizer = ek.optim.AdamW(model.parameters(), lr=1e-3)
    x = ek.tensor(np.random.default_rng(0).standard_normal((128, 64)).astype(np.float32)).to(device)
    y = ek.tensor(np.arange(128) % 10).to(device)

    def step() -> ek.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def training(deadline: float) -> dict[str, Any]:
    """Steps from the same parameters on the same data, eager and compiled: the losses must agree, and fall."""
    ways = {"cpu": _trainer("cpu"), GPU: _trainer(GPU), "compiled": ek.compile(_trainer(GPU))}
    losses = {name: [float(step()) for _ in range(STEPS)] for name, step in ways.items()}
    difference = max(abs(a - b) for name in (GPU, "compiled") for a, b in zip(losses["cpu"], losses[name], strict=True))
    wrong = difference > 1e-3 or losses[GPU][-1] > 0.7 * losses[GPU][0]
    return {"first": losses[GPU][0], "last": losses[GPU][-1], "largest_difference": difference, "wrong": int(wrong)}


def _timed() -> Iterator[tuple[str, Callable[[str], Callable[[], object]]]]:
    def binary(name: str, *shape: int) -> Callable[[str], Callable[[], object]]:
        def build(device: str) -> Callable[[], object]:
            a, b = (ek.randn(*shape).to(device) for _ in range(2))
            return lambda: getattr(ek, name)(a, b)

        return build

    def softmax(device: str) -> Callable[[], object]:
        a = ek.randn(1024, 1024).to(device)
        return lambda: ek.softmax(a, -1)

    yield "add 8x8", binary("add", 8, 8)
    yield "add 1024x1024", binary("add", 1024, 1024)
    yield "matmul 1024", binary("matmul", 1024, 1024)
    yield "matmul 4096", binary("matmul", 4096, 4096)
    yield "softmax 1024x1024", softmax
    yield "MLP training step", _trainer


def timing(deadline: float) -> dict[str, Any]:
    """Microseconds a call on both devices, waiting for the GPU at the end of each bunch."""
    rows = {}
    for name, build in _timed():
        if time.monotonic() > deadline:
            break
        rows[name] = {device: round(_microseconds(build(device), device), 1) for device in ("cpu", GPU)}
    return {"microseconds": rows, "wrong": 0}


def _microseconds(run: Callable[[], object], device: str) -> float:
    wait = ek.cuda.synchronize if device == GPU else lambda: None
    run()
    wait()
    calls, best = 1, float("inf")
    while calls <= 1000:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        wait()
        passed = time.perf_counter() - start
        best = min(best, passed / calls)
        if passed > 0.3:
            break
        calls *= 4
    return best * 1e6


STAGES = {"machine": machine, "operations": operations, "gradients": gradients, "training": training, "timing": timing}


def summary(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield f"{'stage':12} {'wrong':>6}  details"
    for name, result in results.items():
        kept = {k: v for k, v in result.items() if k not in ("wrong", "problems", "microseconds", "versions")}
        yield f"{name:12} {result['wrong']:6}  {', '.join(f'{k} {v}' for k, v in kept.items())}"
    for name, row in results.get("timing", {}).get("microseconds", {}).items():
        yield f"  {name:20} CPU {row['cpu']:12,.1f} us   GPU {row[GPU]:12,.1f} us   {row['cpu'] / row[GPU]:6.1f} x"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="check and time the engine on an NVIDIA GPU")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for all stages together")
    minutes = parser.parse_args(arguments).minutes
    try:
        ek.ones(1, device=GPU)
    except DeviceError as error:
        print(f"nothing to check here: {error}")
        return 0
    deadline, results = time.monotonic() + 60 * minutes, {}
    for name, stage in STAGES.items():
        start = time.monotonic()
        try:
            results[name] = stage(deadline)
        except Exception as error:  # noqa: BLE001  (the stages after it are still worth running)
            results[name] = {"wrong": 1, "error": f"{type(error).__name__}: {error}"}
        results[name]["seconds"] = round(time.monotonic() - start, 1)
        print(json.dumps({name: results[name]}), flush=True)
    print(*summary(results), sep="\n", flush=True)
    return int(any(result["wrong"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
