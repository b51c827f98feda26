"""Steps in compiled functions: one equation for all parameters, and to the bit what an eager step gives."""

import numpy as np
import pytest

import expkit as ek
from expkit.averaging import AveragedModel, get_ema_multi_avg_fn
from expkit.errors import TraceError
from expkit.nn import BatchNorm1d, Linear, Sequential
from expkit.optim import SGD, Adam, AdamW, clip_grad_norm_, clip_grad_value_
from expkit.registry import build, lookup
from tests.optim.test_optimizers import IDS, ROWS

pytest.importorskip("llvmlite")
FUSIBLE = [pytest.param(*row, id=name) for row, name in zip(ROWS, IDS, strict=True) if lookup("optim", row[0]).fusible]
FUSIBLE += [pytest.param("lion", {}, id="lion"), pytest.param("lion", {"weight_decay": 0.1}, id="lion-weight_decay")]
SHAPES = [(3, 4), (5,), (2, 0), (40, 50), (33,), (1,)]


def leaves(dtype=np.float32, shapes=SHAPES):
    rng = np.random.default_rng(0)
    return [ek.from_numpy(rng.standard_normal(shape).astype(dtype)).requires_grad_() for shape in shapes]


def gradients(params, steps):
    rng = np.random.default_rng(1)
    return [[ek.from_numpy(rng.standard_normal(p.shape).astype(p.raw.dtype)) for p in params] for _ in range(steps)]


def stepping(optimizer, params, before=lambda: None):
    """A step whose gradients are its arguments; None for a parameter that has none."""

    def step(*given):
        optimizer.zero_grad()
        sum((p * g).sum().double() for p, g in zip(params, given, strict=True) if g is not None).backward()
        result = before()
        optimizer.step()
        return result

    return step


def everything(optimizer, params):
    state = [t for p in params for t in optimizer.state.get(p, {}).values()]
    return [t.detach().numpy().copy() for t in [*params, *state]]


def train(make, *, compiled, params=leaves, steps=10, missing=(), before=None):
    """(all parameters and state, the names of the program's primitives) after some steps of a schedule."""
    params = params()
    optimizer = make(params)
    step = stepping(optimizer, params, (lambda: before(params)) if before else (lambda: None))
    run = ek.compile(step, fullgraph=True) if compiled else step
    for given in gradients(params, steps):
        run(*(None if n in missing else g for n, g in enumerate(given)))
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
    return everything(optimizer, params), names(run) if compiled else []


def names(compiled, programs=1):
    """The primitives of the last of so many programs."""
    (entry,) = compiled.entries.values()
    assert len(entry.replays) == programs
    return [e.prim.name for e in entry.replays[-1].call.graph.equations]


def same(make, updates=1, **kw):
    """Compiled = eager, by so many equations."""
    want, _ = train(make, compiled=False, **kw)
    got, made = train(make, compiled=True, **kw)
    assert made.count("update") == updates
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
    return made


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize(("name", "options"), FUSIBLE)
def test_a_compiled_step_is_an_eager_one(name, options, dtype):
    same(lambda ps: build("optim", {"name": name, **options}, ps), params=lambda: leaves(dtype))


def test_the_graph_does_not_grow_with_the_parameters():
    few, many = (
        train(AdamW, compiled=True, params=lambda n=n: leaves(shapes=[(4, k) for k in range(1, n)]), steps=2)[1]
        for n in (6, 51)
    )
    assert few.count("update") == many.count("update") == 1
    assert len(many) / len(few) < 50 / 5 + 1  # what is left is the loss and its gradients


def test_groups_have_options_of_their_own():
    def make(params):
        return Adam(
            [{"params": params[:2], "lr": 0.1}, {"params": params[2:], "weight_decay": 0.1, "betas": (0.8, 0.9)}]
        )

    same(make, updates=2)


def test_dtypes_that_are_mixed_take_an_equation_each():
    same(Adam, updates=2, params=lambda: [*leaves(), *leaves(np.float64)])


