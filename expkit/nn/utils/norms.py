"""Weights normalised before each call of a module, by hooks: the older forms of what parametrizations.py does.

The state dict has PyTorch's keys: weight_g and weight_v, weight_orig and weight_u and weight_v.
"""

from __future__ import annotations

from typing import Any, TypeVar

from expkit.autograd import no_grad
from expkit.nn.functional import normalize
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor, dot, mv, norm, randn

M = TypeVar("M", bound=Module)

# ---- what both forms share -------------------------------------------------------------------------------------------


def norm_except_dim(v: Tensor, p: float = 2, dim: int = 0) -> Tensor:
    """The p-norms of v along all dimensions but `dim`, which stay as ones; of everything where dim is -1."""
    if dim == -1:
        return norm(v, p)
    others = tuple(d for d in range(v.ndim) if d != dim)
    return norm(v, p, others, keepdim=True) if others else v.abs()


def scaled(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """g v / |v|"""
    return v * (g / norm_except_dim(v, 2, dim))


def default_dim(module: Module) -> int:
    """Which dimension of a module's weight is that of its outputs."""
    return 1 if any(kind.__name__.startswith("ConvTranspose") for kind in type(module).__mro__) else 0


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """The weight with rows along `dim`."""
    return weight.movedim(dim, 0).flatten(1) if weight.ndim > 1 else weight.reshape(-1, 1)


def power_iteration(matrix: Tensor, u: Tensor, v: Tensor, rounds: int, eps: float) -> None:
    """Moves u and v, in place, towards the singular vectors of the largest singular value."""
    with no_grad():
        for _ in range(rounds):
            u.copy_(normalize(mv(matrix, v), dim=0, eps=eps))
            v.copy_(normalize(mv(matrix.mT.conj(), u), dim=0, eps=eps))


# ---- weight norm -----------------------------------------------------------------------------------------------------


class WeightNorm:
    """The hook: before each call, weight = g v / |v|."""

    def __init__(self, name: str, dim: int) -> None:
        self.name, self.dim = name, dim

    def compute_weight(self, module: Module) -> Tensor:
        return scaled(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"), self.dim)

    def __call__(self, module: Module, _args: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def _hook_of(module: Module, kind: type, name: str) -> tuple[int, Any] | None:
    """(key, hook) of a kind for a name, if the module has one."""
    for key, (hook, _) in module._forward_pre_hooks.items():
        if isinstance(hook, kind) and getattr(hook, "name", None) == name:
            return key, hook
    return None


def _weight_of(module: Module, kind: type, name: str) -> Parameter:
    """The parameter to normalise, which must not be normalised yet."""
    if _hook_of(module, kind, name) is not None:
        raise RuntimeError(f"Cannot register two {kind.__name__} hooks on the same parameter {name}")
    weight = module._parameters.get(name)
    if weight is None:
        raise ValueError(f"Module '{module}' has no parameter with name '{name}'")
    return weight


def _plain_again(module: M, kind: type, what: str, name: str, made: str) -> M:
    """The module without its hook of a kind: the weight of that name is a parameter again, with its present value.

    made: the ends of the names that the hook had brought.
    """
    found = _hook_of(module, kind, name)
    if found is None:
        raise ValueError(f"{what} of '{name}' not found in {module}")
    key, hook = found
    with no_grad():
        weight = hook.compute_weight(module)
    for end in ("", *made.split()):
        delattr(module, name + end)
    del module._forward_pre_hooks[key]
    module.register_parameter(name, Parameter(weight))
    return module


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Length and direction of a weight as the parameters weight_g and weight_v. See parametrizations.weight_norm."""
    hook = WeightNorm(name, -1 if dim is None else dim)
    weight = _weight_of(module, WeightNorm, name)
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(norm_except_dim(weight.detach(), 2, hook.dim)))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Makes the weight a parameter again, with its present value."""
    return _plain_again(module, WeightNorm, "weight_norm", name, "_g _v")


# ---- spectral norm ---------------------------------------------------------------------------------------------------


class SpectralNorm:
    """The hook: before each call, weight = weight_orig / its largest singular value, nearly."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got {n_power_iterations=}")
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def compute_weight(self, module: Module, do_power_iteration: bool = False) -> Tensor:
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(normalize(mv(matrix.mT, u), dim=0, eps=self.eps))
                    u.copy_(normalize(mv(matrix, v), dim=0, eps=self.eps))
        return weight / dot(u.clone(), mv(matrix, v.clone()))  # the buffers change before backward

    def __call__(self, module: Module, _args: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divides a weight by its largest singular value before each call. See parametrizations.spectral_norm."""
    hook = SpectralNorm(name, n_power_iterations, default_dim(module) if dim is None else dim, eps)
    weight = _weight_of(module, SpectralNorm, name)
    rows, columns = as_matrix(weight.detach(), hook.dim).shape
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.detach())
    for letter, n in (("u", rows), ("v", columns)):
        start = normalize(randn(n, dtype=weight.dtype, device=weight.device), dim=0, eps=eps)
        module.register_buffer(f"{name}_{letter}", start)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Makes the weight a parameter again, with its present value."""
    return _plain_again(module, SpectralNorm, "spectral_norm", name, "_u _v _orig")
