"""Training styles by name: what `task: {name: ...}` of a config may choose."""

from expkit.trainer.tasks.distillation import DistillationTask
from expkit.trainer.tasks.language import LanguageModelTask
from expkit.trainer.tasks.reconstruction import ReconstructionTask
from expkit.trainer.tasks.supervised import SupervisedTask

__all__ = ["DistillationTask", "LanguageModelTask", "ReconstructionTask", "SupervisedTask"]
