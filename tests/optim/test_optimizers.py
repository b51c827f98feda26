"""Optimizers against PyTorch's, over ten steps, for every option; state, groups, hooks and bad arguments."""

import inspect

import numpy as np
import pytest

import expkit as ek
from expkit.errors import CheckpointError, ConfigError
from expkit.optim import SGD, Adam, Optimizer
from expkit.registry import build, describe, names

TORCH_NAMES = {
    "sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW", "adagrad": "Adagrad", "adadelta": "Adadelta",
    "adamax": "Adamax", "nadam": "NAdam", "radam": "RAdam", "rprop": "Rprop", "asgd": "ASGD",
}  # fmt: skip
ELSEWHERE = {"lion", "lamb", "muon", "adafactor", "lbfgs"}  # in test_large.py, test_lbfgs.py
_ADAMW = [
    {},
    {"lr": 0.1, "betas": (0.7, 0.95)},
    {"eps": 1e-2},
    {"weight_decay": 0.3},
    {"amsgrad": True, "lr": 0.05},
    {"maximize": True, "weight_decay": 0.1, "amsgrad": True},
]
_ADAM = [*_ADAMW, {"weight_decay": 0.1, "decoupled_weight_decay": True}]
OPTIONS = {
    "sgd": [
        {},
        {"lr": 0.1, "weight_decay": 0.3},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.4},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"maximize": True, "momentum": 0.5, "weight_decay": 0.1},
    ],
    "rmsprop": [
        {},
        {"lr": 0.1, "alpha": 0.8, "eps": 1e-3},
        {"momentum": 0.9},
        {"centered": True},
        {"weight_decay": 0.3, "centered": True, "momentum": 0.5, "maximize": True},
    ],
    "adam": _ADAM,
    "adamw": _ADAMW,
    "adagrad": [
        {}, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.2},
        {"initial_accumulator_value": 0.3, "eps": 1e-3, "maximize": True},
    ],
    "adadelta": [{}, {"lr": 0.3, "rho": 0.7, "eps": 1e-3}, {"weight_decay": 0.3, "maximize": True}],
    "adamax": [{}, {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3}, {"weight_decay": 0.3, "maximize": True}],
    "nadam": [
        {}, {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3, "momentum_decay": 0.1}, {"weight_decay": 0.3},
        {"weight_decay": 0.3, "decoupled_weight_decay": True, "maximize": True},
    ],
    "radam": [
        {}, {"lr": 0.1, "betas": (0.7, 0.8), "eps": 1e-3}, {"weight_decay": 0.3},
        {"weight_decay": 0.3, "decoupled_weight_decay": True, "maximize": True, "betas": (0.9, 0.9)},
    ],
    "rprop": [{}, {"lr": 0.1, "etas": (0.4, 1.5), "step_sizes": (0.05, 0.2)}, {"maximize": True}],
    "asgd": [{}, {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 3.0}, {"weight_decay": 0.3, "maximize": True}],
}  # fmt: skip
ROWS = [(name, options) for name, rows in OPTIONS.items() for options in rows]
IDS = [f"{name}-{'-'.join(options) or 'defaults'}" for name, options in ROWS]
SHAPES = [(3, 4), (5,), (), (2, 0)]


def gradients(steps=10, dtype=np.float64):
    """For each step one gradient per parameter; the second parameter has none in some steps."""
    rng = np.random.default_rng(0)
    grads = [[np.asarray(rng.normal(size=shape), dtype) for shape in SHAPES] for _ in range(10)]
    for step in (0, 3, 7):
        grads[step][1] = None
    return grads[:steps]


def start(dtype=np.float64):
    rng = np.random.default_rng(1)
    return [np.asarray(rng.normal(size=shape), dtype) for shape in SHAPES]


def leaves(arrays):
    return [ek.tensor(array, dtype=ek.as_tensor(array).dtype, requires_grad=True) for array in arrays]


def run(optimizer, params, grads, as_tensor):
    for step in grads:
        for p, grad in zip(params, step, strict=True):
            p.grad = None if grad is None else as_tensor(grad)
        optimizer.step()
    return [p.detach().numpy().copy() for p in params]


