"""LanguageModelTask: the next token, at every place of every sample."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.errors import ConfigError, ShapeError
from expkit.nn import CrossEntropyLoss
from expkit.nn.module import Module
from expkit.optim import Optimizer
from expkit.registry import register
from expkit.tensor import Tensor
from expkit.trainer.metrics import MeanMetric, Metric
from expkit.trainer.tasks.supervised import SupervisedTask, split

ADVICE = "Choose a model of tokens: model=gpt, lstm_lm, gru_lm."
IGNORED = -100  # a target that does not count, as cross-entropy has it


class MeanPerplexity(MeanMetric):
    """exp(mean), of the cross-entropies of batches weighted by their tokens."""

    higher_is_better = False

    def finish(self, stats: dict[str, Any]) -> float:
        return float(np.exp(super().finish(stats)))


class MeanAccuracy(MeanMetric):
    """The mean of the shares of batches weighted by their tokens."""

    higher_is_better = True


OWN = {"loss": MeanMetric, "perplexity": MeanPerplexity, "acc": MeanAccuracy}


@register("task", "language_model")
class LanguageModelTask(SupervisedTask):
    """Minimises the cross-entropy of the next token.   batches: tokens x (N, T), the tokens that follow y (N, T)

    Logs train/loss, and in validation and testing loss, perplexity (exp of the cross-entropy, whatever the loss is) and
    acc (the share of tokens that were the likeliest), exactly over all tokens but those that are -100 in y. `metrics`
    are further ones, of logits (tokens, vocabulary) and targets (tokens,). data: whose tokenizer callbacks may ask for.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor] | None = None,
        optimizer: Callable[[Iterable[Tensor]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], Any] | None = None,
        metrics: Callable[[], dict[str, Metric]] | None = None,
        data: Any = None,
    ) -> None:
        if not getattr(model, "causal", True):
            raise ConfigError(
                f"{type(model).__name__} sees the tokens that follow, so it cannot learn to predict them: choose "
                "model=gpt, gpt2, lstm_lm or gru_lm, or data of another kind."
            )
        super().__init__(model, loss or CrossEntropyLoss(), optimizer, scheduler, metrics=dict)
        self.task = "language_modeling"
        self.tokenizer = getattr(data, "tokenizer", None)
        for stage in ("val", "test"):
            further = {} if metrics is None else metrics()
            self.metrics[stage] = {name: metric() for name, metric in OWN.items()} | {
                name: metric for name, metric in further.items() if name not in OWN
            }

    def _step(self, batch: Any, stage: str) -> Tensor:
        x, y = split(batch)
        try:
            logits = self.model(x)
        except TypeError as error:
            raise ShapeError(f"the model does not take tokens, {x.dtype} (N, T): {error} {ADVICE}") from error
        if logits.ndim != 3 or logits.shape[:2] != y.shape:
            raise ShapeError(
                f"the model made {tuple(logits.shape)} of tokens {tuple(x.shape)}; a language model makes logits "
                f"(N, T, vocabulary) for targets {tuple(y.shape)}. {ADVICE}"
            )
        logits, target = logits.flatten(0, 1), y.flatten()
        loss = self.loss(logits, target)
        if stage == "train":
            self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(y))
        else:
            self._score(logits.float(), target, loss, stage)
        return loss

    def _score(self, logits: Tensor, target: Tensor, loss: Tensor, stage: str) -> None:
        counts = T.ne(target, IGNORED).sum()
        right = T.eq(logits.argmax(-1), target).sum()
        values = {
            "loss": loss,
            "perplexity": F.cross_entropy(logits, target, reduction="sum") / counts,
            "acc": right / counts,
        }
        for name, metric in self.metrics[stage].items():
            metric.update(*((values[name], counts) if name in values else (logits, target)))
            self.log(f"{stage}/{name}", metric, on_step=False, on_epoch=True, prog_bar=name in ("loss", "perplexity"))
