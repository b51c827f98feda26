"""Values against annotations: each row is a value, an annotation, and what comes out (or what is said)."""

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import numpy as np
import pytest

from expkit.registry.types import LATER, Mismatch, accept, describe_type


class Mode(enum.Enum):
    MIN = "min"
    MAX = "max"


ACCEPTED = [
    (3, int, 3),
    (np.int64(3), int, 3),
    (3, float, 3.0),
    (1e-3, float, 1e-3),
    (float("inf"), float, float("inf")),
    (True, bool, True),
    ("relu", str, "relu"),
    (None, None, None),
    (None, int | None, None),
    (None, Optional[int], None),  # noqa: UP045
    (3, int | float, 3),
    (3, float | int, 3),
    (2, Union[str, float], 2.0),  # noqa: UP007
    ([1, 2], list[int], [1, 2]),
    ((1, 2), list[int], [1, 2]),
    ([1, 2], list[float], [1.0, 2.0]),
    ([1, 2], Sequence[int], [1, 2]),
    ([1, 2], tuple[int, ...], (1, 2)),
    ([1, 8.5], tuple[int, float], (1, 8.5)),
    ([], tuple[int, ...], ()),
    ([[1], [2, 3]], list[list[int]], [[1], [2, 3]]),
    ({"a": 1}, dict[str, float], {"a": 1.0}),
    ({"a": [1]}, dict[str, list[int]], {"a": [1]}),
    ([1, "a"], list, [1, "a"]),
    ("max", Literal["min", "max"], "max"),
    (0, Literal[0, 1], 0),
    ("min", Mode, Mode.MIN),
    (Mode.MAX, Mode, Mode.MAX),
    ("a/b", Path, Path("a/b")),
    ("a/b", str | Path, "a/b"),
    (len, Callable[[Any], int], len),
    (3, Annotated[int, "steps"], 3),
    ("anything", Any, "anything"),
    ("anything", "NotImported", "anything"),
    (LATER, int, LATER),
    (LATER, list[int], LATER),
    ([LATER, 3], list[int], [LATER, 3]),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), ACCEPTED, ids=str)
def test_accepted(value, annotation, expected):
    got = accept(value, annotation)
    assert got == expected
    assert type(got) is type(expected) or isinstance(got, np.integer)


REFUSED = [
    ("abc", int, "expected int, got 'abc' (str)"),
    (1.5, int, "expected int, got 1.5 (float)"),
    (True, int, "expected int, got True (bool)"),
    (True, float, "expected float, got True (bool)"),
    (1, bool, "expected bool, got 1 (int)"),
    ("1e-3", float, "expected float, got '1e-3' (str)"),
    (1, str, "expected str, got 1 (int)"),
    (None, int, "expected int, got None"),
    (3, list[int], "expected list of int, got 3 (int)"),
    ("ab", list[str], "expected list of str, got 'ab' (str)"),
    ([1, "a"], list[int], "expected list of int, got [1, 'a'] (list): 'a' (str) does not fit"),
    ([1, 2, 3], tuple[int, int], "expected list of 2 (int, int), got [1, 2, 3] (list)"),
    ([[1], ["x"]], list[list[int]], "['x'] (list) does not fit"),
    ({"a": "b"}, dict[str, int], "expected dict of str to int"),
    ([1], dict[str, int], "expected dict of str to int, got [1] (list)"),
    ("mean", Literal["min", "max"], "expected 'min' or 'max', got 'mean' (str)"),
    (True, Literal[0, 1], "expected 0 or 1, got True (bool)"),
    ("mid", Mode, "expected 'min' or 'max', got 'mid' (str)"),
    ([], int | None, "expected int or None, got [] (list)"),
    (3, Path, "expected path, got 3 (int)"),
    (3, Callable[[Any], int], "got 3 (int)"),
    ("x" * 100, int, "xxx..."),
]


@pytest.mark.parametrize(("value", "annotation", "said"), REFUSED, ids=str)
def test_refused(value, annotation, said):
    with pytest.raises(Mismatch) as caught:
        accept(value, annotation)
    assert said in str(caught.value)


DESCRIBED = [
    (int, "int"),
    (float | None, "float or None"),
    (list[int], "list of int"),
    (tuple[int, ...], "list of int"),
    (tuple[float, float], "list of 2 (float, float)"),
    (dict[str, int], "dict of str to int"),
    (Literal["a", "b"], "'a' or 'b'"),
    (Any, "any"),
    ("Tensor", "Tensor"),
    (Mode, "'min' or 'max'"),
]


@pytest.mark.parametrize(("annotation", "words"), DESCRIBED, ids=str)
def test_described(annotation, words):
    assert describe_type(annotation) == words
