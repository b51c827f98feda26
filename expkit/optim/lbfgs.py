"""L-BFGS with an optional line search for the strong Wolfe conditions.

Liu and Nocedal, Mathematical Programming 45 (1989); Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 7.4.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from expkit.errors import ConfigError
from expkit.optim.optimizer import Optimizer
from expkit.registry import register
from expkit.tensor import Tensor, cat, enable_grad, no_grad

SUFFICIENT, CURVATURE, SEARCHES = 1e-4, 0.9, 25  # the line search's constants: decrease, curvature, most evaluations
LEAST_CURVATURE = 1e-10  # below, a step says nothing of the Hessian


@register("optim", "lbfgs")
class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` changes of the gradient; up to `max_iter` in one `step(closure)`.

    For full batches: the closure is evaluated several times. One parameter group only.
    line_search_fn: None (steps of length lr) or "strong_wolfe".
    """

    needs_closure = True  # its step evaluates the loss itself

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: Literal["strong_wolfe"] | None = None,
    ) -> None:
        if line_search_fn not in (None, "strong_wolfe"):
            raise ConfigError(f"LBFGS: line_search_fn={line_search_fn!r}: only 'strong_wolfe' is supported.")
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ConfigError("LBFGS doesn't support per-parameter options (parameter groups).")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to max_iter steps. `closure` clears the gradients, computes the loss, calls backward, returns the loss."""
        if closure is None:
            raise ConfigError("LBFGS.step needs a closure that computes the loss anew.")
        with no_grad():
            return _Run(self, closure).steps()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over (copies of) the options and the history, which is kept with the first parameter."""
        super().load_state_dict({**state_dict, "state": {}})
        for state in state_dict["state"].values():
            self.state[self.param_groups[0]["params"][0]] = copy.deepcopy(state)


class _Run:
    """One call of `step`: the parameters as one vector, and the history in the first parameter's state."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any]) -> None:
        self.group = optimizer.param_groups[0]
        self.params: list[Tensor] = self.group["params"]
        self.closure = closure
        self.state = optimizer.state.setdefault(self.params[0], {"func_evals": 0, "n_iter": 0})

    def loss(self) -> Any:
        self.state["func_evals"] += 1
        with enable_grad():
            return self.closure()

    def gradient(self) -> Tensor:
        """The gradients of all parameters, zeros where there are none, as one vector."""
        return cat([p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in self.params], 0)

    def move(self, direction: Tensor, t: float) -> None:
        at = 0
        for p in self.params:
            p.add_(direction[at : at + p.numel()].reshape(p.shape), alpha=t)
            at += p.numel()

    def steps(self) -> Any:
        group, state = self.group, self.state
        lr = group["lr"]
        first = self.loss()
        loss, g, evaluations = float(first), self.gradient(), 1
        if _largest(g) <= group["tolerance_grad"]:
            return first
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = self.direction(g)
            before, state["prev_flat_grad"], state["prev_loss"] = loss, g.clone(), loss
            t: Any = min(1.0, 1.0 / float(g.abs().sum())) * lr if state["n_iter"] == 1 else lr
            slope = float(g.dot(d))
            state["d"], state["t"] = d, t
            if slope > -group["tolerance_change"]:
                break
            used = 0
            if group["line_search_fn"] is not None:
                found, used = self.search(d, float(t), Point(0.0, loss, g, slope))
                t, loss, g = found.t, found.loss, found.gradient
                self.move(d, t)
            else:
                self.move(d, float(t))
                if iteration != group["max_iter"]:
                    loss, g, used = float(self.loss()), self.gradient(), 1
            state["t"] = t
            evaluations += used
            still = (
                _largest(d) * float(t) <= group["tolerance_change"] or abs(loss - before) < group["tolerance_change"]
            )
            if evaluations >= group["max_eval"] or _largest(g) <= group["tolerance_grad"] or still:
                break
        return first

    def direction(self, g: Tensor) -> Tensor:
        """Minus the gradient times the approximate inverse Hessian (the two-loop recursion)."""
        state = self.state
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            state["al"] = [None] * self.group["history_size"]  # the last shares, which PyTorch's state has too
            return -g
        y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
        changes, moves, weights = state["old_dirs"], state["old_stps"], state["ro"]
        curvature = float(y.dot(s))
        if curvature > LEAST_CURVATURE:
            if len(changes) == self.group["history_size"]:
                for history in (changes, moves, weights):
                    history.pop(0)
            changes.append(y)
            moves.append(s)
            weights.append(1.0 / curvature)
            state["H_diag"] = curvature / y.dot(y)
        q, shares = -g, []
        for change, move, weight in zip(changes[::-1], moves[::-1], weights[::-1], strict=True):
            shares.append(float(move.dot(q)) * weight)
            q.add_(change, alpha=-shares[-1])
        state["al"][: len(shares)] = shares[::-1]
        q.mul_(state["H_diag"])
        for change, move, weight, share in zip(changes, moves, weights, shares[::-1], strict=True):
            q.add_(move, alpha=share - float(change.dot(q)) * weight)
        return q

    def search(self, d: Tensor, t: float, start: "Point") -> tuple["Point", int]:
        """(the point along d that the line search chooses, evaluations); the parameters are where they were."""
        kept = [p.clone() for p in self.params]
        used = 0

        def at(t: float) -> Point:
            nonlocal used
            used += 1
            self.move(d, t)
            loss, g = float(self.loss()), self.gradient()
            for p, old in zip(self.params, kept, strict=True):
                p.copy_(old)
            return Point(t, loss, g, float(g.dot(d)))

        found = strong_wolfe(at, t, start, _largest(d), self.group["tolerance_change"])
        return found, used


class Point(NamedTuple):
    """A place along a line: how far, the loss, its gradient, and its slope along the line."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


