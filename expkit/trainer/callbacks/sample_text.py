"""SampleText: what a language model writes, after each validation."""

from typing import Any

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.console import say
from expkit.trainer.sampling import sample_text


@register("callback", "sample_text")
class SampleText(Callback):
    """Writes texts of the model to the log, and as the artifacts samples/step_<step>.txt, after each validation.

    prompt, max_new_tokens, num_samples, temperature, top_k, top_p: as of `sample_text`. every_n_epochs: how often.
    seed: of the drawing alone, so that the texts of two epochs differ by the model. Training is the same without it.
    """

    def __init__(
        self,
        prompt: str = "\n",
        max_new_tokens: int = 200,
        num_samples: int = 1,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("num_samples", num_samples)):
            if value < 1:
                raise ConfigError(f"SampleText: {name}={value}: must be at least 1.")
        self.every_n_epochs = every_n_epochs
        self.how: dict[str, Any] = {
            "prompt": prompt,
            "max_new_tokens": max_new_tokens,
            "num_samples": num_samples,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "seed": seed,
        }

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        tokenizer = getattr(task, "tokenizer", None)
        if tokenizer is None:
            raise ConfigError(
                f"SampleText ({self.config_key or 'a callback'}) needs a language model's task with a tokenizer, got "
                f"{type(task).__name__}: take data=pystdlib or data=text, or leave the callback out."
            )
        tokenizer.encode(self.how["prompt"])  # DataError now, not after an epoch

    def on_validation_epoch_end(self, trainer: Any, task: Any) -> None:
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        texts = sample_text(task.model, task.tokenizer, **self.how)
        for text in texts:
            say(f"sample: {text!r}")
        written = "\n----------------\n".join(texts)
        for logger in trainer.loggers:
            logger.log_text(written, f"samples/step_{trainer.global_step:06d}.txt")
