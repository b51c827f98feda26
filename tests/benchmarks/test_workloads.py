"""The workloads of the training tables: each trains in expkit at a tiny size, compiled as eagerly."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.training import agreement, once, worker
from benchmarks.training.models import MODELS
from benchmarks.training.peers import PEERS
from benchmarks.training.steps import Training
from benchmarks.training.workloads import WORKLOADS, Workload
from tests.benchmarks.table_tiny import TINY

STEPS = 5


def tiny(case: str) -> Workload:
    return replace(WORKLOADS[case], **TINY[case])


def losses(training: Training) -> list[float]:
    return [training.value(training.step()) for _ in range(STEPS)]


def test_every_workload_has_a_tiny_row_and_every_model_a_workload():
    assert list(TINY) == list(WORKLOADS)
    assert {workload.model for workload in WORKLOADS.values()} == set(MODELS)


@pytest.mark.parametrize("case", WORKLOADS)
def test_a_compiled_step_does_what_the_eager_one_does(case):
    eager = Training(tiny(case))
    expected = losses(eager)
    compiled = Training(tiny(case), compiled=True)  # seeds anew: the same weights and masks
    np.testing.assert_allclose(losses(compiled), expected, rtol=1e-4)
    assert len(set(expected)) == STEPS  # it learns, or moves at least
    noise = STEPS * 1e-3  # Adam moves what has no gradient but rounding (the bias of attention's keys) by lr a step
    for name, array in compiled.weights().items():
        np.testing.assert_allclose(array, eager.weights()[name], rtol=1e-3, atol=noise, err_msg=name)


@pytest.mark.parametrize("case", [case for case, workload in WORKLOADS.items() if workload.images])
def test_images_train_in_channels_last_as_well(case):
    expected, there = losses(Training(tiny(case))), losses(Training(tiny(case), channels_last=True))
    np.testing.assert_allclose(there, expected, rtol=1e-3)


def test_weights_go_from_one_training_to_another():
    one, other = Training(tiny("lstm")), Training(tiny("lstm"))
    one.step()
    assert one.value(one.step()) != other.value(other.step())
    other.set_weights({name: array.copy() for name, array in one.weights().items()})
    assert one.value(one.step()) == other.value(other.step())


def test_nudged_weights_differ_in_their_last_bits_alone():
    weights = {"w": np.linspace(0.5, 2, 99, dtype=np.float32), "count": np.array(3)}
    nudged = once.nudged(weights)
    assert nudged["count"] == 3
    assert nudged["w"].dtype == np.float32
    assert 0 < np.abs(nudged["w"] / weights["w"] - 1).max() < 1e-6


def test_without_dropout_steps_do_not_depend_on_masks():
    def first_two(training: Training) -> list[float]:
        training.without_dropout()
        return [training.value(training.loss(training.x, training.y)) for _ in range(2)]

    with_masks = Training(tiny("mlp_norm"))
    assert with_masks.value(with_masks.step()) != first_two(Training(tiny("mlp_norm")))[0]
    assert len(set(first_two(Training(tiny("mlp_norm"))))) == 1


def test_a_worker_answers_line_by_line_and_survives_a_workload_that_fails(monkeypatch):
    monkeypatch.setattr(worker, "WORKLOADS", {"mlp_small": tiny("mlp_small"), "bad": replace(tiny("lstm"), loss="no")})
    cases = ("mlp_small", "bad", "mlp_small")
    requests = io.StringIO("".join(json.dumps({"case": case, "seconds": 0.001}) + "\n" for case in cases))
    answers = io.StringIO()
    worker.serve(PEERS["expkit"], requests, answers)
    about, first, failed, again = (json.loads(line) for line in answers.getvalue().splitlines())
    assert about["version"]
    assert first["seconds"] > 0
    assert first["parameters"] == again["parameters"] == 5 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    assert "no" in failed["error"]


def test_what_a_library_does_not_have_is_no_failure(monkeypatch):
    def nowhere(*_):
        raise NotImplementedError("gru in JAX")

    monkeypatch.setattr(worker, "set_up", nowhere)
    answers = io.StringIO()
    worker.serve(PEERS["expkit"], io.StringIO('{"case": "gru", "seconds": 0.1}\n'), answers)
    assert json.loads(answers.getvalue().splitlines()[1]) == {"none": "gru in JAX"}


@pytest.mark.torch
@pytest.mark.slow
def test_losses_agree_with_those_of_pytorch_from_its_weights():
    pytest.importorskip("torch")
    found = agreement.losses(("torch", "expkit-eager", "expkit"), "mlp_odd", threads=1)
    assert [len(values) for values in found.values()] == [agreement.STEPS] * 4
    pairs = [agreement.differences(found[a], found[b]) for a, b in agreement.PAIRS]
    own = agreement.differences(found[agreement.NUDGED], found["torch"])
    assert own[1] > 0
    assert agreement.verdict(pairs, own).endswith(": kept")