def test_parameters_without_a_gradient_stay():
    same(Adam, missing=(1, 3))
    got, _ = train(Adam, compiled=True, missing=(1, 3))
    np.testing.assert_array_equal(got[1], leaves()[1].detach().numpy())


def test_what_no_rule_is_for_is_traced_by_itself():
    want, _ = train(Adam, compiled=False, params=lambda: leaves(shapes=[(), (3,), ()]))
    got, made = train(Adam, compiled=True, params=lambda: leaves(shapes=[(), (3,), ()]))
    assert made.count("update") == 1
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("options", [{"maximize": True}, {"amsgrad": True}, {"weight_decay": 0.1}], ids=str)
def test_options_of_adam(options):
    same(lambda ps: Adam(ps, lr=0.1, **options))


def test_an_option_that_turns_zero_makes_another_program():
    params = leaves()
    optimizer = SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1)
    step = ek.compile(stepping(optimizer, params), fullgraph=True)
    for number, given in enumerate(gradients(params, 6)):
        optimizer.param_groups[0]["weight_decay"] = 0.1 if number < 3 else 0.0
        step(*given)
    (entry,) = step.entries.values()
    assert len(entry.replays) == 2


def _new_moment(optimizer, params):
    optimizer.state[params[0]]["exp_avg"] = ek.ones_like(params[0])


def _new_step(optimizer, params):
    optimizer.state[params[3]]["step"] = ek.tensor(40.0, dtype=ek.float64)


def _new_group(optimizer, params):
    params += leaves(shapes=[(6, 6)])
    optimizer.add_param_group({"params": params[-1:], "lr": 0.3})


def _other_parameter(optimizer, params):
    params[1] = ek.ones(5).requires_grad_()
    optimizer.param_groups[0]["params"][1] = params[1]


def _maximize(optimizer, params):
    optimizer.param_groups[0]["maximize"] = True


def _memory(optimizer, params):
    params[0].data = ek.zeros(3, 4)
    optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("change", [_new_moment, _new_step, _new_group, _other_parameter, _maximize, _memory])
def test_what_changes_between_steps_is_noticed(change):
    results = []
    for compiled in (False, True):
        params = leaves()
        optimizer = Adam(params, lr=0.1)
        step = stepping(optimizer, params)
        run = ek.compile(step, fullgraph=True) if compiled else step
        for number in range(6):
            run(*gradients(params, 6)[number])
            if number == 3:
                change(optimizer, params)
        results.append(everything(optimizer, params))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_options_that_are_tensors():
    results = []
    for compiled in (False, True):
        params, rate, beta = leaves(), ek.tensor(0.1), ek.tensor(0.9)
        optimizer = Adam(params, lr=rate, betas=(beta, ek.tensor(0.99)))
        step = stepping(optimizer, params)
        run = ek.compile(step, fullgraph=True) if compiled else step
        for given in gradients(params, 5):
            run(*given)
            rate.mul_(0.5)
            beta.mul_(0.9)
        results.append(everything(optimizer, params))
    assert names(run).count("update") == 1
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_that_overlap_are_refused():
    def overlapping():
        base = np.arange(20, dtype=np.float32)
        return [ek.from_numpy(base[:12]).requires_grad_(), ek.from_numpy(base[8:]).requires_grad_()]

    with pytest.raises(TraceError, match="share memory"):
        train(lambda ps: SGD(ps, lr=0.1), compiled=True, params=overlapping, steps=2)


def test_a_gradient_that_is_another_parameter_is_read_in_turn():
    results = []
    for compiled in (False, True):
        a, b = (x.requires_grad_() for x in (ek.ones(4), ek.ones(4)))
        optimizer = SGD([a, b], lr=0.5)

        def step(a=a, b=b, optimizer=optimizer):
            a.grad, b.grad = ek.ones(4), a.detach()
            optimizer.step()

        run = ek.compile(step, fullgraph=True) if compiled else step
        for _ in range(4):
            run()
        results.append([a.tolist(), b.tolist()])
    assert results[0] == results[1]


