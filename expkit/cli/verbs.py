"""The verbs of the command: which module does what, in the order of the help. Nothing is loaded here."""

from typing import NamedTuple


class Verb(NamedTuple):
    """A line of the help. The module `expkit.cli.NAME` has `usage() -> str`, `parser() -> Parser`, `run(argv) -> int`.

    takes: what its words mean, for completion: "overrides", "run", "group", ...; the last one may be repeated.
    """

    summary: str
    takes: tuple[str, ...] = ()


GROUPS: dict[str, dict[str, Verb]] = {
    "Run": {
        "train": Verb("compose an experiment and run it: expkit train model=cnn optim.lr=0.01", ("overrides",)),
        "resume": Verb("go on with a run that was interrupted: expkit resume last", ("run",)),
        "eval": Verb("the metrics of a trained run: expkit eval last", ("run", "overrides")),
        "predict": Verb("what a trained run says of new samples: expkit predict last --input new.csv", ("run",)),
    },
    "Look before you train": {
        "validate": Verb("check a config without running it, all mistakes at once", ("overrides",)),
        "plan": Verb("shapes, memory, operations, steps of an experiment, without running it", ("overrides",)),
        "graph": Verb("a picture of the compiled training step: expkit graph model=cnn --html FILE", ("overrides",)),
        "profile": Verb("time, operations and bytes a second of each kernel of a training step", ("overrides",)),
    },
    "Look around": {
        "ls": Verb("what there is to choose from, and which runs: expkit ls model, expkit ls runs", ("group",)),
        "show": Verb("an option's arguments and documentation, or a run: expkit show model mlp", ("group", "option")),
        "diff": Verb("what differs between two runs, in config and in metrics", ("run",)),
        "ui": Verb("open the dashboard of all runs (MLflow)"),
        "sync": Verb("send MLflow what it has missed: expkit sync [RUNS]", ("run",)),
    },
    "Set up": {
        "init": Verb("start a project of your own: expkit init my_project", ("folder",)),
        "doctor": Verb("this machine: kernels, libraries, settings that cost speed, what is broken"),
        "schema": Verb("JSON schema of the configs, for editors", ("schema",)),
        "completion": Verb('shell completion: eval "$(expkit completion bash)"', ("shell",)),
    },
}  # fmt: skip

VERBS = {name: verb for verbs in GROUPS.values() for name, verb in verbs.items()}
