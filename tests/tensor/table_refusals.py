"""Wrong calls, the error that each raises, and a part of its message."""

import expkit as ek

MESSAGES = {
    "matmul of shapes": (lambda: ek.ones(2, 3) @ ek.ones(2, 3), RuntimeError, r"cannot be multiplied \(2x3 and 2x3\)"),
    "matmul of dtypes": (lambda: ek.ones(2, 2) @ ek.ones(2, 2).double(), TypeError, r"float32 and expkit.float64.*\.to\(dtype\)"),
    "add of shapes": (lambda: ek.ones(2, 3) + ek.ones(4), RuntimeError, r"add.*\(2, 3\) and \(4,\)"),
    "reshape": (lambda: ek.ones(6).reshape(4, 2), RuntimeError, r"shape '\[4, 2\]' is invalid for input of size 6"),
    "view": (lambda: ek.ones(2, 3).t().view(6), RuntimeError, "reshape"),
    "a dim": (lambda: ek.ones(2).sum(1), IndexError, r"expected to be in range of \[-1, 0\], but got 1"),
    "dims twice": (lambda: ek.ones(2, 2).sum((0, 0)), RuntimeError, "multiple times"),
    "mean of ints": (lambda: ek.arange(3).mean(), TypeError, r"floating-point.*float\(\)"),
    "cat of shapes": (lambda: ek.cat([ek.ones(2, 2), ek.ones(2, 3)]), RuntimeError, r"must match except in dimension 0"),
    "cat of nothing": (lambda: ek.cat([]), RuntimeError, "non-empty"),
    "stack of shapes": (lambda: ek.stack([ek.ones(2), ek.ones(3)]), RuntimeError, "equal size"),
    "where of a number": (lambda: ek.where(ek.ones(2), 1.0, 0.0), TypeError, "boolean tensor"),
    "item of many": (lambda: ek.ones(2).item(), RuntimeError, "2 elements"),
    "bool of many": (lambda: bool(ek.ones(2)), RuntimeError, "ambiguous"),
    "max of nothing": (lambda: ek.zeros(0).max(), IndexError, "no elements"),
    "gather": (lambda: ek.gather(ek.ones(3), 0, ek.tensor([3])), IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
    "gather by floats": (lambda: ek.gather(ek.ones(3), 0, ek.ones(1)), TypeError, "int64"),
    "negative of a bool": (lambda: -ek.tensor([True]), (TypeError, RuntimeError), "bool"),
    "minus of bools": (lambda: ek.tensor([True]) - ek.tensor([False]), TypeError, "xor"),
    "float into ints": (lambda: ek.tensor([1]).add_(0.5), TypeError, "can't be cast"),
    "clamp of nothing": (lambda: ek.ones(1).clamp(), ValueError, "At least one|at least one"),
    "einsum": (lambda: ek.einsum("ij,jk->ik", ek.ones(2, 2)), ValueError, "2 subscripts for 1 operands"),
    "permute": (lambda: ek.ones(2, 2).permute(0, 0), RuntimeError, "order"),
    "topk": (lambda: ek.ones(2).topk(3), RuntimeError, "out of range"),
    "integer division by zero": (lambda: ek.tensor([1]) // ek.tensor([0]), RuntimeError, "ZeroDivision"),
    "a whole number to a negative power": (lambda: ek.tensor([2]) ** -1, RuntimeError, "negative integer powers"),
}  # fmt: skip
