"""Plans: what abstract evaluation says of a step is what a step does and takes."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.compiler.cost import flops
from expkit.config import compose
from expkit.data.datasets import Iris
from expkit.nn.models import CNN, MLP
from expkit.optim import SGD, Adam
from expkit.trainer import SupervisedTask, Trainer
from expkit.trainer.planning import Stage, make_plan
from expkit.trainer.planning.plan import largest_batch
from expkit.trainer.planning.stage import Settings

SAMPLE = (np.zeros((3, 16, 16), np.float32), np.zeros((), np.int64))
FLAT = (np.zeros((64,), np.float32), np.zeros((), np.int64))


def stage(model, optimizer=Adam, **how):
    return Stage(lambda: SupervisedTask(model(), nn.CrossEntropyLoss(), lambda ps: optimizer(ps, lr=1e-3)), **how)


def mlp(*sizes):
    pairs = list(pairwise(sizes))
    hidden = [layer for a, b in pairs[:-1] for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(*pairs[-1]))


def test_an_mlp_of_two_layers_takes_what_can_be_counted_by_hand():
    planned = stage(lambda: mlp(64, 512, 10))
    step = planned.train(FLAT, 32)
    weights = 4 * (64 * 512 + 512 + 512 * 10 + 10)
    assert step.kinds["parameters"] == pytest.approx(weights, abs=256)  # and the state of the generator
    assert step.kinds["optimizer state"] == pytest.approx(2 * weights, abs=64)  # Adam's averages, and its counters
    assert step.kinds["batch"] == 32 * (64 * 4 + 8)
    phases = {name: sum(map(flops, part)) for name, part in step.phases().items()}
    products = 2 * 32 * (64 * 512 + 512 * 10)
    assert phases["forward"] == pytest.approx(products, rel=0.02)
    assert phases["backward"] == pytest.approx(2 * products - 2 * 32 * 64 * 512, rel=0.05)  # the input wants none


def test_momentum_needs_half_of_what_adam_needs():
    kinds = {o: stage(lambda: mlp(64, 512, 10), o).train(FLAT, 8).kinds["optimizer state"] for o in (SGD, Adam)}
    assert kinds[SGD] == 0
    assert kinds[Adam] > 2 * 4 * 64 * 512


def test_accumulated_gradients_are_there_while_others_are_made():
    plain, gathered = (stage(lambda: mlp(64, 512, 10), settings=Settings(gather=n)).train(FLAT, 8) for n in (1, 4))
    assert gathered.peak > plain.peak


def test_the_shapes_are_those_of_the_modules():
    planned = stage(lambda: CNN((3, 16, 16), 10, channels=[4, 8]))
    planned.train(SAMPLE, 5)
    shapes = planned.places.shapes
    assert shapes["model.features.0"] == ((5, 3, 16, 16), (5, 4, 16, 16))
    assert shapes["model.head"] == ((5, 128), (5, 10))
    assert shapes["loss"] == ([(5, 10), (5,)], ())


def test_equations_know_their_modules_also_in_the_backward_pass():
    planned = stage(lambda: mlp(64, 512, 10))
    step = planned.train(FLAT, 8)
    where = {
        planned.places.at(made.node)
        for e, made in zip(step.equations, step.made, strict=True)
        if made.node is not None and e.prim.name == "matmul"
    }
    assert where == {"model.0", "model.2"}


def test_a_billion_parameters_take_no_memory():
    planned = stage(lambda: mlp(64, 30_000, 30_000, 10))
    assert planned.train(FLAT, 16).peak > 4 * 4 * 30_000**2
    assert planned.infer(FLAT, 16) < 1.1 * 4 * 30_000**2


def test_random_numbers_go_on_as_if_nothing_had_been_planned():
    before = ek.get_rng_state()
    stage(lambda: nn.Sequential(nn.Linear(64, 10), nn.Dropout(0.5))).train(FLAT, 8)
    after = ek.get_rng_state()
    assert list(before) == list(after)


@pytest.mark.parametrize("make", [
    lambda: nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Dropout(0.1), nn.BatchNorm1d(32), nn.Linear(32, 10)),
    lambda: nn.Sequential(nn.Unflatten(1, (8, 8)), nn.LSTM(8, 16, batch_first=True), _Last(), nn.Linear(16, 10)),
    lambda: nn.Sequential(nn.Unflatten(1, (8, 8)), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Flatten(),
                          nn.Linear(64, 10)),
    lambda: nn.Sequential(nn.Unflatten(1, (4, 4, 4)), nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(),
                          nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 10)),
])  # fmt: skip
@pytest.mark.parametrize("whole", [True, False])
def test_all_kinds_of_layers_can_be_planned(make, whole):
    step = stage(make, whole=whole).train(FLAT, 8)
    assert step.peak > 0
    assert sum(step.kinds.values()) == step.peak


class _Last(nn.Module):
    def forward(self, pair):
        return pair[0][:, -1]


def test_the_largest_batch_is_the_largest_one():
    planned = stage(lambda: mlp(64, 512, 10))
    peak = planned.train(FLAT, 32).peak
    room = planned.peak(FLAT, 700)
    found = largest_batch(planned, FLAT, 32, peak, room, 100_000)
    assert planned.peak(FLAT, found) <= room
    assert 0.98 * 700 <= found <= 700
    assert largest_batch(planned, FLAT, 32, peak, 10**12, 5000) == 5000
    assert largest_batch(planned, FLAT, 32, peak, 1000, 5000) is None


def test_the_metrics_are_those_that_training_logs(workdir):
    plan = make_plan(compose(["data=iris", "model.hidden=[8]"]))
    trainer = Trainer(max_epochs=1, logger=False, enable_progress_bar=False, enable_checkpointing=False)
    task = SupervisedTask(MLP((4,), 3, hidden=[8]), nn.CrossEntropyLoss())
    data = Iris(batch_size=plan.batch_size)
    trainer.fit(task, data)
    trainer.test(task, data.test_dataloader(), verbose=False)
    assert set(trainer.callback_metrics) <= set(plan.metrics)
    assert set(plan.metrics) - set(trainer.callback_metrics) <= {"train/loss_step"}
    assert (plan.steps_per_epoch, plan.samples["train"]) == (len(data.train_dataloader()), len(data.train))


MEASURE = """
import sys
from expkit import nn
import expkit as ek
from expkit.nn.models import CNN, MLP

