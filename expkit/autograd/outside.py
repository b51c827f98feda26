"""What a replayed trace takes for granted of the Python around it: numbers, strings and settings that a function reads.

A picture of a value is what can be compared of it. A trace that is going to be replayed guards the pictures; where the
function itself changes what it reads, it cannot be replayed, and what it bound anew is put back.
"""

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from itertools import islice
from numbers import Number
from sys import stdlib_module_names
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from expkit.autograd.handle import Handle
from expkit.autograd.saved import PACKAGE
from expkit.autograd.trace import Trace

Variable = tuple[str, Callable[[], Any], Callable[[Any], Any]]  # its name, how to read it, how to bind it
SIMPLE = frozenset({bool, int, complex, str, bytes, type(None)})
ITEMS = 64  # how much of a container is looked at
DEPTH = 3
LIBRARIES = frozenset({"expkit", "numpy"})  # whose objects say themselves what they rest on
FUNCTIONS = 64  # how many functions are followed


def picture(x: Any, depth: int = DEPTH) -> Any:
    """The value of what is simple, the identity of a tensor, the parts of a container or plain object; else None."""
    kind = x.__class__
    if kind in SIMPLE:
        return kind, x
    if kind is float:
        return kind, repr(x)  # 0.0 is not -0.0, and NaN is NaN
    if isinstance(x, Handle):
        return kind, id(x)
    if kind is FunctionType:
        return kind, id(x), picture(x.__defaults__, depth - 1), picture(x.__kwdefaults__, depth - 1)
    if depth <= 0:
        return None
    if isinstance(x, list | tuple | deque):
        return kind, len(x), [picture(v, depth - 1) for v in islice(x, ITEMS)]
    if isinstance(x, dict):
        return kind, len(x), _items(x, depth)
    if isinstance(x, set | frozenset):
        return kind, len(x), frozenset((v.__class__, v) for v in x) if len(x) <= ITEMS else None
    if isinstance(x, Number):  # of NumPy, fractions, decimals
        return kind, repr(x)
    inside = getattr(x, "__dict__", None)
    return (kind, _items(inside, depth)) if inside.__class__ is dict and _is_plain(kind) else None


def _items(x: dict[Any, Any], depth: int) -> list[Any]:
    return [(k if k.__class__ is str else picture(k), picture(v, depth - 1)) for k, v in islice(x.items(), ITEMS)]


def _is_plain(kind: type) -> bool:
    """Whether a class is the user's own through and through: the engine's objects say themselves what they rest on."""
    if issubclass(kind, type | ModuleType | FunctionType | MethodType):
        return False
    return all(c.__module__.partition(".")[0] not in LIBRARIES for c in kind.__mro__)


def rely_on(trace: Trace, fn: Any) -> None:
    """Guards what the Python function (or bound method) fn reads: variables of modules and of functions around it."""
    for name, get, put in _variables(fn):
        rely_on_value(trace, name, get, put)


def rely_on_value(trace: Trace, name: str, get: Callable[[], Any], put: Callable[[Any], None]) -> None:
    """Guards one variable; `put` binds it anew."""
    now = get()
    then = picture(now)
    if then is None:
        return
    held = copy(now) if now.__class__ in (list, dict) else None

    def put_back() -> None:
        if picture(get()) != then:
            trace.changed.append(name)
            _refill(now, held)
        if get() is not now:
            put(now)

    trace.guards.append((lambda: picture(get()), then))
    trace.undo.append(put_back)


def _refill(container: Any, held: Any) -> None:
    if held.__class__ is list:
        container[:] = held
    elif held.__class__ is dict:
        container.clear()
        container.update(held)


def rely_on_attributes(trace: Trace, owner: Any, but: frozenset[str] = frozenset()) -> None:
    """Guards an object's attributes: numbers, strings, which tensors they are, what lies in containers `but` some."""
    space = owner.__dict__
    now = dict(space)
    known, then = list(map(id, now.values())), picture(now)
    open_ones = [v for name, v in now.items() if v.__class__ in (list, dict) and name not in but]
    held = list(map(copy, open_ones))
    inside = picture(open_ones)

    def same() -> bool:
        return list(map(id, space.values())) == known or picture(dict(space)) == then

    def put_back() -> None:
        if not same():
            trace.changed.extend(f"{type(owner).__name__}.{name}" for name in _differing(now, space))
            _refill(space, now)
        if picture(open_ones) != inside:
            trace.changed.append(f"a container of {type(owner).__name__}")
            for container, content in zip(open_ones, held, strict=True):
                _refill(container, content)

    trace.guards += [(same, True)] + ([(lambda: picture(open_ones), inside)] if open_ones else [])
    trace.undo.append(put_back)


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    names = [*old, *(name for name in new if name not in old)]
    return [name for name in names if name not in old or name not in new or old[name] is not new[name]]


def _variables(fn: Any) -> Iterator[Variable]:
    """The variables that fn reads, and those that functions read which it finds in such a variable."""
    todo: list[Any] = [fn]
    seen: set[FunctionType] = set()
    while todo and len(seen) < FUNCTIONS:
        fn = todo.pop()
        if fn.__class__ is MethodType:
            owner, fn = fn.__self__, fn.__func__
            yield "self", partial(_given, owner), _given
        if fn.__class__ is not FunctionType or fn in seen or fn.__code__.co_filename.startswith(PACKAGE):
            continue
        seen.add(fn)
        for name, get, put in (*_cells(fn), *_globals(fn)):
            todo.append(get())
            yield name, get, put


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


def _names(code: CodeType) -> set[str]:
    """The names that code, and what is defined inside it, may look up outside."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found
