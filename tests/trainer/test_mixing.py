"""mixup and CutMix: what they make of a batch, and training with them, compiled or not."""

import numpy as np
import pytest

from expkit import nn
from expkit.errors import ConfigError, ShapeError
from expkit.tensor import float32, from_numpy
from expkit.trainer import LambdaCallback, SupervisedTask, Task, seed_everything
from expkit.trainer.tasks.mixing import Mixing
from tests.trainer.compiling import Recording, adam
from tests.trainer.conftest import arrays, loader, net

CLASSES = 3


def images(n=16, size=8):
    """Image k is k everywhere, so that what a mixture is made of can be read off."""
    values = np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1)
    return from_numpy(np.broadcast_to(values, (n, 1, size, size)).copy()), from_numpy(np.arange(n) % CLASSES)


def test_mixup_mixes_inputs_and_targets_with_the_same_share():
    x, y = images()
    seed_everything(0)
    mixed, target = Mixing(mixup_alpha=1.0)(x, y, CLASSES)
    rng = np.random.RandomState(0)
    rng.random()
    order, share = rng.permutation(16), rng.beta(1.0, 1.0)
    expected = share * np.arange(16) + (1 - share) * order
    np.testing.assert_allclose(mixed.numpy()[:, 0, 3, 5], expected, rtol=1e-6)
    one_hot = np.eye(CLASSES, dtype=np.float32)[np.arange(16) % CLASSES]
    np.testing.assert_allclose(target.numpy(), share * one_hot + (1 - share) * one_hot[order], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_gives_targets_the_share_of_the_pixels(seed):
    x, y = images()
    seed_everything(seed)
    mixed, target = Mixing(cutmix_alpha=1.0)(x, y, CLASSES)
    for k, (image, probabilities) in enumerate(zip(mixed.numpy()[:, 0], target.numpy(), strict=True)):
        expected = np.zeros(CLASSES)
        for value, count in zip(*np.unique(image, return_counts=True), strict=True):
            expected[int(value) % CLASSES] += count / image.size
        assert len(np.unique(image)) <= 2  # all of the box is of one other image
        assert k in image or (image == image[0, 0]).all()
        np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_the_means_of_the_shares_are_those_of_beta():
    seed_everything(1)
    x, y = images(2, 4)
    shares = [float(Mixing(mixup_alpha=0.4)(x, y, CLASSES)[1].numpy()[0].max()) for _ in range(400)]
    draws = np.random.default_rng(0).beta(0.4, 0.4, 20000)
    same = 0.5  # of the orders of two leave each where it is
    assert np.mean(shares) == pytest.approx(same + (1 - same) * np.maximum(draws, 1 - draws).mean(), abs=0.02)


def test_a_batch_that_is_not_mixed_has_targets_of_the_same_form():
    x, y = images()
    same, target = Mixing(mixup_alpha=1.0, prob=0.0)(x, y, CLASSES)
    assert np.array_equal(same.numpy(), x.numpy())
    assert np.array_equal(target.numpy(), np.eye(CLASSES)[y.numpy()])


def fit(trainer, compile, **how):
    seed_everything(5)
    task = SupervisedTask(net(), nn.CrossEntropyLoss(label_smoothing=0.1), adam, num_classes=CLASSES, **how)
    seen = Recording()
    ours = trainer(max_epochs=4, compile=compile, callbacks=[seen], logger=False, enable_checkpointing=False)
    seed_everything(6)
    ours.fit(task, loader(), loader(20))
    return np.array(seen.losses), ours


def test_compiled_training_with_mixtures_is_what_eager_training_is(trainer):
    eager, _ = fit(trainer, False, mixup_alpha=0.4, mix_prob=0.7)
    compiled, ours = fit(trainer, True, mixup_alpha=0.4, mix_prob=0.7)
    np.testing.assert_allclose(eager, compiled, rtol=1e-5)
    assert ours.callback_metrics["train/acc"] > 0.4
    assert not np.allclose(eager, fit(trainer, False)[0])


def test_validation_is_never_mixed(trainer):
    seen = []
    task = SupervisedTask(net(), nn.CrossEntropyLoss(), num_classes=CLASSES, mixup_alpha=1.0)
    look = LambdaCallback(on_validation_batch_start=lambda t, task, batch, *_: seen.append(batch))
    trainer(callbacks=[look]).fit(task, loader(), loader(8))
    x, y = arrays(8)
    assert all(np.array_equal(batch[0].numpy(), x) and np.array_equal(batch[1].numpy(), y) for batch in seen)


REFUSED = {
    "a negative alpha": ({"mixup_alpha": -1.0}, ConfigError, "mixup_alpha=-1.0: expected 0"),
    "a share above one": ({"mixup_alpha": 1.0, "mix_prob": 2.0}, ConfigError, "mix_prob=2.0: expected a share"),
    "a loss of classes": (
        {"mixup_alpha": 1.0, "loss": nn.MultiMarginLoss()}, ConfigError, "take loss=cross_entropy, not MultiM"),
    "no number of classes": ({"mixup_alpha": 1.0, "num_classes": None}, ConfigError, "give num_classes"),
}  # fmt: skip


@pytest.mark.parametrize(("how", "error", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(how, error, said):
    with pytest.raises(error, match=said):
        SupervisedTask(net(), **{"loss": nn.CrossEntropyLoss(), "num_classes": CLASSES, **how})


def test_cutmix_of_what_are_no_images_is_refused(trainer):
    task = SupervisedTask(net(), nn.CrossEntropyLoss(), num_classes=CLASSES, cutmix_alpha=1.0)
    with pytest.raises(ShapeError, match=r"images \(N, C, H, W\), got inputs \(8, 4\)"):
        trainer().fit(task, loader())


class Changing(Task):
    """Its batches are changed before and after they are moved."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.seen = net(), []

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return {"x": np.float64(2.0) * batch[0].numpy(), "y": batch[1]}

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch["x"] + 1, batch["y"]

    def training_step(self, batch, batch_idx):
        return nn.CrossEntropyLoss()(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return adam(self.parameters())


def test_tasks_may_change_batches(trainer):
    seen = []
    look = LambdaCallback(on_train_batch_start=lambda t, task, batch, index: seen.append(batch[0]))
    trainer(callbacks=[look]).fit(Changing(), loader(16))
    np.testing.assert_allclose(seen[0].numpy(), 2 * arrays(16)[0][:8] + 1, rtol=1e-6)
    assert seen[0].dtype is float32