def status(key):
    return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(key))

def steps(model, shape, size, count):
    loss, optimizer = nn.CrossEntropyLoss(), ek.optim.Adam(model.parameters())
    x, y = ek.randn(size, *shape), ek.randint(10, (size,))
    for _ in range(count):
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

make, width, shape, size = {make}, {width}, {shape}, {size}
steps(make(64), shape, 64, 2)  # the code of the kernels, which belongs to the process
before = status("VmRSS")
steps(make(width), shape, size, 4)
print(status("VmHWM") - before)
"""
PEAKS = {  # what makes a model of some width; the width, the shape of a sample, the batch
    "weights": ("lambda w: MLP((784,), 10, hidden=[w, w, w], norm='none')", 2048, (784,), 64),
    "activations": ("lambda w: MLP((784,), 10, hidden=[w, w, w])", 512, (784,), 16384),
    "images": ("lambda w: CNN((3, 32, 32), 10, channels=[w // 2, w])", 64, (3, 32, 32), 512),
}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
@pytest.mark.parametrize("case", PEAKS)
def test_the_peak_is_within_15_percent_of_what_is_measured(case):
    make, width, shape, size = PEAKS[case]
    program = MEASURE.format(make=make, width=width, shape=shape, size=size)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    sample = (np.zeros(shape, np.float32), np.zeros((), np.int64))
    model = eval(make, {"MLP": MLP, "CNN": CNN})  # noqa: S307
    assert stage(lambda: model(width)).train(sample, size).peak == pytest.approx(int(done.stdout), rel=0.15)