def _largest(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0


def strong_wolfe(at: Callable[[float], Point], t: float, start: Point, length: float, tolerance: float) -> Point:
    """A place where the loss has fallen enough and its slope is small: bracketing, then zooming in."""

    def too_high(p: Point) -> bool:
        return p.loss > start.loss + SUFFICIENT * p.t * start.slope

    def flat(p: Point) -> bool:
        return abs(p.slope) <= -CURVATURE * start.slope

    before, now = start, at(t)
    tries = 0
    while True:
        if tries == SEARCHES:
            return min(start, now, key=lambda p: p.loss)
        if too_high(now) or (tries > 1 and now.loss >= before.loss):
            break
        if flat(now):
            return now
        if now.slope >= 0:
            break
        least = now.t + 0.01 * (now.t - before.t)
        before, now = now, at(cubic(before, now, (least, now.t * 10)))
        tries += 1
    low, high = sorted((before, now), key=lambda p: p.loss)
    stuck = False
    while tries < SEARCHES and abs(high.t - low.t) * length >= tolerance:
        left, right = sorted((low.t, high.t))
        t, stuck = _inside(cubic(low, high), left, right, stuck)
        now = at(t)
        tries += 1
        if too_high(now) or now.loss >= low.loss:
            low, high = sorted((low, now), key=lambda p: p.loss)
            continue
        if flat(now):
            return now
        low, high = now, low if now.slope * (high.t - low.t) >= 0 else high
    return low


def _inside(t: float, left: float, right: float, stuck: bool) -> tuple[float, bool]:
    """t, moved off the ends of the interval where the search would stick to one of them a second time."""
    margin = 0.1 * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if stuck or t >= right or t <= left:
        return (right - margin if abs(t - right) < abs(t - left) else left + margin), False
    return t, True


def cubic(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points with these slopes is least, within the bounds (or between both)."""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    turn = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = turn * turn - a.slope * b.slope
    if square < 0:
        return (low + high) / 2
    root = square**0.5
    if a.t > b.t:
        a, b = b, a
    least = b.t - (b.t - a.t) * ((b.slope + root - turn) / (b.slope - a.slope + 2 * root))
    return min(max(least, low), high)
