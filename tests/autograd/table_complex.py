"""Complex numbers under transforms, hooks, Functions and products with Jacobians. Written once for expkit and PyTorch."""

from tests.autograd.scenarios import Table, raises

scenario = Table()


def z(m, grad=False):
    return m.tensor([1 + 2j, 0.5 - 1j], dtype=m.complex128, requires_grad=grad)


def real(m):
    return m.tensor([1.0, 2.0], dtype=m.float64)


@scenario
def transforms(m):
    v = z(m)
    cube = lambda u: (u * u * u).abs()  # noqa: E731
    return [m.func.grad(lambda u: cube(u).sum())(v), m.func.vjp(lambda u: u * u, v)[1](v)[0],
            *m.func.jvp(lambda u: u * u.conj(), (v,), (v,)), m.vmap(m.func.grad(cube))(v),
            *m.func.jvp(m.func.grad(lambda u: cube(u).sum()), (v,), (v * 1j,)),
            m.func.grad(lambda u: m.func.grad(lambda w: (w * w * w).real.sum())(u).abs().sum())(v)]  # fmt: skip


@scenario
def jacobians_are_of_real_functions(m):
    calls = [lambda: m.func.jacrev(lambda u: u * u)(z(m)), lambda: m.func.jacfwd(lambda u: u * (1 + 1j))(real(m)),
             lambda: m.func.jacrev(lambda u: u.abs())(z(m)), lambda: m.func.hessian(lambda u: u.abs().sum())(z(m)),
             lambda: m.autograd.functional.jacobian(lambda u: u * u, z(m))]  # fmt: skip
    return [*map(raises, calls), m.autograd.functional.jacobian(lambda u: u.abs(), z(m))]


@scenario
def products_with_jacobians(m):
    f = m.autograd.functional
    return [*f.vjp(lambda u: u * u, z(m), z(m)), *f.jvp(lambda u: u * u, z(m), z(m)),
            *f.jvp(lambda u: u * u.conj(), z(m), z(m))]  # fmt: skip


@scenario
def functions_of_ones_own(m):
    class Square(m.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0].conj()

    slope = m.func.grad(lambda u: Square.apply(u).abs())
    return [m.func.grad(lambda u: Square.apply(u).abs().sum())(z(m)), m.vmap(slope)(z(m))]


@scenario
def hooks(m):
    v, seen = z(m, grad=True), []
    y = v * v
    y.retain_grad()
    y.register_hook(lambda g: seen.append(g.clone()))
    y.grad_fn.register_hook(lambda ins, outs: seen.extend([ins[0].clone(), outs[0].clone()]))
    y.grad_fn.register_prehook(lambda outs: (outs[0] * 2j,))
    (y * (1 + 1j)).real.sum().backward()
    return [y.grad, v.grad, *seen]


@scenario
def gradients_of_intermediate_values_and_batches(m):
    v = z(m, grad=True)
    y = v * v
    seeds = m.stack([z(m), z(m) * 1j])
    return [*m.autograd.grad((y * y).real.sum(), [y, v], create_graph=True),
            *m.autograd.grad(y, v, seeds, is_grads_batched=True, retain_graph=True),
            raises(lambda: y.sum().backward())]  # fmt: skip
