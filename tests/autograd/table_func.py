"""Scenarios of grad, vjp, jvp, vmap, Jacobians and Hessians, alone and nested. Written once for expkit and PyTorch."""

from tests.autograd.scenarios import Table, grid, raises, x64

scenario = Table()


def vec(m, *values):
    return x64(m, *values, grad=False)


def mat(m, *shape, start=0.5):
    return grid(m, *shape, grad=False, start=start) * 0.3


def cubic(x):
    return (x**3 + x.sin()).sum()


# ---- each alone ------------------------------------------------------------------------------------------------------


@scenario
def grad_of_a_scalar_function(m):
    x = vec(m, 1.0, 2.0)
    g = m.func.grad(cubic)(x)
    return [g, g.requires_grad, x.requires_grad]


@scenario
def grad_with_argnums(m):
    f = lambda a, b, c: (a * b**2).sum() * c  # noqa: E731
    a, b, c = vec(m, 1.0, 2.0), vec(m, 3.0, 4.0), m.tensor(0.5, dtype=m.float64)
    return [m.func.grad(f, argnums=1)(a, b, c), *m.func.grad(f, argnums=(0, 2))(a, b, c), m.func.grad(f, argnums=-1)(a, b, c)]


@scenario
def grad_with_aux_and_value(m):
    f = lambda x, scale: (cubic(x) * scale, {"twice": x * 2})  # noqa: E731
    x = vec(m, 1.0, 2.0)
    g, aux = m.func.grad(f, has_aux=True)(x, scale=2.0)
    again, (value, aux2) = m.func.grad_and_value(f, has_aux=True)(x, scale=2.0)
    plain, alone = m.func.grad_and_value(cubic)(x)
    return [g, aux, again, value, aux2, aux["twice"].requires_grad, plain, alone]


@scenario
def grad_of_a_tree(m):
    params = {"w": mat(m, 2, 3), "layers": [vec(m, 1.0, 2.0), vec(m, 3.0)]}
    f = lambda p: (p["w"].T @ p["layers"][0]).sum() * p["layers"][1].sum()  # noqa: E731
    return m.func.grad(f)(params)


@scenario
def grad_needs_a_scalar(m):
    x = vec(m, 1.0, 2.0)
    return [raises(lambda: m.func.grad(lambda v: v * 2)(x)), raises(lambda: m.func.grad(lambda v: 3.0)(x)),
            raises(lambda: m.func.grad(lambda v: (v.sum(), v))(x))]  # fmt: skip


@scenario
def grad_of_what_is_not_used(m):
    x, y = vec(m, 1.0, 2.0), vec(m, 3.0)
    return m.func.grad(lambda a, b: (a * a).sum(), argnums=(0, 1))(x, y)


@scenario
def grad_of_a_constant_function(m):
    return m.func.grad(lambda a: m.ones((), dtype=m.float64))(vec(m, 1.0))


@scenario
def vjp_with_several_outputs(m):
    f = lambda a, b: (a * b, {"s": a.sum()})  # noqa: E731
    out, pullback = m.func.vjp(f, vec(m, 1.0, 2.0), vec(m, 3.0, 4.0))
    first = pullback((vec(m, 1.0, 0.0), {"s": m.tensor(2.0, dtype=m.float64)}))
    second = pullback((vec(m, 0.0, 1.0), {"s": m.tensor(0.0, dtype=m.float64)}))
    return [out, first, second]


@scenario
def vjp_with_aux(m):
    out, pullback, aux = m.func.vjp(lambda a: (a * 2, a + 1), vec(m, 1.0, 2.0), has_aux=True)
    return [out, aux, pullback(vec(m, 1.0, 10.0))]


@scenario
def vjp_checks_its_cotangents(m):
    _, pullback = m.func.vjp(lambda a: a * 2, vec(m, 1.0, 2.0))
    return [raises(lambda: pullback(vec(m, 1.0))), raises(lambda: pullback((vec(m, 1.0, 2.0), vec(m, 1.0, 2.0))))]


