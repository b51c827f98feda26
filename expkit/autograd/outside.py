"""What a replayed trace takes for granted of the Python around it: numbers, strings and settings that a function reads.

A picture (pictures.py) of a value is what can be compared of it. A trace that is going to be replayed guards the
pictures; where the function itself changes what it reads, it cannot be replayed, and what it bound anew is put back.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import partial
from sys import stdlib_module_names
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from expkit.autograd.pictures import DEPTH, LIBRARIES, is_plain, parts, picture
from expkit.autograd.saved import PACKAGE
from expkit.autograd.trace import Trace

Variable = tuple[str, Callable[[], Any], Callable[[Any], Any]]  # its name, how to read it, how to bind it
FUNCTIONS = 64  # how many functions are followed


def rely_on(trace: Trace, fn: Any) -> None:
    """Guards what the Python function (or bound method) fn reads: variables of modules and of functions around it."""
    for name, get, put in _variables(fn):
        rely_on_value(trace, name, get, put)


def rely_on_value(trace: Trace, name: str, get: Callable[[], Any], put: Callable[[Any], None]) -> None:
    """Guards one variable; `put` binds it anew."""
    trace.guards.append((lambda: picture(get()), keep(trace, name, get, put)))


def keep(trace: Trace, name: str, get: Callable[[], Any], put: Callable[[Any], None], depth: int = DEPTH) -> Any:
    """The picture of one variable, which is put back when the trace ends."""
    now = get()
    then = picture(now, depth)
    plain = [vars(now)] if is_plain(type(now)) and hasattr(now, "__dict__") else []
    held = _contents([now, *plain])

    def put_back() -> None:
        if picture(get(), depth) != then:
            trace.changed.append(name)
            for container, content in held:
                refill(container, content)
        if get() is not now:
            put(now)

    trace.undo.append(put_back)
    return then


def _contents(values: Iterable[Any], depth: int = DEPTH) -> list[tuple[Any, Any]]:
    """The containers among values, and in those, each with its content now."""
    found = []
    for x in values:
        if isinstance(x, list | dict | set | deque):
            found.append((x, copy(x)))
        if depth > 0 and isinstance(x, list | tuple | dict | deque):
            found += _contents(parts(x), depth - 1)
    return found


def refill(container: Any, content: Any) -> None:
    """Puts back what was in a list, dict, set or deque."""
    container.clear()
    if isinstance(container, dict | set):
        container.update(content)
    else:
        container.extend(content)


def rely_on_attributes(trace: Trace, owner: Any, but: frozenset[str] = frozenset()) -> None:
    """Guards an object's attributes: numbers, strings, which tensors they are, what lies in containers `but` some."""
    space = owner.__dict__
    now = dict(space)
    known, then = list(map(id, now.values())), picture(now)
    open_ones = [v for name, v in now.items() if name not in but and _contents([v])]
    held = _contents(open_ones)
    inside = picture(open_ones)

    def same() -> bool:
        return list(map(id, space.values())) == known or picture(dict(space)) == then

    def put_back() -> None:
        if not same():
            trace.changed.extend(f"{type(owner).__name__}.{name}" for name in _differing(now, space))
            refill(space, now)
        if picture(open_ones) != inside:
            trace.changed.append(f"a container of {type(owner).__name__}")
            for container, content in held:
                refill(container, content)

    trace.guards += [(same, True)] + ([(lambda: picture(open_ones), inside)] if open_ones else [])
    trace.undo.append(put_back)


def rely_on_members(trace: Trace, owner: Any, table: dict[str, Any]) -> None:
    """Guards which tensors or modules an object has in a table of its attributes."""
    now = dict(table)
    trace.guards.append((lambda: list(map(id, table.values())), list(map(id, now.values()))))

    def put_back() -> None:
        if names := _differing(now, table):
            trace.changed.extend(f"{type(owner).__name__}.{name}" for name in names)
            refill(table, now)

    trace.undo.append(put_back)


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    names = [*old, *(name for name in new if name not in old)]
    return [name for name in names if name not in old or name not in new or old[name] is not new[name]]


