"""Rows of the distances and of the losses on margins, similarity and likelihoods: the formulas once more, in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.nn import reference as ref

R = np.random.default_rng(11)
SIGNS = np.array([1, -1, 1, -1, -1])
LABELS = np.array([[3, 0, -1, 1], [-1, 2, 1, 0], [2, 1, 0, 3]])


def x(*shape: int) -> np.ndarray:
    return R.standard_normal(shape)


def p(*shape: int) -> np.ndarray:
    return R.uniform(0.05, 3.0, shape)


def length(a: Any, order: float = 2.0, axis: int = 1) -> Any:
    return (np.abs(a) ** order).sum(axis, keepdims=True) ** (1 / order)


def pairs(a: Any, p: float = 2.0) -> Any:
    """The distances of all pairs of rows."""
    first, second = np.triu_indices(len(a), 1)
    return (np.abs(a[first] - a[second]) ** p).sum(-1) ** (1 / p)


def normalize(a: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    return a / np.maximum(length(a, p, dim), eps)


def cosine(a: Any, b: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    a, b = np.broadcast_arrays(a, b)
    return (normalize(a, 2, dim, eps) * normalize(b, 2, dim, eps)).sum(dim)


def distance(a: Any, b: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    out = length(a - b + eps, p, -1)
    return out if keepdim else out[..., 0]


def loss(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn's elements, reduced."""

    def oracle(*args: Any, reduction: str = "mean", **kw: Any) -> Any:
        return ref.reduce(fn(*args, **kw), reduction)

    return oracle


@loss
def ranking(a: Any, b: Any, y: Any, margin: float = 0.0) -> Any:
    return np.maximum(0, margin - y * (a - b))


@loss
def hinge(a: Any, y: Any, margin: float = 1.0) -> Any:
    return np.where(y == 1, a, np.maximum(0, margin - a))


@loss
def cosine_embedding(a: Any, b: Any, y: Any, margin: float = 0.0) -> Any:
    return np.where(y == 1, 1 - cosine(a, b, -1), np.maximum(0, cosine(a, b, -1) - margin))


@loss
def soft_margin(a: Any, y: Any) -> Any:
    return np.log1p(np.exp(-y * a))


@loss
def multi_margin(a: Any, y: Any, p: int = 1, margin: float = 1.0, weight: Any = None) -> Any:
    def one(row: Any, k: int) -> float:
        gaps = np.maximum(0, margin - row[k] + np.delete(row, k)) ** p
        return gaps.sum() / len(row) * (1 if weight is None else weight[k])

    return one(a, int(y)) if a.ndim == 1 else np.array([one(row, k) for row, k in zip(a, y, strict=True)])


@loss
def multilabel_margin(a: Any, y: Any) -> Any:
    def one(row: Any, labels: Any) -> float:
        end = list(labels).index(-1) if -1 in labels else len(labels)
        wanted = list(labels[:end])
        others = [i for i in range(len(row)) if i not in wanted]
        return sum(max(0.0, 1 - (row[j] - row[i])) for j in wanted for i in others) / len(row)

    return one(a, y) if a.ndim == 1 else np.array([one(row, labels) for row, labels in zip(a, y, strict=True)])


@loss
def multilabel_soft_margin(a: Any, y: Any, weight: Any = 1.0) -> Any:
    return (weight * (y * np.log1p(np.exp(-a)) + (1 - y) * np.log1p(np.exp(a)))).mean(-1)


@loss
def triplet(a: Any, b: Any, c: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False) -> Any:
    far = distance(a, c, p, eps)
    far = np.minimum(far, distance(b, c, p, eps)) if swap else far
    return np.maximum(0, distance(a, b, p, eps) - far + margin)


@loss
def gaussian(a: Any, y: Any, var: Any, full: bool = False, eps: float = 1e-6) -> Any:
    var = np.maximum(var if var.shape[-1:] in (a.shape[-1:], (1,)) else var[..., None], eps)
    return 0.5 * (np.log(var) + (a - y) ** 2 / var) + (0.5 * np.log(2 * np.pi) if full else 0)


