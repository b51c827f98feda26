"""Planning: what an experiment will need and do, found out by abstract evaluation, before anything is allocated."""

from expkit.trainer.planning.compiled import CompiledStage
from expkit.trainer.planning.picture import make_picture
from expkit.trainer.planning.plan import Plan, make_plan
from expkit.trainer.planning.stage import Stage

__all__ = ["CompiledStage", "Plan", "Stage", "make_picture", "make_plan"]