def ours(optimizer, params, grads):
    return run(optimizer, params, grads, lambda grad: ek.tensor(grad, dtype=ek.as_tensor(grad).dtype))


def test_every_registered_optimizer_has_a_row():
    assert set(OPTIONS) | ELSEWHERE == set(names("optim")) == set(TORCH_NAMES) | ELSEWHERE


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_tried(name):
    arguments = {argument.name for argument in describe("optim", name).arguments} - {"params"}
    assert arguments == set().union(*OPTIONS[name])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-6)], ids=["f64", "f32"])
@pytest.mark.parametrize(("name", "options"), ROWS, ids=IDS)
def test_ten_steps_as_in_pytorch(torch, name, options, dtype, tolerance):
    expected = [torch.tensor(array, requires_grad=True) for array in start(dtype)]
    reference = getattr(torch.optim, TORCH_NAMES[name])(expected, **options)
    want = run(reference, expected, gradients(dtype=dtype), torch.tensor)
    params = leaves(start(dtype))
    got = ours(build("optim", {"name": name, **options}, params), params, gradients(dtype=dtype))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "options"), ROWS, ids=IDS)
def test_the_state_is_laid_out_as_in_pytorch(torch, name, options):
    expected = [torch.tensor(array, requires_grad=True) for array in start()]
    reference = getattr(torch.optim, TORCH_NAMES[name])(expected, **options)
    run(reference, expected, gradients(4), torch.tensor)
    params = leaves(start())
    optimizer = build("optim", {"name": name, **options}, params)
    ours(optimizer, params, gradients(4))
    got, want = optimizer.state_dict(), reference.state_dict()
    assert got.keys() == want.keys()
    assert {k: set(v) for k, v in got["state"].items()} == {k: set(v) for k, v in want["state"].items() if v}
    assert [group["params"] for group in got["param_groups"]] == [group["params"] for group in want["param_groups"]]
    assert got["param_groups"][0].keys() == want["param_groups"][0].keys()
    # PyTorch's own state, its tensors converted, goes on here as it does there.
    foreign = {
        "param_groups": want["param_groups"],
        "state": {n: {k: _ours(v) for k, v in state.items()} for n, state in want["state"].items()},
    }
    optimizer.load_state_dict(foreign)
    with torch.no_grad():
        for p, q in zip(params, expected, strict=True):
            p.data = ek.tensor(q.numpy(), dtype=ek.float64)
    again = gradients(8)[4:]
    for a, b in zip(ours(optimizer, params, again), run(reference, expected, again, torch.tensor), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def _ours(value):
    return ek.tensor(value.numpy(), dtype=ek.as_tensor(value.numpy()).dtype) if hasattr(value, "numpy") else value


@pytest.mark.parametrize(("name", "options"), ROWS, ids=IDS)
def test_saved_and_loaded_it_goes_on_to_the_bit(name, options):
    def made(arrays):
        params = leaves(arrays)
        return params, build("optim", {"name": name, **options}, params)

    params, optimizer = made(start(np.float32))
    grads = gradients(dtype=np.float32)
    half = ours(optimizer, params, grads[:5])
    saved = optimizer.state_dict()
    fresh_params, fresh = made(half)
    fresh.load_state_dict(saved)
    whole = ours(optimizer, params, grads[5:])
    for a, b in zip(ours(fresh, fresh_params, grads[5:]), whole, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("name", "options"), ROWS, ids=IDS)
def test_an_update_can_be_traced(name, options):
    """With parameter, gradient and state as inputs it never asks for a value, so it can become one kernel."""
    params = leaves(start(np.float32))
    optimizer = build("optim", {"name": name, **options}, params)
    ours(optimizer, params, gradients(1, np.float32))
    p, state = params[0], optimizer.state[params[0]]
    wanted = inspect.signature(optimizer.update_one).parameters.values()
    keywords = {q.name: optimizer.param_groups[0][q.name] for q in wanted if q.kind is q.KEYWORD_ONLY}

    def update(p, g, *values):
        with ek.no_grad():
            optimizer.update_one(p, g, dict(zip(state, values, strict=True)), **keywords)
        return p + 0

    graph = ek.func.trace(update, p.detach().clone(), ek.ones_like(p), *[value.clone() for value in state.values()])
    assert len(graph.inputs) == 2 + len(state)
    assert len(graph.equations) > 2


def test_a_loaded_state_shares_no_memory_with_the_saved_one():
    params = leaves(start())
    optimizer = Adam(params)
    ours(optimizer, params, gradients(1))
    other = Adam(leaves(start()))
    other.load_state_dict(optimizer.state_dict())
    optimizer.state[params[0]]["exp_avg"].fill_(7)
    assert not (other.state_dict()["state"][0]["exp_avg"] == 7).any()


def test_text_keys_and_lists_as_json_makes_them_are_understood():
    params = leaves(start())
    optimizer = Adam(params)
    ours(optimizer, params, gradients(1))
    saved = optimizer.state_dict()
    saved["state"] = {str(key): value for key, value in saved["state"].items()}
    saved["param_groups"][0]["betas"] = [0.5, 0.6]
    fresh = Adam(params)
    fresh.load_state_dict(saved)
    assert fresh.param_groups[0]["betas"] == (0.5, 0.6)
    assert fresh.state_dict()["state"].keys() == {0, 2, 3}


def test_state_takes_the_parameters_dtype_and_the_counter_does_not():
    wide, narrow = leaves([np.ones(3)]), leaves([np.ones(3, np.float32)])
    optimizer = Adam(wide)
    run(optimizer, wide, [[np.ones(3)]], lambda g: ek.tensor(g, dtype=ek.float64))
    fresh = Adam(narrow)
    fresh.load_state_dict(optimizer.state_dict())
    state = fresh.state[narrow[0]]
    assert state["exp_avg"].dtype is ek.float32
    assert state["step"].item() == 1


WRONG_STATES = [
    ("no groups", lambda s: s.pop("param_groups"), "needs 'state' and 'param_groups'"),
    ("one group more", lambda s: s["param_groups"].append(s["param_groups"][0]), "2 parameter groups"),
    ("other parameters", lambda s: s["param_groups"][0].update(params=[0]), "1 parameters in the saved state"),
    ("a stray number", lambda s: s["state"].update({9: s["state"][0]}), "parameter 9"),
    ("another shape", lambda s: s["state"][0].update(exp_avg=ek.zeros(7)), "exp_avg of parameter 0 has shape"),
]


@pytest.mark.parametrize(("spoil", "message"), [row[1:] for row in WRONG_STATES], ids=[row[0] for row in WRONG_STATES])
def test_a_state_of_something_else_is_refused(spoil, message):
    params = leaves(start())
    optimizer = Adam(params)
    ours(optimizer, params, gradients(1))
    saved = optimizer.state_dict()
    spoil(saved)
    with pytest.raises(CheckpointError, match=message):
        Adam(params).load_state_dict(saved)


# ---------------------------------------------------------------------- groups


def test_groups_have_options_of_their_own():
    a, b = leaves([np.ones(2), np.ones(2)])
    optimizer = SGD([{"params": [a]}, {"params": b, "lr": 0.5, "name": "head"}], lr=0.1)
    run(optimizer, [a, b], [[np.ones(2), np.ones(2)]], ek.tensor)
    np.testing.assert_allclose(a.detach().numpy(), 0.9)
    np.testing.assert_allclose(b.detach().numpy(), 0.5)
    assert optimizer.param_groups[1]["name"] == "head"


def test_names_of_parameters_are_kept():
    a, b = leaves([np.ones(2), np.ones(2)])
    optimizer = SGD([("w", a), ("b", b)], lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["w", "b"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["w", "b"]


def test_zero_grad_forgets_or_fills():
    (p,) = leaves([np.ones(2)])
    optimizer = SGD([p])
    p.grad = ek.tensor(np.ones(2))
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None


def test_the_closure_records_gradients_and_its_loss_is_returned():
    (p,) = leaves([np.array([2.0])])
    optimizer = SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert p.item() == 1


def test_a_step_is_not_recorded():
    (p,) = leaves([np.ones(2)])
    optimizer = SGD([p], momentum=0.9)
    p.grad = ek.tensor(np.ones(2))
    optimizer.step()
    assert p.is_leaf
    assert p.requires_grad
    assert not optimizer.state[p]["momentum_buffer"].requires_grad


def test_hooks_run_around_the_step_until_removed():
    (p,) = leaves([np.ones(2)])
    optimizer, seen = SGD([p]), []
    before = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(o is optimizer))
    optimizer.step()
    before.remove()
    before.remove()
    optimizer.step()
    assert seen == ["before", True, True]


def test_an_optimizer_is_two_methods():
    class Sign(Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def init_one(self, p):
            return {"calls": ek.zeros(())}

        def update_one(self, p, g, state, *, lr):
            state["calls"].add_(1)
            p.add_(g.sign(), alpha=-lr)

    (p,) = leaves([np.array([1.0, -1.0])])
    optimizer = Sign([p])
    run(optimizer, [p], [[np.array([3.0, -2.0])]] * 2, ek.tensor)
    np.testing.assert_allclose(p.detach().numpy(), [0.8, -0.8])
    assert optimizer.state[p]["calls"].item() == 2


W, V = ek.ones(2, requires_grad=True), ek.ones(2, requires_grad=True)
BAD = [
    (lambda: SGD([W], lr=-1.0), "lr=-1.0 cannot be"),
    (lambda: SGD([W], lr=float("nan")), "lr=nan cannot be"),
    (lambda: SGD([W], lr="fast"), "lr='fast' cannot be"),
    (lambda: SGD([W], momentum=-0.1), "momentum=-0.1"),
    (lambda: SGD([W], nesterov=True), "nesterov needs a momentum"),
    (lambda: Adam([W], betas=(0.9, 1.0)), r"betas=\(0.9, 1.0\)"),
    (lambda: Adam([W], betas=(0.9,)), "two numbers"),
    (lambda: Adam([W], eps=-1), "eps=-1"),
    (lambda: ek.optim.Adagrad([W], lr_decay=-1), "lr_decay=-1"),
    (lambda: ek.optim.Adadelta([W], rho=2), "rho=2"),
    (lambda: ek.optim.Rprop([W], etas=(1.2, 0.5)), "etas="),
    (lambda: ek.optim.Adafactor([W], d=0.5), "d=0.5"),
    (lambda: ek.optim.Adafactor([W], beta2_decay=0.1), "beta2_decay=0.1"),
    (lambda: SGD([{"params": [W], "lr": -1}]), "lr=-1"),
    (lambda: SGD([{"params": [W], "weigth_decay": 1}]), "Did you mean 'weight_decay'"),
    (lambda: SGD([{"parms": [W]}]), "'params'"),
    (lambda: SGD([]), "no parameters"),
    (lambda: SGD(W), r"Write \[tensor\]"),
    (lambda: SGD(5), "got int"),
    (lambda: SGD({"w": W}), "got a dict"),
    (lambda: SGD([{"params": {W, V}}]), "a set"),
    (lambda: SGD([1.0]), "a float"),
    (lambda: SGD([W * 2]), "not a leaf"),
    (lambda: SGD([{"params": [W]}, {"params": [W]}]), "more than one parameter group"),
    (lambda: SGD([("w", W), V]), "or none"),
    (lambda: SGD([{"params": [W]}, {"params": [("v", V)]}]), "or none"),
    (lambda: SGD([{"params": [("w", W)]}, {"params": [V]}]), "or none"),
    (lambda: SGD([W], lr=ek.ones(2)), "one element"),
    (lambda: Adam([W], betas=(0.9, ek.tensor(0.9))), "all numbers or all Tensors"),
    (lambda: Adam([W], lr=ek.tensor(0.1), foreach=True), "lr as a Tensor"),
    (lambda: Adam([W], betas=(ek.tensor(0.9), ek.tensor(0.9)), foreach=True), "betas as a Tensor"),
    (lambda: Adam([W], fused=True, foreach=True), "cannot both"),
    (lambda: Adam([W], fused=True, differentiable=True), "cannot both"),
    (lambda: Adam([W], fused="yes"), "fused='yes'"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_is_refused_with_a_reason(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_switch_that_an_optimizer_lacks_is_no_argument():
    with pytest.raises(TypeError, match="unexpected keyword argument 'fused'"):
        ek.optim.RMSprop([W], fused=True)


def test_a_parameter_given_twice_is_warned_of():
    with pytest.warns(UserWarning, match="same parameter twice"):
        SGD([W, W])