@loss
def poisson(a: Any, y: Any, log_input: bool = True, full: bool = False, eps: float = 1e-8) -> Any:
    out = np.exp(a) - y * a if log_input else a - y * np.log(a + eps)
    big = np.maximum(y, 1.0)
    return out + np.where(y > 1, big * np.log(big) - big + 0.5 * np.log(2 * np.pi * big), 0) * full


# name, oracle, arguments, keyword arguments
FUNCTIONS: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = [
    ("pdist", pairs, (x(4, 3),), {}),
    ("pdist", pairs, (x(3, 2),), {"p": 3.0}),
    ("normalize", normalize, (x(4, 3),), {}),
    ("normalize", normalize, (x(4, 3, 2),), {"p": 3.0, "dim": 2}),
    ("cosine_similarity", cosine, (x(4, 3), x(4, 3)), {}),
    ("cosine_similarity", cosine, (x(4, 1, 3), x(2, 3)), {"dim": -1}),
    ("pairwise_distance", distance, (x(4, 3), x(4, 3)), {}),
    ("pairwise_distance", distance, (x(4, 3), x(3)), {"p": 3.0, "keepdim": True}),
    ("margin_ranking_loss", ranking, (x(5), x(5), SIGNS), {}),
    ("margin_ranking_loss", ranking, (x(5), x(5), SIGNS), {"margin": 0.3, "reduction": "none"}),
    ("hinge_embedding_loss", hinge, (x(5), SIGNS), {}),
    ("hinge_embedding_loss", hinge, (x(5), SIGNS), {"margin": 0.4, "reduction": "sum"}),
    ("cosine_embedding_loss", cosine_embedding, (x(5, 3), x(5, 3), SIGNS), {}),
    ("cosine_embedding_loss", cosine_embedding, (x(5, 3), x(5, 3), SIGNS), {"margin": 0.1, "reduction": "none"}),
    ("soft_margin_loss", soft_margin, (x(5), SIGNS), {}),
    ("multi_margin_loss", multi_margin, (x(5, 4), np.array([0, 3, 2, 1, 1])), {}),
    ("multi_margin_loss", multi_margin, (x(5, 4), np.array([0, 3, 2, 1, 1])), {"p": 2, "margin": 0.7, "weight": p(4)}),
    ("multi_margin_loss", multi_margin, (x(4), np.array(2)), {"reduction": "none"}),
    ("multilabel_margin_loss", multilabel_margin, (x(3, 4), LABELS), {}),
    ("multilabel_margin_loss", multilabel_margin, (x(3, 4), LABELS), {"reduction": "none"}),
    ("multilabel_margin_loss", multilabel_margin, (x(4), LABELS[0]), {"reduction": "sum"}),
    ("multilabel_soft_margin_loss", multilabel_soft_margin, (x(3, 4), R.integers(0, 2, (3, 4))), {}),
    ("multilabel_soft_margin_loss", multilabel_soft_margin, (x(3, 4), R.integers(0, 2, (3, 4))),
     {"weight": p(4), "reduction": "none"}),
    ("triplet_margin_loss", triplet, (x(4, 3), x(4, 3), x(4, 3)), {}),
    ("triplet_margin_loss", triplet, (x(4, 3), x(4, 3), x(4, 3)), {"margin": 2.0, "p": 3.0, "swap": True, "reduction": "none"}),
    ("triplet_margin_with_distance_loss", triplet, (x(4, 3), x(4, 3), x(4, 3)), {"margin": 2.0, "swap": True}),
    ("gaussian_nll_loss", gaussian, (x(4, 3), x(4, 3), p(4, 3)), {}),
    ("gaussian_nll_loss", gaussian, (x(4, 3), x(4, 3), p(4, 1)), {"full": True, "reduction": "none"}),
    ("gaussian_nll_loss", gaussian, (x(4, 3), x(4, 3), p(4)), {"reduction": "sum"}),
    ("poisson_nll_loss", poisson, (x(4, 3), p(4, 3)), {}),
    ("poisson_nll_loss", poisson, (p(4, 3), p(4, 3)), {"log_input": False, "full": True, "reduction": "none"}),
]  # fmt: skip
