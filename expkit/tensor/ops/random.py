"""Random numbers: counter-based, the same on every device and in every mode.

Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the key is the seed, the counter
the offset plus the logical index of the element, so the result depends on nothing else. A generator's whole state is
(seed, offset); a draw of n 32-bit words moves the offset by ceil(n / 4).
"""

import builtins
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, Handle, wrap
from expkit.autograd.levels import Batched
from expkit.autograd.mode import MODE
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import AutogradError, ShapeError
from expkit.tensor import devices, dtypes
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import random as kernels
from expkit.tensor.ops.convert import as_dtype
from expkit.tensor.ops.movement import sizes
from expkit.tensor.ops.order import argsort

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
WORD = np.dtype(np.uint32)


def rounds(c: tuple[Any, Any, Any, Any], seed: int, xp: Any = np) -> tuple[Any, Any, Any, Any]:
    """Philox 4x32-10 of counters: four arrays of 32-bit words, held as uint64; the key is the seed's two halves."""
    mask, shift = xp.uint64(0xFFFFFFFF), xp.uint64(32)
    k0, k1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = c[0] * xp.uint64(M0), c[2] * xp.uint64(M1)
        c = ((p1 >> shift) ^ c[1] ^ xp.uint64(k0), p1 & mask, (p0 >> shift) ^ c[3] ^ xp.uint64(k1), p0 & mask)
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return c


def philox(seed: int, offset: int, words: int, xp: Any = np) -> Any:
    """`words` random 32-bit words: 4 for each counter from `offset` on."""
    if xp is np:
        fast = kernels.fill("words", seed, offset, (words,))
        if fast is not None:
            return fast.view(WORD)
    blocks = -(-words // 4)
    counter = xp.arange(blocks, dtype=np.uint64) + xp.uint64(offset % 2**64)
    rest = xp.zeros(blocks, np.uint64)
    c = rounds((counter & xp.uint64(0xFFFFFFFF), counter >> xp.uint64(32), rest, rest), seed, xp)
    return xp.stack(c, 1).reshape(-1)[:words].astype(np.uint32)


class Generator:
    """A stream of random numbers; its state is (seed, offset)."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = devices.resolve(device)
        self.seed_, self.offset = 0x5EED, 0

    def manual_seed(self, seed: int) -> "Generator":
        """Starts the stream of `seed` from its beginning."""
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise TypeError(f"manual_seed: the seed must be an int, not {type(seed).__name__}")
        self.seed_, self.offset = int(seed) % 2**64, 0
        return self

    def initial_seed(self) -> int:
        return self.seed_

    def seed(self) -> int:
        """Seeds from the operating system's entropy; returns the seed."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
        return self.seed_

    def get_state(self) -> tuple[int, int]:
        return (self.seed_, self.offset)

    def set_state(self, state: Any) -> None:
        seed, offset = state
        self.seed_, self.offset = int(seed) % 2**64, int(offset)

    def take(self, words: int) -> tuple[int, int]:
        """(seed, offset) for a draw of `words` 32-bit words; the stream moves past them."""
        here = (self.seed_, self.offset)
        self.offset += -(-words // 4)
        return here

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed_}, offset={self.offset})"


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator."""
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> tuple[int, int]:
    """The default generator's (seed, offset)."""
    return default_generator.get_state()


def set_rng_state(state: Any) -> None:
    """Sets the default generator's (seed, offset)."""
    default_generator.set_state(state)


# ---- the primitive ---------------------------------------------------------------------------------------------------
# state: (seed, offset) as a uint64 array on the host, the one operand, so that a trace has it as an input


def _words(state: Any, *, words: int, device: devices.device) -> Any:
    seed, offset = (int(v) for v in state.tolist())
    return philox(seed, offset, words, devices.xp_for(device))