def _variables(fn: Any) -> Iterator[Variable]:
    """The variables that fn reads, and those that functions read which it finds in such a variable."""
    todo: list[tuple[Any, int]] = [(fn, DEPTH)]
    seen: set[int] = set()
    yield "the function itself", partial(_given, fn), _given
    while todo and len(seen) < FUNCTIONS:
        fn, depth = todo.pop()
        if id(fn) in seen or depth < 0 or not _is_followed(fn):
            continue
        seen.add(id(fn))
        if fn.__class__ is not FunctionType:
            if fn.__class__ is MethodType:
                yield "self", partial(_given, fn.__self__), _given
            elif is_plain(type(fn)) and callable(fn):
                kind = type(fn)
                yield (
                    f"{kind.__name__}.__call__",
                    partial(getattr, kind, "__call__"),
                    partial(setattr, kind, "__call__"),
                )
            todo += [(x, depth - 1) for x in _inside(fn)]
            continue
        for name, get, put in (*_cells(fn), *_globals(fn)):
            value = get()
            todo += [(value, DEPTH), *((m, DEPTH) for m in _methods(value, _names(fn.__code__)))]
            yield name, get, put


def _is_followed(x: Any) -> bool:
    """Whether functions may be in x: in a function of the user, a container, an object that can be called."""
    if x.__class__ is FunctionType:
        return not x.__code__.co_filename.startswith(PACKAGE)
    return x.__class__ in _FOLLOWED or hasattr(x, "__wrapped__") or is_plain(x.__class__)


def _inside(x: Any) -> list[Any]:
    """Functions that x stands for, or may hold."""
    if x.__class__ is MethodType:
        return [x.__func__, *_methods(x.__self__, _names(getattr(x.__func__, "__code__", None)))]
    if x.__class__ is partial:
        return [x.func, *x.args, *x.keywords.values()]
    if x.__class__ in _FOLLOWED:
        return parts(x)
    return [getattr(x, "__wrapped__", None), *_methods(x, set()), *parts(x)]


def _methods(owner: Any, names: set[str]) -> list[Any]:
    """The methods of an object of the user that code names, and what its properties call."""
    kind = owner.__class__
    if not is_plain(kind):
        return []
    found = [getattr(kind, name, None) for name in sorted(names | {"__call__"})]
    return [x.fget if isinstance(x, property) else x for x in found]


_FOLLOWED = frozenset({MethodType, partial, list, tuple, dict})


def _given(x: Any) -> Any:
    return x


def _cells(fn: FunctionType) -> Iterator[Variable]:
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            cell.cell_contents  # noqa: B018  (empty until it is bound)
        except ValueError:
            continue
        yield name, partial(getattr, cell, "cell_contents"), partial(setattr, cell, "cell_contents")


def _globals(fn: FunctionType) -> Iterator[Variable]:
    space = fn.__globals__
    for name in sorted(_names(fn.__code__)):
        if name in space:
            yield name, partial(space.get, name), partial(space.__setitem__, name)
            yield from _members(name, space[name], fn.__code__)


def _members(name: str, owner: Any, code: CodeType) -> Iterator[Variable]:
    """What code may look up in a module or class of the user."""
    if isinstance(owner, ModuleType):
        foreign = owner.__name__.partition(".")[0] in LIBRARIES | stdlib_module_names
    else:
        foreign = not isinstance(owner, type) or any(c.__module__.partition(".")[0] in LIBRARIES for c in owner.__mro__)
    if not foreign:
        for member in sorted(_names(code) & vars(owner).keys()):
            yield f"{name}.{member}", partial(getattr, owner, member), partial(setattr, owner, member)


def _names(code: CodeType | None) -> set[str]:
    """The names that code, and what is defined inside it, may look up outside."""
    if code is None:
        return set()
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found
