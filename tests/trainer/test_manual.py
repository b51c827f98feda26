"""Tasks that make their optimizer steps themselves: several optimizers, compiled or not, in every precision."""

import numpy as np
import pytest

from expkit import nn
from expkit.errors import ConfigError, HookError, NonFiniteError, TraceError
from expkit.optim import SGD, Adam
from expkit.optim.schedulers import ReduceLROnPlateau
from expkit.tensor import isfinite
from expkit.trainer import LambdaCallback, SupervisedTask, Task, seed_everything
from tests.trainer.adversarial import Adversarial, batches, by_hand
from tests.trainer.conftest import loader, net

QUIET = {"logger": False, "enable_checkpointing": False}


def fit(trainer, task=None, data=None, seed=2, **how):
    seed_everything(seed)
    ours = trainer(**{**QUIET, "max_epochs": 3, **how})
    ours.fit(task or Adversarial(), data or batches())
    return ours


def weights(task):
    return np.concatenate([p.detach().float().numpy().ravel() for p in task.parameters()])


def made(seed=1, **how):
    seed_everything(seed)
    return Adversarial(**how)


@pytest.mark.parametrize("compile", [False, True])
def test_it_does_what_a_loop_by_hand_does(trainer, compile):
    ours, hand = made(), made()
    data = batches()
    fitted = fit(trainer, ours, data, compile=compile)
    by_hand(hand, data, epochs=3, seed=2)
    np.testing.assert_allclose(weights(ours), weights(hand), rtol=1e-5, atol=1e-6)
    assert fitted.global_step == 2 * 15  # each optimizer's step counts
    assert [o.param_groups[0]["lr"] for o in fitted.optimizers] == [0.01 * 0.5**3, 0.1 * 0.5**2]
    assert all(p.requires_grad for p in ours.parameters())


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "64-true"])
def test_compiled_steps_give_what_eager_ones_do(trainer, precision):
    eager, compiled = made(clip=0.5), made(clip=0.5)
    fit(trainer, eager, precision=precision, compile=False)
    fit(trainer, compiled, precision=precision, compile=True)
    close = {"64-true": 1e-12, "16-mixed": 2e-3, "bf16-mixed": 2e-2}[precision]
    np.testing.assert_allclose(weights(eager), weights(compiled), atol=close)


class Unscheduled(Adversarial):
    def configure_optimizers(self):
        return super().configure_optimizers()[0]


def test_gradients_that_overflow_make_no_step_and_lower_the_scale(trainer):
    task = Unscheduled()
    ours = trainer(**QUIET, precision="16-mixed", max_epochs=1, compile=False)
    ours.scaler._scale.fill_(2.0**40)
    before = weights(task)
    seed_everything(2)
    ours.fit(task, batches(1))
    assert ours.scaler.get_scale() == 2.0**39
    assert np.array_equal(weights(task), before)


def test_the_rehearsal_leaves_no_trace(trainer):
    task = made()
    before = weights(task)
    seen = {}

    def look(t, task):
        seen.update(weights=weights(task), step=t.global_step, state=[dict(o.state) for o in t.optimizers])
        seen["lr"] = [o.param_groups[0]["lr"] for o in t.optimizers]

    fit(trainer, task, callbacks=[LambdaCallback(on_train_start=look)])
    assert np.array_equal(seen["weights"], before)
    del seen["weights"]
    assert seen == {"step": 0, "state": [{}, {}], "lr": [0.01, 0.1]}


def test_max_steps_counts_the_steps_of_all_optimizers(trainer):
    assert fit(trainer, max_epochs=-1, max_steps=8).progress.batches == 4


def test_hooks_inside_of_a_step_are_called_and_make_it_run_eagerly(trainer, caplog):
    seen = []
    hooks = {
        name: lambda *args, name=name: seen.append(name)
        for name in ("on_before_backward", "on_after_backward", "on_before_optimizer_step")
    }
    ours, plain = made(), made()
    fit(trainer, ours, max_epochs=1, callbacks=[LambdaCallback(**hooks)])
    fit(trainer, plain, max_epochs=1, compile=False)
    assert seen == ["on_before_backward", "on_after_backward", "on_before_optimizer_step"] * 2 * 5
    assert np.array_equal(weights(ours), weights(plain))
    with pytest.raises(TraceError, match=r"on_before_backward and .* come between its parts"):
        fit(trainer, made(), max_epochs=1, compile=True, callbacks=[LambdaCallback(**hooks)])


@pytest.mark.parametrize("compile", [False, True])
def test_a_loss_that_is_not_finite_stops_it_before_the_step_that_it_would_spoil(trainer, compile):
    """A program has then changed nothing; eagerly the generator's step was made, before the critic's loss was known."""
    task, seen = made(), []
    data = [(x * (float("inf") if n == 2 else 1.0), None) for n, (x, _) in enumerate(batches())]
    look = LambdaCallback(on_train_batch_start=lambda t, task, batch, index: seen.append(weights(task)))
    step = 5 if compile else 6
    with pytest.raises(NonFiniteError, match=rf"became nan at step {step} \(epoch 0, batch 2\): the data: batch"):
        fit(trainer, task, data, compile=compile, callbacks=[look])
    changed = weights(task) != seen[2]
    assert np.isfinite(weights(task)).all()
    assert not changed[-len(weights(task.critic)) :].any()
    assert changed.any() == (not compile)