@scenario
def jvp_with_several_outputs(m):
    f = lambda a, b: (a * b, {"s": a.exp().sum(), "constant": m.ones(2, dtype=m.float64)})  # noqa: E731
    primals, tangents = (vec(m, 1.0, 2.0), vec(m, 3.0, 4.0)), (vec(m, 1.0, 0.5), vec(m, -1.0, 2.0))
    return m.func.jvp(f, primals, tangents)


@scenario
def jvp_with_aux_and_trees(m):
    f = lambda p: (p["a"] * p["b"], p["a"])  # noqa: E731
    tree = {"a": vec(m, 1.0, 2.0), "b": vec(m, 3.0, 4.0)}
    return m.func.jvp(f, (tree,), (tree,), has_aux=True)


@scenario
def jvp_checks_its_arguments(m):
    x = vec(m, 1.0, 2.0)
    return [raises(lambda: m.func.jvp(cubic, x, x)), raises(lambda: m.func.jvp(cubic, (x,), (vec(m, 1.0),))),
            raises(lambda: m.func.jvp(cubic, (x,), (x, x))), raises(lambda: m.func.jvp(cubic, (), ()))]  # fmt: skip


@scenario
def detach_stops_tangents(m):
    x = vec(m, 1.0, 2.0)
    f = lambda v: v.detach() * v  # noqa: E731
    return [*m.func.jvp(f, (x,), (vec(m, 1.0, 1.0),)), m.func.jacfwd(f)(x), m.func.jacrev(f)(x)]


@scenario
def detach_stops_every_order(m):
    x = vec(m, 1.0, 2.0)
    f = lambda v: ((v * v).detach() * v).sum()  # noqa: E731
    return [m.func.hessian(f)(x), m.func.jacrev(m.func.jacrev(f))(x), m.func.grad(lambda v: m.func.grad(f)(v).sum())(x)]


# ---- Jacobians -------------------------------------------------------------------------------------------------------


@scenario
def jacobians_both_ways(m):
    x, w = vec(m, 0.5, 1.0, 2.0), mat(m, 2, 3)
    f = lambda v: (w @ v).tanh()  # noqa: E731
    return [m.func.jacrev(f)(x), m.func.jacfwd(f)(x)]


@scenario
def jacobians_of_matrices_and_scalars(m):
    x = mat(m, 2, 2)
    f = lambda a: (a @ a, a.sum(), a[0])  # noqa: E731
    return [m.func.jacrev(f)(x), m.func.jacfwd(f)(x), m.func.jacrev(lambda a: a * a)(m.tensor(3.0, dtype=m.float64))]


@scenario
def jacobians_with_argnums(m):
    f = lambda a, b: a * b.sum()  # noqa: E731
    a, b = vec(m, 1.0, 2.0), vec(m, 3.0, 4.0, 5.0)
    return [m.func.jacrev(f, argnums=1)(a, b), m.func.jacfwd(f, argnums=1)(a, b), *m.func.jacrev(f, argnums=(0, 1))(a, b),
            *m.func.jacfwd(f, argnums=(0, 1))(a, b)]  # fmt: skip


@scenario
def jacobian_of_a_dict(m):
    x = vec(m, 1.0, 2.0)
    return [m.func.jacrev(lambda v: {"square": v * v, "sum": v.sum()})(x), m.func.jacfwd(lambda v: {"square": v * v})(x)]


@scenario
def jacrev_in_chunks(m):
    x = vec(m, 1.0, 2.0, 3.0)
    return m.func.jacrev(lambda v: v.exp() * v.sum(), chunk_size=2)(x)


@scenario
def hessians(m):
    x = vec(m, 0.5, 1.0, 2.0)
    f = lambda v: (v.prod() + (v**3).sum()).exp().log() * v[0]  # noqa: E731
    twice = [m.func.jacrev(m.func.jacrev(f)), m.func.jacfwd(m.func.jacfwd(f)), m.func.jacrev(m.func.jacfwd(f))]
    return [m.func.hessian(f)(x), *(h(x) for h in twice)]


@scenario
def third_derivatives(m):
    x = vec(m, 0.5, 1.0)
    f = lambda v: (v.sin() * v.exp()).sum() * v[0]  # noqa: E731
    return [m.func.jacfwd(m.func.hessian(f))(x), m.func.jacrev(m.func.hessian(f))(x)]


