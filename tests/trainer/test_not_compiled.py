"""What cannot be compiled runs eagerly, right and told once; trainer.compile=true makes it an error."""

import random

import numpy as np
import pytest

from expkit.errors import TraceError
from expkit.optim import Adam
from expkit.trainer import Accuracy, SupervisedTask
from tests.trainer.compiling import batches, fit, programs
from tests.trainer.conftest import loader, net


class Branching(SupervisedTask):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * 2 if loss > 1.0 else loss


def test_what_cannot_be_compiled_runs_eagerly_and_is_told_once(trainer, caplog):
    expected, _, _ = fit(trainer, net, batches((4,)), compile=False, kind=Branching)
    losses, _, _ = fit(trainer, net, batches((4,)), compile="auto", kind=Branching)
    np.testing.assert_array_equal(losses, expected)
    said = [record.getMessage() for record in caplog.records if "eagerly" in record.getMessage()]
    assert len(said) == 1
    assert "the training step of Branching runs eagerly" in said[0]
    assert "return loss * 2 if loss > 1.0 else loss" in said[0]
    assert "test_not_compiled.py:" in said[0]


def test_compile_true_makes_it_an_error(trainer):
    with pytest.raises(TraceError, match=r"trainer.compile=true: the training step(.*\n.*)*if loss > 1.0"):
        fit(trainer, net, loader(), compile=True, kind=Branching)


class ByIndex(SupervisedTask):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + batch_idx % 2)


class ByStep(SupervisedTask):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + self.global_step)


class ByTrainer(SupervisedTask):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * len(self.trainer.callback_metrics)


class LoggingANumber(SupervisedTask):
    def training_step(self, batch, batch_idx):
        self.log("lr", self.optimizer().param_groups[0]["lr"])
        return super().training_step(batch, batch_idx)

    def optimizer(self):
        return self.__dict__["_trainer"].optimizer or Adam(self.parameters())


class Mixing(SupervisedTask):
    def training_step(self, batch, batch_idx):
        x, y = batch
        share = np.random.beta(0.5, 0.5) + random.random()  # noqa: NPY002
        return super().training_step((x * share, y), batch_idx)


class Counting(SupervisedTask):
    def training_step(self, batch, batch_idx):
        self.__dict__["count"] = self.__dict__.get("count", 0) + 1
        return super().training_step(batch, batch_idx) * self.count


class Asking(SupervisedTask):
    def training_step(self, batch, batch_idx):
        metric = Accuracy()
        metric.update(self.model(batch[0]), batch[1])
        return super().training_step(batch, batch_idx) * (1 + metric.compute())


EAGER = {
    ByIndex: "batch_idx", ByStep: "self.global_step", ByTrainer: "self.trainer", LoggingANumber: "log('lr'",
    Mixing: "random numbers", Counting: "count", Asking: "Accuracy.compute",
}  # fmt: skip


@pytest.mark.parametrize("kind", EAGER, ids=lambda kind: kind.__name__)
def test_what_a_program_would_repeat_runs_eagerly(trainer, caplog, kind):
    """Numbers that change from step to step would be those of the trace."""
    expected, _, _ = fit(trainer, net, loader(), compile=False, kind=kind)
    losses, _, _ = fit(trainer, net, loader(), compile="auto", kind=kind)
    np.testing.assert_array_equal(losses, expected)
    said = [record.getMessage() for record in caplog.records if "eagerly" in record.getMessage()]
    assert len(said) == 1
    assert EAGER[kind] in said[0]


def test_compile_false_compiles_nothing(trainer):
    _, _, ours = fit(trainer, net, loader(), compile=False)
    assert programs(ours) == {}
