"""The task of language models: exact figures over uneven batches; texts that they write."""

import math

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from expkit.data import DataLoader, TensorDataset
from expkit.data.text import ByteLevelBPE, CharTokenizer
from expkit.errors import ConfigError, DataError, ShapeError
from expkit.nn.models.gpt import GPT
from expkit.registry import build
from expkit.trainer.sampling import sample_text
from expkit.trainer.tasks import LanguageModelTask, SupervisedTask

V, T = 7, 6
TEXT = "abcdefgabcdaefg\n" * 30


def model(dropout=0.0):
    ek.manual_seed(0)
    return GPT((T,), V, n_layer=1, n_head=2, n_embd=8, dropout=dropout)


def batches(n=10, batch_size=4, ignored=()):
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, V, (n, T)) for _ in range(2))
    for row, column in ignored:
        y[row, column:] = -100
    return DataLoader(TensorDataset(ek.tensor(x), ek.tensor(y)), batch_size=batch_size)


def expected(net, loader, **how):
    """loss and accuracy over all tokens at once."""
    x, y = (tensor[:] for tensor in loader.dataset.tensors)
    with ek.no_grad():
        logits = net(x).flatten(0, 1)
    counted = y.flatten().numpy() >= 0
    right = (logits.argmax(-1).numpy() == y.flatten().numpy())[counted].mean()
    return F.cross_entropy(logits, y.flatten(), **how).item(), right