# ---- nested ----------------------------------------------------------------------------------------------------------


@scenario
def grad_of_grad(m):
    x = m.tensor(0.7, dtype=m.float64)
    f = lambda v: v.sin() * v**2  # noqa: E731
    g = f
    found = []
    for _ in range(4):
        g = m.func.grad(g)
        found.append(g(x))
    return found


@scenario
def jvp_of_grad(m):
    x, t = vec(m, 1.0, 2.0), vec(m, 0.5, -1.0)
    return m.func.jvp(m.func.grad(cubic), (x,), (t,))


@scenario
def grad_of_jvp(m):
    x, t = vec(m, 1.0, 2.0), vec(m, 0.5, -1.0)
    f = lambda v, d: m.func.jvp(cubic, (v,), (d,))[1]  # noqa: E731
    return m.func.grad(f, argnums=(0, 1))(x, t)


@scenario
def jvp_of_jvp(m):
    x, t = vec(m, 1.0, 2.0), vec(m, 0.5, -1.0)
    f = lambda v: m.func.jvp(lambda u: u**3, (v,), (t,))[1]  # noqa: E731
    return m.func.jvp(f, (x,), (t,))


@scenario
def perturbations_are_not_confused(m):
    x = m.tensor(3.0, dtype=m.float64)
    inner = lambda v: m.func.jvp(lambda y: v * y, (m.tensor(1.0, dtype=m.float64),), (m.tensor(1.0, dtype=m.float64),))[1]  # noqa: E731
    f = lambda v: v * inner(v)  # noqa: E731
    g = lambda v: v * m.func.grad(lambda y: v * y)(m.tensor(1.0, dtype=m.float64))  # noqa: E731
    one = m.tensor(1.0, dtype=m.float64)
    return [m.func.jvp(f, (x,), (one,))[1], m.func.grad(f)(x), m.func.grad(g)(x), m.func.jvp(g, (x,), (one,))[1]]


@scenario
def per_sample_gradients(m):
    w, xs = {"a": mat(m, 3, 4), "b": mat(m, 4, start=0.1)}, mat(m, 5, 3, start=1.0)
    loss = lambda p, x: ((x @ p["a"]).tanh() @ p["b"]) ** 2  # noqa: E731
    return m.vmap(m.func.grad(loss), in_dims=(None, 0))(w, xs)


@scenario
def grad_through_vmap(m):
    w, xs = mat(m, 3), mat(m, 5, 3, start=1.0)
    f = lambda v: m.vmap(lambda x: (x * v).sum().tanh())(xs).sum()  # noqa: E731
    return [m.func.grad(f)(w), m.func.hessian(f)(w)]


@scenario
def jvp_through_vmap_and_vmap_of_jvp(m):
    xs, ts = mat(m, 4, 3), mat(m, 4, 3, start=1.0)
    f = m.vmap(lambda x: x.exp() * x.sum())
    one = m.vmap(lambda x, t: m.func.jvp(lambda v: v.exp() * v.sum(), (x,), (t,))[1])
    return [*m.func.jvp(f, (xs,), (ts,)), one(xs, ts)]


@scenario
def vmap_of_hessian(m):
    xs = mat(m, 4, 3)
    return m.vmap(m.func.hessian(lambda v: (v**3).sum() * v[0]))(xs)


@scenario
def vmap_of_vjp(m):
    xs, gs = mat(m, 4, 3), mat(m, 4, 3, start=2.0)

    def one(x, g):
        out, pullback = m.func.vjp(lambda v: v.sin() * v.sum(), x)
        return out, pullback(g)[0]

    return m.vmap(one)(xs, gs)


@scenario
def vmap_of_vmap(m):
    a, b = mat(m, 3, 2), mat(m, 4, 2, start=1.0)
    kernel = lambda x, y: (x - y).square().sum().neg().exp()  # noqa: E731
    return m.vmap(lambda x: m.vmap(lambda y: kernel(x, y))(b))(a)


