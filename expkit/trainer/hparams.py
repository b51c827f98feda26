"""Hyperparameters of a task: the arguments that it was made with, kept in its checkpoints as JSON."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from expkit.errors import CheckpointError, ConfigError, did_you_mean
from expkit.registry import signature_of
from expkit.trainer import checkpoint

if TYPE_CHECKING:
    from expkit.trainer.task import Task

KEY = "hyper_parameters"  # Lightning's name in checkpoints
PLAIN = (type(None), bool, int, float, str, Path)
T = TypeVar("T", bound="Task")


class AttributeDict(dict[str, Any]):
    """A dict whose entries are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"there is no hyperparameter {name!r}.{did_you_mean(name, self)}")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def save(task: "Task", names: Sequence[Any], ignore: str | Sequence[str] | None, frame: FrameType | None) -> None:
    """Adds the arguments of the constructors that are running for `task` to its hyperparameters; see Task."""
    found = _arguments(task, frame)
    left_out = {ignore} if isinstance(ignore, str) else set(ignore or ())
    unknown = [name for name in (*names, *left_out) if isinstance(name, str) and name not in found]
    if unknown:
        raise ConfigError(
            f"save_hyperparameters: {type(task).__name__} has no argument {unknown[0]!r}."
            f"{did_you_mean(unknown[0], found)} Arguments: {', '.join(found) or 'none'}."
        )
    chosen = [name for name in names if isinstance(name, str)]
    values = {name: found[name] for name in (chosen or found) if names == () or name in chosen}
    for extra in names:
        if isinstance(extra, Mapping):
            values.update(extra)
        elif not isinstance(extra, str):
            raise ConfigError(f"save_hyperparameters takes names and mappings, got {type(extra).__name__}.")
    for name, value in values.items():
        if name not in left_out:
            _refuse_objects(name, name, value)
            task.hparams[name] = value


def _arguments(task: "Task", frame: FrameType | None) -> dict[str, Any]:
    """The arguments of the constructors of `task` that are running; those of the subclass win."""
    found: dict[str, Any] = {}
    for one in _constructors(task, frame):
        spec = inspect.getargvalues(one)
        own = {name: spec.locals[name] for name in spec.args[1:]}
        rest = {} if spec.keywords is None else spec.locals[spec.keywords]
        found |= own | rest
    return found


def _constructors(task: "Task", frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None and frame.f_code.co_name == "__init__":
        names = frame.f_code.co_varnames
        if not names or frame.f_locals.get(names[0]) is not task:
            return
        yield frame
        frame = frame.f_back


def _refuse_objects(name: str, path: str, value: Any) -> None:
    """ConfigError for what is not plain data."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            _refuse_objects(name, f"{path}.{key}", child)
    elif isinstance(value, list | tuple):
        for number, child in enumerate(value):
            _refuse_objects(name, f"{path}[{number}]", child)
    elif not isinstance(value, PLAIN):
        raise ConfigError(
            f"save_hyperparameters: {path} is {type(value).__name__}, which a checkpoint cannot hold as a "
            f"hyperparameter (numbers, texts, lists and dicts can): save_hyperparameters(ignore=[{name!r}])."
        )


def load(cls: type[T], path: str | Path, strict: bool, overrides: Mapping[str, Any]) -> T:
    """A task of `cls` as the checkpoint at `path` has it. CheckpointError where that is not one of it."""
    found = checkpoint.resolve(path)
    state = checkpoint.load(found)
    signature = signature_of(cls)
    known = signature.named()
    kept = {name: value for name, value in (state.get(KEY) or {}).items() if signature.open or name in known}
    arguments = {**kept, **overrides}
    unknown = [name for name in overrides if name not in known and not signature.open]
    missing = [name for name, argument in known.items() if argument.required and name not in arguments]
    if unknown or missing:
        what = (
            f"{cls.__name__} has no argument {unknown[0]!r}.{did_you_mean(unknown[0], known)}"
            if unknown
            else f"{cls.__name__} needs {', '.join(missing)}, which save_hyperparameters did not keep. Give "
            f"load_from_checkpoint(path, {', '.join(f'{name}=...' for name in missing)})."
        )
        raise CheckpointError(f"{found}: {what}")
    task = cls(**arguments)
    task.on_load_checkpoint(state)
    task.load_checkpoint_weights(state["state_dict"], strict)
    return task
