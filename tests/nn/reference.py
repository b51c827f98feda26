"""NumPy float64 formulas that the functions of expkit.nn.functional are held against, and a numeric gradient."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def numeric_gradient(fn, arrays, which, eps=1e-6):
    """Central differences of the scalar `fn(*arrays)` with respect to arrays[which]."""
    arrays = [np.array(a, dtype=np.float64) if i == which else a for i, a in enumerate(arrays)]
    target = arrays[which]
    grad = np.zeros_like(target)
    for index in np.ndindex(target.shape):
        kept = target[index]
        target[index] = kept + eps
        above = fn(*arrays)
        target[index] = kept - eps
        grad[index] = (above - fn(*arrays)) / (2 * eps)
        target[index] = kept
    return grad


_erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x, beta=1.0, threshold=20.0):
    return np.where(x * beta > threshold, x, np.log1p(np.exp(np.minimum(x * beta, threshold))) / beta)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def celu(x, alpha=1.0):
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha))


def selu(x):
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def gelu(x, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _erf(x / np.sqrt(2)))


def glu(x, dim=-1):
    a, b = np.split(x, 2, axis=dim)
    return a * sigmoid(b)


def prelu(x, weight):
    weight = weight.reshape(-1, *(1,) * (x.ndim - 2)) if weight.size > 1 else weight
    return np.where(x > 0, x, weight * x)


def softmax(x, dim):
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def attention(q, k, v, mask=None, is_causal=False, scale=None):
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores if mask is None else scores + mask
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    return softmax(scores, -1) @ v


def log_softmax(x, dim):
    return np.log(softmax(x, dim))


def reduce(loss, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](loss)


def cross_entropy(x, y, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """One sample and one class at a time, as the definition says it."""
    classes = x.shape[min(x.ndim - 1, 1)]
    rows = np.moveaxis(log_softmax(x, min(x.ndim - 1, 1)), min(x.ndim - 1, 1), -1).reshape(-1, classes)
    weight = np.ones(classes) if weight is None else weight
    hard = not np.issubdtype(y.dtype, np.floating)
    targets = y.reshape(-1) if hard else np.moveaxis(y, min(x.ndim - 1, 1), -1).reshape(-1, classes)
    losses, counts = [], []
    for logp, t in zip(rows, targets, strict=True):
        if hard and t == ignore_index:
            losses.append(0.0)
            counts.append(0.0)
            continue
        p = np.eye(classes)[t] if hard else t
        p = p * (1 - label_smoothing) + label_smoothing / classes
        losses.append(-(p * logp * weight).sum())
        counts.append(weight[t] if hard else 1.0)
    losses = np.array(losses).reshape(y.shape if hard else np.delete(x.shape, min(x.ndim - 1, 1)))
    return losses.sum() / sum(counts) if reduction == "mean" else reduce(losses, reduction)


def nll_loss(x, y, weight=None, ignore_index=-100, reduction="mean"):
    keep = y != ignore_index
    index = np.where(keep, y, 0)
    scale = keep * (1.0 if weight is None else weight[index])
    loss = -np.take_along_axis(x, index[:, None], 1)[:, 0] * scale
    return loss.sum() / scale.sum() if reduction == "mean" else reduce(loss, reduction)


def binary_cross_entropy(p, y, weight=1.0, reduction="mean"):
    return reduce(-(y * np.log(p) + (1 - y) * np.log(1 - p)) * weight, reduction)


def binary_cross_entropy_with_logits(x, y, weight=1.0, reduction="mean", pos_weight=1.0):
    p = sigmoid(x)
    return reduce(-(pos_weight * y * np.log(p) + (1 - y) * np.log(1 - p)) * weight, reduction)


def kl_div(logq, target, reduction="mean", log_target=False):
    loss = np.exp(target) * (target - logq) if log_target else target * (np.log(target) - logq)
    return loss.sum() / len(logq) if reduction == "batchmean" else reduce(loss, reduction)


def huber_loss(x, y, reduction="mean", delta=1.0):
    d = np.abs(x - y)
    return reduce(np.where(d <= delta, 0.5 * d**2, delta * (d - 0.5 * delta)), reduction)


def smooth_l1_loss(x, y, reduction="mean", beta=1.0):
    d = np.abs(x - y)
    return reduce(d if beta == 0 else np.where(d < beta, 0.5 * d**2 / beta, d - 0.5 * beta), reduction)


def standardise(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def _channels(v, ndim, empty):
    return empty if v is None else v.reshape(1, -1, *(1,) * (ndim - 2))


def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if training:
        normed = standardise(x, (0, *range(2, x.ndim)), eps)
    else:
        normed = (x - _channels(mean, x.ndim, 0)) / np.sqrt(_channels(var, x.ndim, 1) + eps)
    return normed * _channels(weight, x.ndim, 1) + _channels(bias, x.ndim, 0)


def layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    normed = standardise(x, tuple(range(-len(shape), 0)), eps)
    return normed * (1 if weight is None else weight) + (0 if bias is None else bias)


def rms_norm(x, shape, weight=None, eps=None):
    eps = np.finfo(np.float64).eps if eps is None else eps
    root = np.sqrt((x**2).mean(tuple(range(-len(shape), 0)), keepdims=True) + eps)
    return x / root * (1 if weight is None else weight)


def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    normed = standardise(x.reshape(len(x), groups, -1), (2,), eps).reshape(x.shape)
    return normed * _channels(weight, x.ndim, 1) + _channels(bias, x.ndim, 0)


def pair(v):
    return (v, v) if isinstance(v, int) else tuple(v)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Every window times every filter."""
    if x.ndim == 3:
        return conv2d(x[None], weight, bias, stride, padding, dilation, groups)[0]
    (sh, sw), (dh, dw) = pair(stride), pair(dilation)
    reach = dh * (weight.shape[2] - 1) + 1, dw * (weight.shape[3] - 1) + 1
    if isinstance(padding, str):
        totals = [r - 1 if padding == "same" else 0 for r in reach]
        sides = [(t // 2, t - t // 2) for t in totals]
    else:
        sides = [(p, p) for p in pair(padding)]
    x = np.pad(x, [(0, 0), (0, 0), *sides])
    windows = sliding_window_view(x, reach, axis=(2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
    n, c, h, w = windows.shape[:4]
    windows = windows.reshape(n, groups, c // groups, h, w, *weight.shape[2:])
    filters = weight.reshape(groups, -1, *weight.shape[1:])
    out = np.einsum("ngchwij,gocij->ngohw", windows, filters).reshape(n, -1, h, w)
    return out if bias is None else out + bias[:, None, None]


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if not isinstance(padding, str):
        padding = (0, padding)
    x, weight = np.expand_dims(x, -2), weight[:, :, None]
    return conv2d(x, weight, bias, (1, stride), padding, (1, dilation), groups).squeeze(-2)


def pool2d(fill, take, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """`take` over the windows of x, its border filled with `fill`."""
    if x.ndim == 3:
        return pool2d(fill, take, x[None], kernel_size, stride, padding, dilation, ceil_mode)[0]
    kernel, step = pair(kernel_size), pair(kernel_size if stride is None else stride)
    pad, gap = pair(padding), pair(dilation)
    sides = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, step, pad, gap, strict=True):
        spare = (n + 2 * p - d * (k - 1) - 1) % s
        extra = s - spare if ceil_mode and spare and (n + 2 * p - d * (k - 1) - 1) // s * s + s < n + p else 0
        sides.append((p, p + extra))
    x = np.pad(x, [(0, 0), (0, 0), *sides], constant_values=fill)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, gap, strict=True))
    windows = sliding_window_view(x, reach, axis=(2, 3))
    return take(windows[:, :, :: step[0], :: step[1], :: gap[0], :: gap[1]], axis=(4, 5))


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return pool2d(-np.inf, np.max, x, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool2d(x, kernel_size, stride=None, padding=0, count_include_pad=True, divisor_override=None):
    if divisor_override:
        return pool2d(0.0, np.sum, x, kernel_size, stride, padding) / divisor_override
    return pool2d(0.0 if count_include_pad else np.nan, np.nanmean, x, kernel_size, stride, padding)


def on_lines(pool):
    """The 1-d form of a 2-d pooling."""

    def pool1d(x, kernel_size, stride=None, padding=0, **kw):
        stride = kernel_size if stride is None else stride
        return pool(np.expand_dims(x, -2), (1, kernel_size), (1, stride), (0, padding), **kw).squeeze(-2)

    return pool1d


def adaptive_pool2d(take, x, output_size):
    """`take` over windows from floor(i size / out) to ceil((i + 1) size / out)."""
    h, w = (n if out is None else out for out, n in zip(pair(output_size), x.shape[-2:], strict=True))

    def cuts(n, out):
        return [slice(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]

    rows = [[take(x[..., r, c], axis=(-2, -1)) for c in cuts(x.shape[-1], w)] for r in cuts(x.shape[-2], h)]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def adaptive_avg_pool2d(x, output_size):
    return adaptive_pool2d(np.mean, x, output_size)


def adaptive_max_pool2d(x, output_size):
    return adaptive_pool2d(np.max, x, output_size)


def adaptive_on_lines(pool):
    """The 1-d form of an adaptive 2-d pooling."""
    return lambda x, n: pool(np.expand_dims(x, -2), (1, n)).squeeze(-2)