@scenario
def five_deep(m):
    xs = mat(m, 3, 2)
    f = lambda v: (v**4).sum() * v[0]  # noqa: E731
    return m.vmap(m.func.jacfwd(m.func.jacrev(m.func.grad(f))))(xs)


@scenario
def ridge_regression_by_gradient_descent_inside_a_gradient(m):
    x, y = mat(m, 5, 2), mat(m, 5, start=1.0)

    def after_training(strength):
        w = m.zeros(2, dtype=m.float64)
        loss = lambda v: ((x @ v - y) ** 2).mean() + strength * (v * v).sum()  # noqa: E731
        for _ in range(3):
            w = w - 0.1 * m.func.grad(loss)(w)
        return loss(w)

    return m.func.grad(after_training)(m.tensor(0.3, dtype=m.float64))


# ---- beside the tape -------------------------------------------------------------------------------------------------


@scenario
def a_closure_over_a_tensor_that_requires_grad(m):
    w, x = x64(m, 3.0, 4.0), vec(m, 1.0, 2.0)
    g = m.func.grad(lambda v: (v**3 * w).sum())(x)
    (g * g).sum().backward()
    return [g, g.requires_grad, w.grad]


@scenario
def a_closure_under_vmap(m):
    w, xs = x64(m, 3.0, 4.0), mat(m, 5, 2)
    out = m.vmap(lambda x: (x * w).sum().exp())(xs)
    out.sum().backward()
    return [out, w.grad]


@scenario
def a_closure_under_jvp(m):
    w, x = x64(m, 3.0, 4.0), vec(m, 1.0, 2.0)
    value, slope = m.func.jvp(lambda v: (v**2 * w.exp()).sum(), (x,), (vec(m, 1.0, -1.0),))
    (value + slope * 2).backward()
    return [value, slope, w.grad]


@scenario
def arguments_that_require_grad(m):
    x = x64(m, 1.0, 2.0)
    g = m.func.grad(cubic)(x)
    g.sum().backward()
    y = x64(m, 1.0, 2.0)
    m.vmap(lambda v: v**3)(y).sum().backward()
    return [x.grad, y.grad]


@scenario
def a_jacobian_in_a_loss(m):
    w, x = grid(m, 2, 3), vec(m, 0.1, 0.2, 0.3)
    jac = m.func.jacrev(lambda v: (w @ v).tanh())(x)
    (jac**2).sum().backward()
    return w.grad


@scenario
def grad_under_no_grad(m):
    x = x64(m, 1.0, 2.0)
    with m.no_grad():
        g = m.func.grad(cubic)(x)
        _, slope = m.func.jvp(cubic, (x,), (x.detach(),))
    return [g, g.requires_grad, slope, slope.requires_grad]


@scenario
def no_grad_inside_grad(m):
    def f(v):
        with m.no_grad():
            c = v * v
        return (c * v).sum()

    x = vec(m, 1.0, 2.0)
    return [m.func.grad(f)(x), m.func.jvp(f, (x,), (vec(m, 1.0, 1.0),))[1]]


@scenario
def no_grad_inside_one_of_two_levels(m):
    def inner(v):
        with m.no_grad():
            c = v * v
        return (c * v).sum()

    x = vec(m, 1.0, 2.0)
    return m.func.grad(lambda v: m.func.grad(inner)(v).sum())(x)


# ---- in place --------------------------------------------------------------------------------------------------------


@scenario
def inplace_on_what_was_computed(m):
    def f(v):
        y = v * 2
        y.mul_(v)
        y[0] = v[1] * 3
        y += 1
        return (y**2).sum()

    x = vec(m, 1.0, 2.0, 3.0)
    return [m.func.grad(f)(x), m.func.hessian(f)(x), m.vmap(f)(mat(m, 4, 3)), m.vmap(m.func.grad(f))(mat(m, 4, 3)),
            m.func.jvp(f, (x,), (x,))]  # fmt: skip


@scenario
def inplace_on_what_was_made_inside(m):
    def f(v):
        y = m.zeros(3, dtype=m.float64)
        y[1:] = v
        y[0].add_(v.sum())
        return (y * y).sum()

    x = vec(m, 1.0, 2.0)
    return [m.func.grad(f)(x), m.func.jacfwd(lambda v: m.func.grad(f)(v))(x), m.func.jvp(f, (x,), (x,))]


