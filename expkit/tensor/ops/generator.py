"""Generators of random numbers: counter-based, the same on every device and in every mode.

Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the key is the seed, the counter
the offset plus the logical index of the element, so the result depends on nothing else. A generator's whole state is
(seed, offset); a draw of n 32-bit words moves the offset by ceil(n / 4).
"""

import builtins
from typing import Any

import numpy as np

from expkit.autograd.handle import Aval, wrap
from expkit.autograd.levels import Batched
from expkit.autograd.mode import MODE, open_trace, tick
from expkit.autograd.primitive import Primitive
from expkit.autograd.tape import apply
from expkit.errors import AutogradError, ShapeError, TraceError
from expkit.tensor import devices
from expkit.tensor.devices import xp_of
from expkit.tensor.generated import random as kernels

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
WORD = np.dtype(np.uint32)
WHOLE = ("mask", "uniform f4", "uniform f8", "normal f4", "normal f8")  # draws that are one operation


def rounds(c: tuple[Any, Any, Any, Any], seed: int, xp: Any = np) -> tuple[Any, Any, Any, Any]:
    """Philox 4x32-10 of counters: four arrays of 32-bit words, held as uint64; the key is the seed's two halves."""
    mask, shift = xp.uint64(0xFFFFFFFF), xp.uint64(32)
    k0, k1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = c[0] * xp.uint64(M0), c[2] * xp.uint64(M1)
        c = ((p1 >> shift) ^ c[1] ^ xp.uint64(k0), p1 & mask, (p0 >> shift) ^ c[3] ^ xp.uint64(k1), p0 & mask)
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return c


def _state(seed: int, offset: int) -> Any:
    """Where a stream is, as the primitives take it."""
    return np.array([seed % 2**64, offset % 2**64], np.uint64)


def philox(seed: int, offset: int, words: int, xp: Any = np) -> Any:
    """`words` random 32-bit words: 4 for each counter from `offset` on."""
    if xp is np and kernels.large((words,)):
        fast = kernels.fill("words", _state(seed, offset), (words,))
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
        self.born = self.set = tick()  # when it was made, and when somebody last said what its state is

    def manual_seed(self, seed: int) -> "Generator":
        """Starts the stream of `seed` from its beginning."""
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise TypeError(f"manual_seed: the seed must be an int, not {type(seed).__name__}")
        self.seed_, self.offset, self.set = int(seed) % 2**64, 0, tick()
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
        self.seed_, self.offset, self.set = int(seed) % 2**64, int(offset), tick()

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


def seed() -> int:
    """Seeds the default generator from the operating system's entropy; returns the seed."""
    return default_generator.seed()


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


def words_per(dtype: Any) -> int:
    return 2 if dtype == np.float64 else 1


uniform_p = Primitive("uniform", _uniform, lambda b, *, dtype: Aval((b.shape[0] // words_per(dtype),), dtype, b.device))
normal_p = Primitive("normal", _normal, lambda b, *, dtype: Aval((b.shape[0] // words_per(dtype),), dtype, b.device))


def _random(state: Any, *, name: str, shape: tuple[int, ...], chance: float) -> Any:
    found = kernels.fill(name, state, shape, chance) if kernels.large(shape) else None
    if found is not None:
        return found
    what, _, code = name.partition(" ")
    dtype, count = np.dtype(code or "f4"), _numel(shape)
    bits = philox(*state.tolist(), (count + count % 2) * words_per(dtype))
    made = (_normal if what == "normal" else _uniform)(bits, dtype=dtype)[:count].reshape(shape)
    return made >= np.float32(chance) if what == "mask" else made


random_p = Primitive(  # "uniform f4", "normal f8", ..., or "mask": false with a probability of `chance`
    "random",
    _random,
    lambda state, *, name, shape, chance: Aval(shape, np.dtype(name.partition(" ")[2] or bool), state.device),
    batch=_batch_words,
)

# ---- drawing ---------------------------------------------------------------------------------------------------------


def _numel(shape: tuple[int, ...]) -> int:
    n = 1
    for k in shape:
        n *= k
    return n


def _levels() -> list[Any]:
    """The vmaps that are open: a draw must say whether it differs between their elements."""
    return [i for i in MODE.stack if i.kind == "vmap"]


def _traced(trace: Any, gen: Generator, state: Any, taken: tuple[int, int], words: int) -> Any:
    """The state of a draw: read from the generator at each run, in the order of the draws; the same for the same draw.

    That of a generator which the traced function makes is always the same.
    """
    if gen.born > trace.level:
        return state
    known = trace.drawn.get((gen, *taken))
    if known is not None:
        return known
    if gen.set > trace.level:
        raise TraceError("a traced function sets a random generator's state (manual_seed): seed it outside")

    def later() -> Any:
        return np.asarray(gen.take(words), np.uint64)

    def undo() -> None:
        gen.seed_, gen.offset = taken

    found = trace.drawn[(gen, *taken)] = wrap(trace.read(state.raw, later, undo))
    return found


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
    state = wrap(_state(*taken))
    trace = open_trace() if MODE.special else None
    if trace is not None:
        state = _traced(trace, gen, state, taken, words)
    if name in WHOLE and where == devices.CPU and (not MODE.special or (trace is not None and trace.live)):
        whole = apply(random_p, state, name=name, shape=full, chance=chance)
        return _mapped(whole, different)
    out = finish(apply(words_p, state, words=words, device=where))
    out = out[:count].reshape(full) if out.shape[0] != count else out.reshape(full)
    return _mapped(out, different)


def _mapped(out: Any, different: list[Any]) -> Any:
    """The draw as the vmaps see it that have a part of it each."""
    for level in different:
        out = wrap(Batched(level.level, out, level.size))
    return out
