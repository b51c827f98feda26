"""Where the registered names live: for each group the modules whose import registers the built-in ones.

The modules are imported by name the first time that a group is asked for, so the registry stays below the engine.
"""

BUILTIN: dict[str, tuple[str, ...]] = {
    "model": ("expkit.nn.models",),
    "optim": ("expkit.optim",),
    "scheduler": ("expkit.optim.schedulers",),
    "loss": ("expkit.nn.losses", "expkit.nn.margin"),
    "data": ("expkit.data.datasets",),
    "callback": ("expkit.trainer.callbacks", "expkit.trainer.tuning"),
    "logger": ("expkit.tracking",),
    "metric": ("expkit.trainer.metrics",),
    "task": ("expkit.trainer.tasks",),
}

GROUPS = tuple(BUILTIN)

# Group of the registry -> folder of conf/ where its YAML entries are.
FOLDERS = {group: group for group in GROUPS} | {"callback": "callbacks", "metric": "metrics"}