def test_two_steps_in_one_program():
    results = []
    for compiled in (False, True):
        params = leaves()
        optimizer = Adam(params, lr=0.1)
        once = stepping(optimizer, params)

        def twice(*given, once=once):
            once(*given)
            once(*given)

        run = ek.compile(twice, fullgraph=True) if compiled else twice
        for given in gradients(params, 4):
            run(*given)
        results.append(everything(optimizer, params))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("missing", [(), (1,)], ids=["all", "one without"])
def test_gradients_that_are_set_to_zero(missing):
    results = []
    for compiled in (False, True):
        params = leaves()
        optimizer = Adam(params)

        def step(*given, params=params, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=False)
            sum(
                (p * g).sum() for n, (p, g) in enumerate(zip(params, given, strict=True)) if n not in missing
            ).backward()
            optimizer.step()

        run = ek.compile(step, fullgraph=True) if compiled else step
        for number, given in enumerate(gradients(params, 5)):
            run(*given)
            if not number:
                params[1].grad = ek.ones(5)
            elif number == 3:
                held = params[0].grad
        assert held.tolist() == params[0].grad.tolist() == given[0].tolist()
        results.append([*everything(optimizer, params), *(p.grad.numpy() for p in params)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- clipping --------------------------------------------------------------------------------------------------------

CLIPS = {
    "norm": lambda ps: clip_grad_norm_(ps, 1.0),
    "a norm that is never reached": lambda ps: clip_grad_norm_(ps, 1e9),
    "value": lambda ps: clip_grad_value_(ps, 0.3),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("clip", CLIPS)
def test_clipping(clip, dtype):
    made = same(lambda ps: SGD(ps, lr=0.1), updates=2, params=lambda: leaves(dtype), before=CLIPS[clip])
    assert made.count("sum_all") <= 1


def test_the_norm_is_a_result():
    params = leaves()
    step = stepping(SGD(params, lr=0.0), params, lambda: clip_grad_norm_(params, 1.0))
    run = ek.compile(step, fullgraph=True)
    for given in gradients(params, 4):
        assert run(*given).item() == step(*given).item()


def test_a_program_cannot_ask_whether_the_norm_is_finite():
    params = leaves()
    run = ek.compile(
        stepping(SGD(params), params, lambda: clip_grad_norm_(params, 1.0, error_if_nonfinite=True)), fullgraph=True
    )
    first, second = gradients(params, 2)
    run(*first)
    with pytest.raises(TraceError, match="error_if_nonfinite"):
        run(*second)


# ---- running means ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [None, get_ema_multi_avg_fn(0.9)], ids=["swa", "ema"])
@pytest.mark.parametrize("use_buffers", [False, True])
def test_running_means(average, use_buffers):
    results = []
    for compiled in (False, True):
        ek.manual_seed(0)
        model = Sequential(Linear(5, 40), BatchNorm1d(40), Linear(40, 3))
        mean = AveragedModel(model, multi_avg_fn=average, use_buffers=use_buffers)
        optimizer = SGD(model.parameters(), lr=0.1)

        def step(x, model=model, mean=mean, optimizer=optimizer):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            mean.update_parameters(model)

        run = ek.compile(step, fullgraph=True) if compiled else step
        for k in range(5):
            run(ek.from_numpy(np.random.default_rng(k).standard_normal((8, 5)).astype(np.float32)))
        results.append({name: t.numpy() for name, t in mean.state_dict().items()})
    assert names(run, programs=2).count("update") == 2  # the first program takes the weights as they are
    for name, want in results[0].items():
        np.testing.assert_allclose(results[1][name], want, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_first_weights_are_the_mean_of_a_program_too():
    model = Linear(3, 2)
    mean = AveragedModel(model)
    run = ek.compile(lambda: mean.update_parameters(model), fullgraph=True)
    for _ in range(3):
        with ek.no_grad():
            mean.n_averaged.zero_()
            model.weight.add_(1)
        run()
        np.testing.assert_array_equal(mean.module.weight.detach().numpy(), model.weight.detach().numpy())