def _batch_words(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    raise AutogradError("vmap over the state of a random generator is not possible")


words_p = Primitive("philox", _words, lambda state, *, words, device: Aval((words,), WORD, device), batch=_batch_words)


def _uniform(bits: Any, *, dtype: Any) -> Any:
    """[0, 1): 24 bits of a word for float32 and smaller, 53 bits of two words for float64."""
    if dtype == np.float64:
        pairs = bits.reshape(-1, 2).astype(np.uint64)
        whole = (pairs[:, 0] >> np.uint64(5)) * np.uint64(1 << 26) + (pairs[:, 1] >> np.uint64(6))
        return whole.astype(np.float64) * 2.0**-53
    keep = {2: 8 if np.dtype(dtype).name == "bfloat16" else 11}.get(np.dtype(dtype).itemsize, 24)
    return ((bits >> np.uint32(32 - keep)).astype(np.float32) * np.float32(2.0**-keep)).astype(dtype)


def _normal(bits: Any, *, dtype: Any) -> Any:
    """Box and Muller's transform: two normals from two uniforms."""
    wide = np.float64 if dtype == np.float64 else np.float32
    u = _uniform(bits, dtype=wide).reshape(-1, 2)
    xp = xp_of(bits)
    radius = xp.sqrt(-2 * xp.log1p(-u[:, 0]))
    angle = wide(2 * np.pi) * u[:, 1]
    return xp.stack([radius * xp.cos(angle), radius * xp.sin(angle)], 1).reshape(-1).astype(dtype)


def _per(dtype: Any) -> int:
    return 2 if dtype == np.float64 else 1


uniform_p = Primitive("uniform", _uniform, lambda b, *, dtype: Aval((b.shape[0] // _per(dtype),), dtype, b.device))
normal_p = Primitive("normal", _normal, lambda b, *, dtype: Aval((b.shape[0] // _per(dtype),), dtype, b.device))


# ---- functions -------------------------------------------------------------------------------------------------------


def _numel(shape: tuple[int, ...]) -> int:
    n = 1
    for k in shape:
        n *= k
    return n


def _levels() -> list[Any]:
    """The vmaps that are open: a draw must say whether it differs between their elements."""
    return [i for i in MODE.stack if i.kind == "vmap"]


def draw(
    shape: tuple[int, ...], words_each: int, finish: Any, generator: Generator | None, where: devices.device,
    name: str = "", chance: float = 0.0,
) -> Any:  # fmt: skip
    """finish(words as a tensor, count) of fresh random words, in `shape`; under vmap as its randomness says.

    name, chance: the kernel that makes the same without the words, where there is one.
    """
    opened = _levels()
    if any(level.randomness == "error" for level in opened):
        raise AutogradError("vmap: a random operation was called; say randomness='same' or 'different'")
    different = [level for level in opened if level.randomness == "different"]
    full = (*(level.size for level in different), *shape)
    count = _numel(full)
    if builtins.any(n < 0 for n in shape):
        raise ShapeError(f"trying to create a tensor with a negative dimension: {list(shape)}")
    gen = default_generator if generator is None else generator
    if not isinstance(gen, Generator):
        raise TypeError(f"generator must be an expkit.Generator, not {type(gen).__name__}")
    words = (count + count % 2) * words_each  # an even number of results: normals come in pairs
    taken = gen.take(words)
    if name and not MODE.special and where == devices.CPU:
        fast = kernels.fill(name, *taken, full, chance)
        if fast is not None:
            return wrap(fast)
    state = wrap(np.asarray(taken, np.uint64))
    if any(i.kind == "trace" for i in MODE.stack):
        trace = next(i for i in MODE.stack if i.kind == "trace")
        state = wrap(trace.const(state.raw))
    out = finish(apply(words_p, state, words=words, device=where))
    out = out[:count].reshape(full) if out.shape[0] != count else out.reshape(full)
    for level in different:
        out = wrap(Batched(level.level, out, level.size))
    return out


def require_values(x: Any, fits: Any, message: str) -> None:
    """RuntimeError where a value of x does not fit. Not looked at on a GPU or under an interpreter."""
    if x.raw.__class__ is np.ndarray and not fits(x.raw).all():
        raise RuntimeError(message)


def _options(dtype: Any, device: Any) -> tuple[dtypes.dtype, devices.device]:
    d = dtypes.get_default_dtype() if dtype is None else dtypes.get(dtype)
    return d, devices.resolve(device)


def _float_draw(
    prim: Primitive, shape: tuple[int, ...], generator: Any, dtype: Any, device: Any, requires_grad: bool
) -> Any:
    d, where = _options(dtype, device)
    if not d.is_floating_point:
        raise TypeError(f"{prim.name} random numbers need a floating-point dtype, not {d}")
    name = f"{prim.name} {d.dtype.str[1:]}"
    out = draw(shape, _per(d.dtype), lambda w: apply(prim, w, dtype=d.dtype), generator, where, name)
    return out.requires_grad_() if requires_grad else out


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """Uniform on [0, 1)."""
    return _float_draw(uniform_p, sizes(size), generator, dtype, device, requires_grad)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """Standard normal."""
    return _float_draw(normal_p, sizes(size), generator, dtype, device, requires_grad)


def survivors(shape: tuple[int, ...], p: float, where: devices.device, generator: Generator | None = None) -> Any:
    """A mask that is false with probability p: where a uniform float32 is not below p."""
    single = np.dtype(np.float32)
    return draw(shape, 1, lambda w: apply(uniform_p, w, dtype=single) >= p, generator, where, "mask", p)


def _like(fn: Any) -> Any:
    def like(
        input: Any,
        *,
        dtype: Any = None,
        device: Any = None,
        generator: Generator | None = None,
        requires_grad: bool = False,
    ) -> Any:
        return fn(
            *input.shape,
            dtype=dtype or input.dtype,
            device=device or input.device,
            generator=generator,
            requires_grad=requires_grad,
        )

    like.__name__ = like.__qualname__ = f"{fn.__name__}_like"
    like.__doc__ = f"As {fn.__name__}, with the shape, dtype and device of `input`."
    return like


rand_like, randn_like = _like(rand), _like(randn)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = dtypes.int64,
    device: Any = None,
) -> Any:
    """Integers on [low, high), also randint(high, size). 64 random bits each: no visible bias up to 2**32."""
    if size is None:
        low, high, size = 0, low, high
    if not isinstance(size, list | tuple) or isinstance(high, list | tuple):
        raise TypeError("randint: expected randint(high, size) or randint(low, high, size), size a tuple")
    if high <= low:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    d = dtypes.get(dtype)
    return draw(
        sizes((size,)),
        2,
        lambda w: apply(integers_p, w, low=int(low), high=int(high), dtype=d.dtype),
        generator,
        devices.resolve(device),
    )


def _integers(bits: Any, *, low: int, high: int, dtype: Any) -> Any:
    pairs = bits.reshape(-1, 2).astype(np.uint64)
    whole = (pairs[:, 0] << np.uint64(32)) | pairs[:, 1]
    return ((whole % np.uint64(high - low)).astype(np.int64) + low).astype(dtype)


integers_p = Primitive("integers", _integers, lambda b, *, low, high, dtype: Aval((b.shape[0] // 2,), dtype, b.device))


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = dtypes.int64, device: Any = None) -> Any:
    """A random order of 0 ... n-1: the order that sorts n random 64-bit words."""
    if n < 0:
        raise RuntimeError(f"randperm: n must be non-negative, got {n}")
    keys = draw(
        (n,),
        2,
        lambda w: apply(integers_p, w, low=0, high=2**63 - 1, dtype=np.dtype(np.int64)),
        generator,
        devices.resolve(device),
    )
    return as_dtype(argsort(keys), dtypes.get(dtype))


def bernoulli(input: Any, *, generator: Generator | None = None) -> Any:
    """1 with the probability given by each element of `input`, else 0."""
    if not input.is_floating_point():
        raise TypeError(f"bernoulli: the probabilities must be floating-point, not {input.dtype}")
    require_values(input, lambda p: (p >= 0) & (p <= 1), "bernoulli: each probability must lie in [0, 1]")
    u = rand(*input.shape, generator=generator, device=input.device, dtype=dtypes.float32)
    return (u < input).to(input.dtype)


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Any:
    """Normal with the given mean and standard deviation: tensors (their shape), or numbers with a size."""
    if isinstance(std, Handle):
        require_values(std, lambda v: v >= 0, "normal: std must not be negative")
    elif std < 0:
        raise ValueError(f"normal: std must not be negative, got {std}")
    like = next((x for x in (mean, std) if isinstance(x, Handle)), None)
    if like is None:
        if size is None:
            raise TypeError("normal: with numbers for mean and std a size is needed")
        return randn(*sizes((size,)), generator=generator, dtype=dtype, device=device) * std + mean
    shape = (mean + std * 0).shape if isinstance(mean, Handle) else std.shape
    return randn(*shape, generator=generator, dtype=like.dtype, device=like.device) * std + mean


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None) -> Any:
    """Indices drawn with probabilities proportional to the rows of `input`: (..., num_samples).

    Without replacement the keys log(u) / weight are ranked (Efraimidis and Spirakis, 2006).
    """
    if input.ndim not in (1, 2) or not input.is_floating_point() or num_samples < 1:
        raise RuntimeError(
            f"multinomial: expected floating-point weights of 1 or 2 dimensions and num_samples >= 1, "
            f"got {input.dtype}{list(input.shape)} and {num_samples}"
        )
    weights = input if input.ndim == 2 else input.reshape(1, -1)
    rows, n = weights.shape
    require_values(weights, lambda w: np.isfinite(w) & (w >= 0), "multinomial: a weight is negative or not finite")
    if num_samples > n and not replacement:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement ({num_samples} > {n})"
        )
    least = 1 if replacement else num_samples
    require_values(weights, lambda w: (w > 0).sum(-1) >= least, f"multinomial: fewer than {least} weights above 0")
    if replacement:
        edges = weights.cumsum(-1)
        u = rand(rows, num_samples, generator=generator, device=input.device, dtype=input.dtype) * edges[:, -1:]
        out = (u.unsqueeze(-1) >= edges.unsqueeze(1)).sum(-1).clamp(max=n - 1)
    else:
        u = rand(rows, n, generator=generator, device=input.device, dtype=input.dtype)
        out = ((1 - u).log() / weights).topk(num_samples, -1).indices
    return out if input.ndim == 2 else out.reshape(num_samples)


__all__ = [
    "Generator", "bernoulli", "default_generator", "get_rng_state", "initial_seed", "manual_seed", "multinomial",
    "normal", "philox", "rand", "rand_like", "randint", "randn", "randn_like", "randperm", "set_rng_state",
]  # fmt: skip