@pytest.mark.parametrize("ignored", [(), ((0, 3), (1, 0), (9, 5), (8, 0))], ids=["all", "some are ignored"])
@pytest.mark.parametrize("batch_size", [1, 4, 10])
def test_figures_are_exact_over_uneven_batches(trainer, batch_size, ignored):
    net, loader = model(), batches(batch_size=batch_size, ignored=ignored)
    found = trainer(logger=False).validate(LanguageModelTask(net), loader, verbose=False)[0]
    loss, right = expected(net.eval(), loader)
    assert found["val/loss"] == pytest.approx(loss, rel=1e-5)
    assert found["val/perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert found["val/acc"] == pytest.approx(right, rel=1e-6)


def test_perplexity_is_that_of_the_cross_entropy_whatever_the_loss():
    task = LanguageModelTask(model(), nn.CrossEntropyLoss(label_smoothing=0.2))
    loader = batches()
    found = ek.Trainer(logger=False, enable_progress_bar=False).validate(task, loader, verbose=False)[0]
    plain, _ = expected(task.model.eval(), loader)
    smoothed, _ = expected(task.model, loader, label_smoothing=0.2)
    assert found["val/loss"] == pytest.approx(smoothed, rel=1e-5)
    assert found["val/perplexity"] == pytest.approx(math.exp(plain), rel=1e-5)


def test_further_metrics_see_all_tokens(trainer):
    task = LanguageModelTask(model(), metrics=lambda: {"f1": build("metric", {"name": "f1"})})
    found = trainer(logger=False).test(task, batches(), verbose=False)[0]
    assert {"test/loss", "test/perplexity", "test/acc", "test/f1"} <= set(found)


@pytest.mark.parametrize("compile", [True, False])
def test_training_is_that_of_a_bare_loop(trainer, compile):
    net, loader = model(), batches()
    task = LanguageModelTask(net, optimizer=lambda params: ek.optim.SGD(params, lr=0.5))
    fit = trainer(max_epochs=2, compile=compile, logger=False)
    fit.fit(task, loader, loader)
    twin = model()
    optimizer = ek.optim.SGD(twin.parameters(), lr=0.5)
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(twin(x).flatten(0, 1), y.flatten()).backward()
            optimizer.step()
    for name, value in twin.state_dict().items():
        np.testing.assert_allclose(net.state_dict()[name].numpy(), value.numpy(), rtol=1e-4, atol=1e-6)
    assert {"train/loss", "val/loss", "val/perplexity", "val/acc"} <= set(fit.callback_metrics)


def test_a_model_of_something_else_is_explained(trainer):
    with pytest.raises(ShapeError, match="model=gpt"):
        trainer(logger=False).validate(LanguageModelTask(Flat()), batches())


    with pytest.raises(ShapeError, match=r"does not take tokens.*model=gpt"):
        trainer(logger=False).validate(LanguageModelTask(nn.Linear(T, V)), batches())


class Flat(nn.Module):
    """A model that makes one prediction of a text."""

    def forward(self, ids):
        return F.one_hot(ids, V).float().mean(1)


# ---------------------------------------------------------------------- texts


class Alphabet(nn.Module):
    """Expects the next letter of the alphabet, and the end after the last."""

    block_size = 5

    def __init__(self, size):
        super().__init__()
        self.size, self.scale = size, nn.Parameter(ek.tensor(60.0))

    def forward(self, ids):
        return F.one_hot((ids + 1) % self.size, self.size).float() * self.scale


def test_texts_begin_with_the_prompt():
    tokenizer = CharTokenizer("abcdefg")
    assert sample_text(Alphabet(7), tokenizer, "bc", 4, num_samples=2, seed=0) == ["bcdefg"] * 2
    net = model()
    texts = [sample_text(net, tokenizer, "a", 20, seed=seed, num_samples=2) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0][0] != texts[0][1]
    with pytest.raises(DataError, match="U\\+0078"):
        sample_text(net, tokenizer, "x")
    with pytest.raises(ConfigError, match="empty prompt"):
        sample_text(net, tokenizer, "")
    with pytest.raises(ConfigError, match="num_samples=0"):
        sample_text(net, tokenizer, "a", num_samples=0)


def test_the_end_of_text_ends_a_text():
    tokenizer = ByteLevelBPE({"x": 0, "y": 1, "z": 2, "<|endoftext|>": 3}, [], ["<|endoftext|>"])
    assert sample_text(Alphabet(4), tokenizer, "x", 9, temperature=0) == ["xyz"]
    assert sample_text(Alphabet(4), tokenizer, "", 9, temperature=0) == ["xyz"]


@pytest.mark.slow
def test_an_experiment_learns_and_writes(workdir):
    (workdir / "a.txt").write_text(TEXT * 4)
    overrides = [
        "data=text", "data.path=a.txt", "data.block_size=16", "data.batch_size=8", "model=gpt", "model.n_layer=1",
        "model.n_head=2", "model.n_embd=16", "optim.lr=0.01", "trainer.max_epochs=3", "logger=none",
        "callbacks=[default,sample_text]", "callbacks.sample_text.max_new_tokens=30",
        "callbacks.sample_text.every_n_epochs=2", "callbacks.sample_text.num_samples=2",
    ]  # fmt: skip
    result = ek.train(overrides)
    assert result.metrics["test/perplexity"] == pytest.approx(math.exp(result.metrics["test/loss"]), rel=1e-4)
    assert result.metrics["test/perplexity"] < 4
    [sample] = sorted(result.run_dir.rglob("samples/*.txt"))
    texts = sample.read_text().split("\n----------------\n")
    assert len(texts) == 2
    assert all(len(text) == 31 and set(text) <= set(TEXT) for text in texts)
    assert isinstance(result.metrics["val/acc"], float)
    again = ek.train([override for override in overrides if "sample" not in override] + ["callbacks=default"])
    assert again.metrics == result.metrics  # drawing texts changes nothing


@pytest.mark.parametrize(("how", "error", "word"), [
    ({"every_n_epochs": 0}, ConfigError, "every_n_epochs=0"), ({"num_samples": 0}, ConfigError, "num_samples=0"),
])  # fmt: skip
def test_wrong_arguments_of_the_callback(how, error, word):
    with pytest.raises(error, match=word):
        build("callback", {"name": "sample_text", **how})


def test_the_callback_needs_a_tokenizer_and_a_prompt_that_it_knows(trainer):
    class Data:
        tokenizer = CharTokenizer("abcdefg")

    callback = build("callback", {"name": "sample_text", "prompt": "?"})
    for task, error, word in (
        (SupervisedTask(nn.Linear(2, 2), nn.CrossEntropyLoss()), ConfigError, "SupervisedTask"),
        (LanguageModelTask(model()), ConfigError, "data=pystdlib"),
        (LanguageModelTask(model(), data=Data()), DataError, r"U\+003F"),
    ):
        with pytest.raises(error, match=word):
            callback.on_fit_start(None, task)