class Twice(Adversarial):
    """Two steps of the critic in each step, with a plateau that looks at their loss."""

    def training_step(self, batch, batch_idx):
        second = self.optimizers(use_pl_optimizer=False)[1]
        for _ in range(2):
            loss = self.critic(batch[0]).square().mean()
            second.zero_grad()
            self.manual_backward(loss)
            self.optimizers()[1].step()
        schedule = self.lr_schedulers()
        assert isinstance(schedule, ReduceLROnPlateau)
        schedule.step(loss.detach())

    def configure_optimizers(self):
        first, second = Adam(self.generator.parameters()), SGD(self.critic.parameters(), lr=0.1)
        return {"optimizer": first}, {"optimizer": second, "lr_scheduler": ReduceLROnPlateau(second, patience=0)}


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_an_optimizer_may_make_several_steps_in_one(trainer, precision):
    results = []
    for compile in (False, True):
        seed_everything(1)
        task = Twice()
        ours = fit(trainer, task, compile=compile, precision=precision)
        assert ours.global_step == 2 * 15
        results.append(weights(task))
    np.testing.assert_allclose(*results, atol=1e-6 if precision == "32-true" else 2e-3)


class Scheduled(Adversarial):
    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        self.optimizers()[0].step()


def test_a_schedule_before_an_optimizers_step_is_not_compiled(trainer):
    with pytest.raises(TraceError, match="make the schedule's the last one"):
        fit(trainer, Scheduled(), compile=True)
    assert isfinite(fit(trainer, Scheduled()).task.critic[0].weight).all()


class Plateau(Adversarial):
    """Tells its schedules what they look at by name."""

    def training_step(self, batch, batch_idx):
        first, _ = self.optimizers()
        loss = self.critic(batch[0]).square().mean()
        first.zero_grad()
        self.manual_backward(loss)
        first.step()
        self.lr_schedulers().step(metrics=loss.detach())

    def configure_optimizers(self):
        first, second = SGD(self.critic.parameters(), lr=0.1), SGD(self.generator.parameters(), lr=0.1)
        return [first, second], [ReduceLROnPlateau(second, patience=0, threshold=10.0, threshold_mode="abs")]


def test_schedules_take_what_they_look_at_by_name(trainer):
    rates = [fit(trainer, Plateau(), compile=how).optimizers[1].param_groups[0]["lr"] for how in (True, False)]
    assert rates[0] == rates[1] < 0.1


class Two(SupervisedTask):
    def configure_optimizers(self):
        return SGD(self.model[0].parameters(), lr=0.1), SGD(self.model[2].parameters(), lr=0.1)


class Stepping(SupervisedTask):
    def training_step(self, batch, batch_idx):
        self.optimizers().step()


class GoingBackward(SupervisedTask):
    def training_step(self, batch, batch_idx):
        self.manual_backward(super().training_step(batch, batch_idx))


class Foreign(Adversarial):
    def training_step(self, batch, batch_idx):
        self.toggle_optimizer(Adam(self.parameters()))


def supervised(kind):
    return kind(net(), nn.CrossEntropyLoss())


REFUSED = {
    "two optimizers": (lambda: supervised(Two), {}, ConfigError, "2 optimizers.*automatic_optimization = False"),
    "a step of one's own": (lambda: supervised(Stepping), {}, HookError, "calls step.. of an optimizer, but"),
    "backward of one's own": (lambda: supervised(GoingBackward), {}, HookError, "calls self.manual_backward, but"),
    "accumulation": (made, {"accumulate_grad_batches": 2}, ConfigError, "accumulate_grad_batches=2: Adversarial makes"),
    "clipping": (made, {"gradient_clip_val": 1.0}, ConfigError, "self.clip_gradients"),
    "a foreign optimizer": (Foreign, {}, ConfigError, "Adam is none of the optimizers of Foreign"),
}


@pytest.mark.parametrize(("make", "arguments", "error", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(trainer, make, arguments, error, said):
    with pytest.raises(error, match=said):
        fit(trainer, make(), loader(), **arguments)


class Nothing(Task):
    """Trains without any optimizer: counts batches."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.seen = 0

    def training_step(self, batch, batch_idx):
        self.seen += 1

    def configure_optimizers(self):
        return None


def test_without_a_validation_step_there_is_no_validation(trainer, caplog):
    ours = trainer(**QUIET, compile=False)
    ours.fit(Nothing(), batches(), batches(2))
    assert "Nothing has no validation_step: there is no validation." in caplog.text
    with pytest.raises(HookError, match="Nothing has no validation_step: write"):
        ours.validate(Nothing(), batches(2))


def test_a_task_that_trains_by_itself_needs_no_optimizer(trainer):
    ours = fit(trainer, Nothing(), compile=False)
    assert ours.global_step == 0
    assert ours.task.seen == 15
