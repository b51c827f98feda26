"""Parametrizations of weights: by length and direction, with largest singular value 1, with orthonormal columns."""

from __future__ import annotations

from typing import Any

from expkit.autograd import no_grad
from expkit.linalg import householder_product, matrix_exp, solve
from expkit.nn.functional import normalize
from expkit.nn.module import Module
from expkit.nn.utils.norms import as_matrix, default_dim, norm_except_dim, power_iteration, scaled
from expkit.nn.utils.parametrize import register_parametrization
from expkit.tensor import Tensor, cat, eye, geqrf, mv, randn, vdot, zeros_like

MAPS = ("matrix_exp", "cayley", "householder")


class _WeightNorm(Module):
    """weight = g v / |v|, the norms along all dimensions but one."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return scaled(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Length and direction of a weight as parameters of their own; the length is taken over all dimensions but `dim`.

    T. Salimans and D. P. Kingma, "Weight Normalization" (2016).
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    keys = {f"{name}_g": f"parametrizations.{name}.original0", f"{name}_v": f"parametrizations.{name}.original1"}

    def from_older_names(_module: Module, state: dict[str, Any], prefix: str, *_rest: Any) -> None:
        if all(prefix + old in state for old in keys):
            for old, new in keys.items():
                state[prefix + new] = state.pop(prefix + old)

    module.register_load_state_dict_pre_hook(from_older_names)
    return module


class _SpectralNorm(Module):
    """weight / sigma, sigma being its largest singular value, nearly: from the vectors of a power iteration."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(f"spectral_norm: dim={dim} is out of range for a weight of {weight.ndim} dimensions")
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got {n_power_iterations=}")
        self.dim = dim if dim >= 0 else dim + weight.ndim
        self.eps, self.n_power_iterations = eps, n_power_iterations
        if weight.ndim > 1:
            matrix = as_matrix(weight.detach(), self.dim)
            u, v = (randn(n, dtype=weight.dtype, device=weight.device) for n in matrix.shape)
            self.register_buffer("_u", normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", normalize(v, dim=0, eps=eps))
            power_iteration(matrix, self._u, self._v, 15, eps)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            power_iteration(matrix, self._u, self._v, self.n_power_iterations, self.eps)
        u, v = self._u.clone(), self._v.clone()  # the buffers change before backward
        return weight / vdot(u, mv(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divides a weight, as a matrix with rows along `dim`, by its largest singular value.

    T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks" (2018).
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    at = default_dim(module) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, at, eps))


# ---- orthogonal matrices ---------------------------------------------------------------------------------------------


def _with_orthonormal_columns(x: Tensor) -> Tensor:
    """Q of x = Q R with a positive diagonal of R."""
    packed, tau = geqrf(x)
    return householder_product(packed, tau) * packed.diagonal(0, -2, -1).sgn().unsqueeze(-2)


def _has_orthonormal_columns(q: Tensor) -> bool:
    n = q.shape[-1]
    product = q.mT.conj() @ q - eye(n, dtype=q.dtype, device=q.device)
    return bool((product.abs() < 10 * n * _eps(q)).all())


def _eps(x: Tensor) -> float:
    return 2.2e-16 if x.element_size() // (2 if x.is_complex() else 1) == 8 else 1.2e-7


class _Orthogonal(Module):
    """An orthonormal matrix made of any matrix by one of MAPS, times a fixed one where there is a base."""

    base: Tensor

    def __init__(self, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        wide = X.shape[-2] < X.shape[-1]
        x = X.mT if wide else X
        q = self._reflections(x) if self.orthogonal_map == "householder" else self._rotation(x)
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    def _rotation(self, x: Tensor) -> Tensor:
        """The exponential, or the Cayley transform, of the skew-Hermitian matrix of the lower triangle of x."""
        n, k = x.shape[-2:]
        x = x.tril()
        if n != k:
            x = cat([x, x.new_zeros((*x.shape[:-2], n, n - k))], -1)
        skew = x - x.mT.conj()
        if self.orthogonal_map == "matrix_exp":
            q = matrix_exp(skew)
        else:
            one = eye(n, dtype=x.dtype, device=x.device)
            q = solve(one - skew * 0.5, one + skew * 0.5)
        return q if n == k else q[..., :k]

    @staticmethod
    def _reflections(x: Tensor) -> Tensor:
        """The product of Householder reflections of the columns of x, with the signs on its diagonal."""
        low = x.tril(-1)
        tau = 2.0 / (1.0 + (low * low.conj()).sum(-2))
        signs = x.diagonal(0, -2, -1).detach()
        signs = signs.real if signs.is_complex() else signs
        return householder_product(low, tau) * signs.trunc().unsqueeze(-2)

    def right_inverse(self, Q: Tensor) -> Tensor:
        wide = Q.shape[-2] < Q.shape[-1]
        q = Q.mT if wide else Q
        if hasattr(self, "base"):
            return self._new_base(q, Q)
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley parametrizations "
                "when use_trivialization=False."
            )
        packed, tau = geqrf(q)
        diagonal = packed.diagonal(0, -2, -1)
        signs = diagonal.sgn() * (1 - 2 * (tau == 0).to(diagonal.dtype))
        n = diagonal.shape[-1]
        one = eye(packed.shape[-2], n, dtype=packed.dtype, device=packed.device)
        packed = packed * (1 - one) + one * signs.unsqueeze(-2)
        return packed.mT if wide else packed

    def _new_base(self, q: Tensor, like: Tensor) -> Tensor:
        """Takes q as the base; returns the parameter that the maps make the identity of."""
        n, k = q.shape[-2:]
        if n != k:
            q = cat([q, randn((*q.shape[:-2], n, n - k), dtype=q.dtype, device=q.device)], -1)
        self.base = q.clone() if n == k and _has_orthonormal_columns(q) else _with_orthonormal_columns(q)
        start = zeros_like(like)
        start.diagonal(0, -2, -1).fill_(-1.0)
        return start


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keeps a weight a matrix with orthonormal columns (rows, where it is wide), also while it is trained.

    orthogonal_map: "matrix_exp", "cayley" or "householder". M. Lezcano-Casado, "Trivializations for Gradient-Based
    Optimization on Manifolds" (2019).
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in MAPS:
        raise ValueError(f"orthogonal_map has to be one of {', '.join(MAPS)}. Got: {orthogonal_map}")
    with no_grad():
        return register_parametrization(module, name, _Orthogonal(orthogonal_map, use_trivialization), unsafe=True)