@scenario
def the_argument_is_not_written(m):
    def f(v):
        y = v.clone()
        y.zero_()
        return (y * v).sum()

    x = vec(m, 1.0, 2.0)
    return [m.func.grad(f)(x), x]


# ---- vmap's arguments ------------------------------------------------------------------------------------------------


@scenario
def in_dims_and_out_dims(m):
    a, b = mat(m, 3, 4), mat(m, 4, 2, start=1.0)
    f = lambda x, y: (x[:2] * y[0], x.sum())  # noqa: E731
    return [m.vmap(f, in_dims=(1, 0))(a, b), m.vmap(f, in_dims=(-1, 0), out_dims=(1, 0))(a, b),
            m.vmap(lambda x: m.outer(x, x), out_dims=2)(a), m.vmap(lambda x: m.outer(x, x), out_dims=-2)(a)]  # fmt: skip


@scenario
def in_dims_as_trees(m):
    batch = {"x": mat(m, 3, 2), "scale": m.tensor(2.0, dtype=m.float64)}
    f = lambda d, k: d["x"] * d["scale"] + k  # noqa: E731
    return m.vmap(f, in_dims=({"x": 0, "scale": None}, None))(batch, 1.5)


@scenario
def unmapped_and_python_arguments(m):
    x = mat(m, 3, 2)
    return [m.vmap(lambda v, c: v * c, in_dims=(0, None))(x, 2.0), m.vmap(lambda v, *, c: v * c)(x, c=x.sum()),
            m.vmap(lambda v: v.sum() * 0 + m.ones(2, dtype=m.float64))(x), m.vmap(lambda v: m.ones(2, dtype=m.float64))(x)]  # fmt: skip


@scenario
def vmap_in_chunks(m):
    x = mat(m, 5, 2)
    return [m.vmap(lambda v: v.sum(), chunk_size=2)(x), m.vmap(lambda v: (v, v * 2), chunk_size=3, out_dims=(0, 1))(x)]


@scenario
def vmap_refuses(m):
    x = mat(m, 3, 2)
    return [
        raises(lambda: m.vmap(lambda a, b: a + b)(x, mat(m, 2, 2))),
        raises(lambda: m.vmap(lambda a: a, in_dims=2)(x)),
        raises(lambda: m.vmap(lambda a: a, in_dims=None)(x)),
        raises(lambda: m.vmap(lambda a: a)(m.tensor(1.0))),
        raises(lambda: m.vmap(lambda a, b: a, in_dims=(0,))(x, x)),
        raises(lambda: m.vmap(lambda a: a, in_dims=(0.5,))(x)),
        raises(lambda: m.vmap(lambda a: a, out_dims=(0, 1))(x)),
        raises(lambda: m.vmap(lambda a: a, out_dims=7)(x)),
        raises(lambda: m.vmap(lambda a: 3.0)(x)),
        raises(lambda: m.vmap(lambda a: a.sum().item())(x)),
        raises(lambda: m.vmap(lambda a: a if a.sum() > 0 else -a)(x)),
        raises(lambda: m.vmap(lambda a: a, randomness="often")(x)),
        raises(lambda: m.vmap(lambda a: a.nonzero())(x)),
        raises(lambda: m.vmap(lambda a: m.rand(2))(x)),
        raises(lambda: m.vmap(lambda a: a, chunk_size=0)(x)),
    ]


@scenario
def vmap_over_a_batch_of_nothing(m):
    return raises(lambda: m.vmap(lambda a: a * 2)(m.zeros(0, 2)))


@scenario
def writes_into_arguments(m):
    x, xs, y = vec(m, 1.0, 2.0), mat(m, 3, 2), vec(m, 1.0, 2.0)
    pushed = m.func.jvp(lambda v: v.mul_(2).sin(), (x,), (vec(m, 1.0, 1.0),))
    mapped = m.vmap(lambda v: v.add_(1) * v)(xs)
    return [*pushed, x, mapped, xs, raises(lambda: m.func.grad(lambda v: v.mul_(2).sum())(y)), y]
