"""Rows of special functions, parts of floats, whole numbers, complex numbers and Fourier transforms.

Complex functions are rows of their real and imaginary parts: so gradients, forward mode, second order and vmap are
checked on them by the same differences as on all others.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import expkit as ek
from tests.ops.rows import ALL, FLOATS, INTS, Bad, Maker, Row, Sample

S = Sample
FLOAT_INT = f"{FLOATS} {INTS}"
WIDE = "float64 float32"
EDGES = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0])


def unary(name: str, numpy: Any = None, domain: str = "__call__", **kw: Any) -> Row:
    def samples(g: Maker) -> list[Sample]:
        make = getattr(g, domain)
        return [S(make()), S(make(4)), S(make(2, 3)), S(make(0)), S(make(3, 0))]

    return Row(name, samples, numpy, **kw)


def pair(name: str, numpy: Any = None, first: str = "__call__", second: str = "__call__", **kw: Any) -> Row:
    def samples(g: Maker) -> list[Sample]:
        a, b = getattr(g, first), getattr(g, second)
        shapes = (((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 2)), ((0,), (1,)))
        return [S(a(*x), b(*y)) for x, y in shapes]

    return Row(name, samples, numpy, **kw)


def special(name: str, **kw: Any) -> dict[str, Any]:
    """call and torch of a function in the namespace `special`."""
    return {"call": getattr(ek.special, name), "torch": lambda t: getattr(t.special, name), **kw}


def inside(lo: float, hi: float) -> Callable[[Maker], list[Sample]]:
    return lambda g: [S(g(4, lo=lo, hi=hi)), S(g(2, 3, lo=lo, hi=hi)), S(g(lo=lo, hi=hi))]


FUNCTIONS = [
    Row("acosh", inside(1.3, 4.0), np.arccosh),
    unary("asinh", np.arcsinh),
    Row("atanh", inside(-0.8, 0.8), np.arctanh),
    unary("exp2", np.exp2),
    unary("sgn", np.sign, gaps={"torch_grad": "PyTorch's is a tensor without memory"}),
    unary("frac", lambda x: x - np.trunc(x), "off_integers", dtypes=FLOATS),
    unary("positive", lambda x: x, dtypes=FLOAT_INT),
    unary("deg2rad", np.deg2rad), unary("rad2deg", np.rad2deg),
    unary("sinc", np.sinc, tolerance=3.0),
    Row("sinc", lambda g: [S(np.array([0.0, 1.0, 0.5, -2.0]))], np.sinc, dtypes=WIDE, grad=False),
    unary("signbit", np.signbit, grad=False), Row("signbit", lambda g: [S(np.nan_to_num(EDGES))], grad=False, dtypes=FLOATS),
    *(Row(name, lambda g: [S(EDGES), S(g(2, 3))], grad=False) for name in ("isposinf", "isneginf", "isreal")),
    unary("frexp", np.frexp, "off_zero", dtypes="float64 float32 float16"), Row("frexp", lambda g: [S(EDGES)], grad=False, dtypes=WIDE),
    unary("angle", np.angle, "off_zero"),
    unary("lgamma", None, "positive", tolerance=10.0),
    Row("lgamma", lambda g: [S(EDGES), S(g(20, lo=-6, hi=30))], dtypes=WIDE, grad=False, tolerance=10.0),
    unary("digamma", None, "positive", tolerance=10.0),
    Row("digamma", lambda g: [S(EDGES), S(g(20, lo=-6, hi=30))], dtypes=WIDE, grad=False, tolerance=30.0),
    Row("polygamma", lambda g: [S(n, g.positive(3)) for n in (0, 1, 2, 4)] + [S(1, g.positive(2, 2)), Bad(-1, g.positive(2))], dtypes=FLOATS,
        tolerance=300.0),  # PyTorch's trigamma has ten digits
    Row("polygamma", lambda g: [S(n, np.array([-0.3, -2.7, 12.5, 40.0])) for n in (1, 2, 3)], dtypes=WIDE, grad=False, tolerance=300.0),
    Row("mvlgamma", lambda g: [S(g.positive(3) + 2, p) for p in (1, 2, 4)] + [Bad(g.positive(2), 0)], dtypes=FLOATS, tolerance=10.0),
    Row("erfinv", inside(-0.9, 0.9), tolerance=10.0),
    Row("erfinv", lambda g: [S(np.array([0.0, -1.0, 1.0, 2.0, math.nan, 1e-9, 1 - 1e-9, -0.4]))], dtypes=WIDE, grad=False, tolerance=10.0),
    unary("i0", None, "off_zero", tolerance=10.0),
    *(unary(f"special.{name}", None, "off_zero", tolerance=10.0, **special(name)) for name in ("i0e", "i1", "i1e")),
    Row("special.i1", lambda g: [S(np.array([0.0, 30.0, -25.0, 700.0]))], dtypes=WIDE, grad=False, tolerance=10.0, **special("i1")),
    unary("special.entr", None, "positive", **special("entr")),
    Row("special.entr", lambda g: [S(EDGES)], grad=False, dtypes=FLOATS, **special("entr")),
    unary("special.erfcx", None, dtypes=WIDE, tolerance=10.0, **special("erfcx")),
    unary("special.ndtr", None, dtypes=FLOATS, tolerance=3.0, **special("ndtr")),
    unary("special.log_ndtr", None, dtypes=WIDE, tolerance=10.0, **special("log_ndtr")),
    Row("special.log_ndtr", lambda g: [S(np.array([-40.0, -5.0, 0.0, 8.0]))], dtypes=WIDE, grad=False, tolerance=10.0, **special("log_ndtr")),
    Row("special.ndtri", inside(0.05, 0.95), dtypes=WIDE, tolerance=10.0, **special("ndtri")),
    pair("special.xlog1py", None, "off_zero", "positive", tolerance=3.0, **special("xlog1py")),
    Row("logit", inside(0.1, 0.9), lambda x: np.log(x / (1 - x)), dtypes=FLOATS, tolerance=3.0),
    Row("logit", lambda g: [S(np.array([0.3, 0.01, 0.99, 0.6]), 0.1)], dtypes=WIDE, tolerance=3.0),
    pair("xlogy", None, "off_zero", "positive", tolerance=3.0),
    Row("xlogy", lambda g: [S(np.zeros(5), np.array([0.0, -1.0, 2.0, math.nan, math.inf])), S(2, g.positive(3))], dtypes=WIDE, grad=False),
]  # fmt: skip


def ties(g: Maker) -> list[Sample]:
    return [S(np.array([1.0, 2.0, math.nan, 1.0, math.nan]), np.array([1.0, 1.0, 2.0, math.nan, math.nan]))]


PAIRS = [
    *(pair(name, fn, "off_zero", "off_integers", dtypes=ALL) for name, fn in (("fmax", np.fmax), ("fmin", np.fmin))),
    *(Row(name, ties, fn, dtypes=FLOATS, grad=False) for name, fn in (("fmax", np.fmax), ("fmin", np.fmin))),
    pair("hypot", np.hypot, "off_zero", dtypes=FLOATS, tolerance=3.0),
    pair("logaddexp2", np.logaddexp2, dtypes=FLOATS, tolerance=3.0),
    pair("copysign", np.copysign, "off_zero", "off_zero"),
    Row("copysign", lambda g: [S(g.off_zero(3), -1), S(g.off_zero(3), 2.5)], np.copysign, dtypes=WIDE),
    Row("copysign", lambda g: [S(np.array([0.0, 1.0]), np.array([-0.0, -0.0]))], np.copysign, dtypes=WIDE, grad=False),
    pair("nextafter", np.nextafter, dtypes=WIDE),
    Row("heaviside", lambda g: [S(np.array([-1.0, 0.0, 2.0]), g(3)), S(g(2, 3), g(3))], np.heaviside, grad=False),
    Row("heaviside", lambda g: [S(EDGES, g(7))], grad=False, dtypes=WIDE),
    Row("ldexp", lambda g: [S(g(3), g.ints(4, 3)), S(g(2, 3), g.ints(3, 1))], np.ldexp, dtypes=WIDE),
    Row("float_power", lambda g: [S(g.positive(3), 2), S(g.positive(2, 3), g(3)), S(2, g(3))], np.float_power, dtypes="float64 float32 int64"),
    Row("rsub", lambda g: [S(g(2, 3), g(3)), S(g(3), 2), S(g(3), g(3), alpha=2)], lambda x, y, alpha=1: y - alpha * x, dtypes=FLOAT_INT),
    *(Row(name, lambda g: [S(g.ints(99, 2, 3) - 40, g.ints(9, 3)), S(g.ints(9, 4), g.ints(9, 4)), Bad(g(2), g(2))], fn, grad=False, dtypes="int64")
      for name, fn in (("gcd", np.gcd), ("lcm", np.lcm))),
    *(Row(name, lambda g: [S(g.ints(99, 2, 3) - 40, g.ints(9, 3)), S(g.ints(9, 4), 2), S(g.ints(9, 3), np.array([64, 70, 1])), Bad(g(2), g(2))],
          grad=False, dtypes="int64") for name in ("bitwise_left_shift", "bitwise_right_shift")),
]  # fmt: skip


# ---- complex numbers, by their parts ---------------------------------------------------------------------------------


def parts(z: Any) -> Any:
    """A tensor or array of real numbers with the same information."""
    if isinstance(z, np.ndarray | np.generic):
        return np.stack([z.real, z.imag], -1) if np.iscomplexobj(z) else z
    library = ek if isinstance(z, ek.Tensor) else __import__("torch")
    return library.view_as_real(library.resolve_conj(z)) if z.is_complex() else z


def plane(name: str, fn: Callable[..., Any], numpy: Any = None, count: int = 1, shape: tuple[int, ...] = (3,), **kw: Any) -> Row:
    """fn(library, z, ...) of `count` complex tensors, as a function of their parts."""

    def call(library: Any) -> Callable[..., Any]:
        def real(*xs: Any) -> Any:
            zs = [library.complex(a, b) for a, b in zip(xs[::2], xs[1::2], strict=True)]
            return parts(fn(library, *zs))

        return real

    def oracle(*xs: Any) -> Any:
        return parts(numpy(*(a + 1j * b for a, b in zip(xs[::2], xs[1::2], strict=True))))

    def samples(g: Maker) -> list[Sample]:
        return [S(*(g.off_zero(*s) for _ in range(2 * count))) for s in (shape, (2, *shape))]

    kw = {"dtypes": WIDE, "tolerance": 10.0, **kw}
    return Row(name, samples, None if numpy is None else oracle, call=call(ek), torch=call, **kw)


def write_parts(library: Any, z: Any) -> Any:
    """Writes through both parts, and reads the whole."""
    w = z * 2
    w.real.mul_(3)
    w.imag[0] = w.real[1] * 2
    return w * z


NUMPY = {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh, "atanh": np.arctanh}
HOLOMORPHIC = """exp log sqrt sin cos tan sinh cosh tanh asin acos atan log2 log10 log1p expm1 square reciprocal rsqrt sigmoid exp2
    asinh atanh"""
def write_whole(x: Any) -> Any:
    """Writes through the complex view of pairs."""
    library = ek if isinstance(x, ek.Tensor) else __import__("torch")
    y = x * 2
    z = library.view_as_complex(y)
    z.mul_(z * 1j)
    return y * x


COMPLEX = [
    Row("complex", lambda g: [S(g(3), g(3)), S(g(2, 1), g(3)), Bad(g(2), g.ints(3, 2))], lambda a, b: parts(a + 1j * b), dtypes=WIDE,
        call=lambda a, b: parts(ek.complex(a, b)), torch=lambda t: lambda a, b: parts(t.complex(a, b))),
    Row("polar", lambda g: [S(g.positive(3), g(3)), S(g.positive(2, 1), g(3))], lambda r, a: parts(r * np.exp(1j * a)), dtypes=WIDE,
        gaps={"versions": "made of products, which need their operands"},
        call=lambda a, b: parts(ek.polar(a, b)), torch=lambda t: lambda a, b: parts(t.polar(a, b))),
    Row("view_as_complex", lambda g: [S(g(3, 2)), S(g(2, 3, 2)), Bad(g(3)), Bad(g())], lambda x: parts(x[..., 0] + 1j * x[..., 1]), dtypes=WIDE,
        gaps={"layout": "pairs must lie side by side in memory, for PyTorch as well"},
        call=lambda x: parts(ek.view_as_complex(x)), torch=lambda t: lambda x: parts(t.view_as_complex(x))),
    plane("view_as_real", lambda m, z: m.view_as_real(z) ** 2),
    plane("real", lambda m, z: m.real(z) * m.imag(z), lambda z: z.real * z.imag), plane("imag", lambda m, z: m.imag(z) ** 2, lambda z: z.imag**2),
    plane("conj", lambda m, z: m.conj(z) * z * z, lambda z: np.conj(z) * z * z), plane("conj_physical", lambda m, z: m.conj_physical(z) ** 2),
    plane("resolve_conj", lambda m, z: m.resolve_conj(z) * z), plane("resolve_neg", lambda m, z: m.resolve_neg(z) * z),
    plane("angle", lambda m, z: m.angle(z), np.angle), plane("abs", lambda m, z: m.abs(z), np.abs), plane("sgn", lambda m, z: m.sgn(z)),
    plane("neg", lambda m, z: -z), plane("Tensor.__rsub__", lambda m, z: 1 - z * 2j),
    *(plane(name, lambda m, z, name=name: getattr(m, name)(z), NUMPY.get(name, getattr(np, name, None) if name != "exp2" else None)) for name in HOLOMORPHIC.split()),
    *(plane(name, lambda m, z, w, name=name: getattr(m, name)(z, w), fn, count=2)
      for name, fn in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div", np.divide), ("pow", np.power), ("logaddexp", None))),
    plane("pow", lambda m, z: z**2.5), plane("pow", lambda m, z: 2.0**z), plane("lerp", lambda m, z, w: m.lerp(z, w, 0.3), count=2),
    plane("matmul", lambda m, z, w: z @ w, np.matmul, count=2, shape=(3, 3)), plane("Tensor.mH", lambda m, z: z.mH @ z, shape=(3, 2)),
    plane("prod", lambda m, z: z.prod(-1), lambda z: z.prod(-1)), plane("cumprod", lambda m, z: z.cumprod(-1), lambda z: np.cumprod(z, -1)),
    plane("cumsum", lambda m, z: z.cumsum(-1)), plane("mean", lambda m, z: z.mean(-1)), plane("var", lambda m, z: z.var(-1)),
    plane("where", lambda m, z, w: m.where(m.abs(z) > m.abs(w), z, w), count=2), plane("cat", lambda m, z, w: m.cat([z, w]), count=2),
    plane("Tensor.__getitem__", lambda m, z: z[..., (z.real > 0).long()] * z[..., 1:2]), plane("Tensor.to", lambda m, z: z.real.to(z.dtype) * z),
    plane("nan_to_num", lambda m, z: m.nan_to_num(z)), plane("isreal", lambda m, z: m.isreal(z), grad=False),
    plane("Tensor.real", write_parts),
    Row("view_as_complex", lambda g: [S(g(3, 2))], dtypes=WIDE, call=write_whole, torch=lambda t: write_whole,
        gaps={"layout": "pairs must lie side by side in memory, for PyTorch as well"}),
]  # fmt: skip


# ---- Fourier transforms ----------------------------------------------------------------------------------------------


def transform(name: str, real: bool) -> Row:
    def on(library: Any) -> Callable[..., Any]:
        fn = getattr(library.fft, name)
        if real:
            return lambda x, *args, **kw: parts(fn(x, *args, **kw))
        return lambda a, b, *args, **kw: parts(fn(library.complex(a, b), *args, **kw))

    def oracle(*args: Any, **kw: Any) -> Any:
        named = {{"dim": "axis" if name.rstrip("2n") == name else "axes"}.get(k, k): v for k, v in kw.items()}
        sizes = args[1 if real else 2 :]
        if name[-1] == "n" and sizes:  # NumPy wants the axes named as well
            named["axes"] = tuple(range(-len(sizes[0]), 0))
        found = getattr(np.fft, name)
        return parts(found(args[0], *args[1:], **named) if real else found(args[0] + 1j * args[1], *args[2:], **named))

    def samples(g: Maker) -> list[Sample]:
        def arrays(*shape: int) -> list[Any]:
            return [g(*shape) for _ in range(1 if real else 2)]

        sizes: tuple[Any, ...] = (3, 7) if name[-1] == "t" else ((3, 3), (4, 7))
        dim: Any = 0 if name[-1] == "t" else (0, 1)
        return [S(*arrays(3, 4)), S(*arrays(2, 5)), *(S(*arrays(3, 4), n) for n in sizes), S(*arrays(3, 4), norm="ortho"),
                S(*arrays(3, 4), norm="forward"), S(*arrays(3, 4, 2), dim=dim), Bad(*arrays(3, 4), norm="no")]  # fmt: skip

    numpy = oracle if hasattr(np.fft, name) else None
    return Row(f"fft.{name}", samples, numpy, call=on(ek), torch=on, dtypes=WIDE, tolerance=10.0)


FOURIER = [
    *(transform(f"{name}{k}", real=name in ("rfft", "ihfft")) for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft") for k in ("", "2", "n")),
    *(Row(f"fft.{name}", lambda g: [S(g(5)), S(g(4)), S(g(3, 4)), S(g(3, 4), 0), S(g(3, 4), (1,))], call=getattr(ek.fft, name),
          torch=lambda t, name=name: getattr(t.fft, name)) for name in ("fftshift", "ifftshift")),
]  # fmt: skip

ROWS = [*FUNCTIONS, *PAIRS, *COMPLEX, *FOURIER]
