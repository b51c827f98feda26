"""Scenarios of in-place writes: version counters, views of views, siblings, detached and no_grad views. Written once for expkit and PyTorch."""

from tests.autograd.scenarios import Table, grid, raises, x64

scenario = Table()


# ---- a value that backward needs is overwritten ----------------------------------------------------------------------


@scenario
def a_needed_input_is_overwritten(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    z = (y * y).sum()
    y.add_(1.0)
    return raises(z.backward)


@scenario
def a_needed_result_is_overwritten(m):
    x = x64(m, 1.0, 2.0)
    y = x.exp()
    z = y.sum()
    y.add_(1.0)
    return raises(z.backward)


@scenario
def an_input_that_is_not_needed_is_overwritten(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    z = (y + 1).sum()
    y.mul_(5.0)
    z.backward()
    return x.grad


@scenario
def a_result_that_is_not_needed_is_overwritten(m):
    x = x64(m, 1.0, 2.0)
    y = x * 3
    z = y.sum()
    y.zero_()
    z.backward()
    return x.grad


@scenario
def a_constant_factor_is_overwritten(m):
    x, c = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0, grad=False)
    y = (x * c).sum()
    c.add_(1.0)
    return raises(y.backward)


@scenario
def a_constant_whose_value_is_not_needed_is_overwritten(m):
    x, c = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0, grad=False)
    y = (x + c).sum()
    c.add_(1.0)
    y.backward()
    return x.grad


@scenario
def only_the_factor_that_is_needed_counts(m):
    x, c = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0, grad=False)
    y = x * 2
    z = (y * c).sum()
    y.add_(1.0)
    z.backward()
    return x.grad


@scenario
def overwritten_through_a_view(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    z = (y * y).sum()
    y[0] = 7.0
    return raises(z.backward)


@scenario
def the_view_was_needed_and_the_base_is_overwritten(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    v = y[0]
    z = v * v
    y.mul_(2.0)
    return raises(z.backward)


@scenario
def a_sibling_view_is_overwritten(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    v, w = y[:1], y[1:]
    z = (v * v).sum()
    w.mul_(2.0)
    return raises(z.backward)


@scenario
def overwritten_through_detach(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    z = (y * y).sum()
    y.detach().zero_()
    return raises(z.backward)


@scenario
def overwritten_through_a_view_of_a_detached_view(m):
    x = x64(m, 1.0, 2.0)
    y = x.exp()
    z = y.sum()
    y.detach()[0].zero_()
    return raises(z.backward)


@scenario
def overwritten_under_no_grad(m):
    x = x64(m, 1.0, 2.0)
    y = (x * x).sum()
    with m.no_grad():
        x.add_(1.0)
    return raises(y.backward)


@scenario
def overwritten_between_two_backwards(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    z = (y * y).sum()
    z.backward(retain_graph=True)
    y.zero_()
    return [x.grad, raises(z.backward)]


@scenario
def written_before_it_is_used(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    y.add_(1.0)
    (y * y).sum().backward()
    return x.grad


@scenario
def an_optimizer_step_between_forward_passes(m):
    w = x64(m, 1.0, 2.0)
    grads = []
    for _ in range(3):
        (w * w * w).sum().backward()
        with m.no_grad():
            w -= 0.1 * w.grad
        grads.append(w.grad.clone())
        w.grad = None
    return [grads, w]


@scenario
def an_index_is_overwritten(m):
    x, i = x64(m, 1.0, 2.0), m.tensor([0, 0])
    y = x[i].sum()
    i.fill_(1)
    return raises(y.backward)


@scenario
def a_mask_is_overwritten(m):
    x, c = x64(m, 1.0, 2.0), m.tensor([True, False])
    y = m.where(c, x * 2, x).sum()
    c.fill_(False)
    return raises(y.backward)


# ---- in-place operations are differentiated --------------------------------------------------------------------------


@scenario
def arithmetic(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    y = x * 2
    y += w
    y *= w
    y -= 1.0
    y /= w
    y **= 2
    y.sum().backward()
    return [y, x.grad, w.grad]


@scenario
def a_factor_of_what_is_overwritten_gets_its_gradient(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    y = x * 1
    y.mul_(w)
    y.div_(w)
    y.sum().backward()
    return [x.grad, w.grad]


@scenario
def a_constant_starts_to_require_grad(m):
    x, y = x64(m, 1.0, 2.0), m.ones(2, dtype=m.float64)
    y.mul_(x)
    y.add_(x)
    (y * 3).sum().backward()
    return [y.requires_grad, y.is_leaf, x.grad]


@scenario
def a_tensor_times_itself(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    y.add_(y)
    z = y.sum()
    z.backward()
    y = x * 2
    y.mul_(y)
    return [x.grad, raises(lambda: y.sum().backward())]


@scenario
def elementwise_functions(m):
    x = x64(m, 0.3, 0.6)
    y = x * 1
    y.square_().sin_().cos_().neg_().abs_().clamp_(0.1, 0.9).log_().atan_().exp_()
    y.sum().backward()
    return [y, x.grad]


@scenario
def a_result_needed_by_its_own_function(m):
    x = x64(m, 1.0, 2.0)
    y = x * 1
    y.exp_()
    y.add_(1.0)
    return raises(lambda: y.sum().backward())


@scenario
def zero_fill_and_copy(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    y = x * 2
    y.zero_()
    z = x * 3
    z.copy_(w)
    v = x * 4
    v.fill_(7.0)
    out = (y + z * w + v).sum()
    out.backward()
    return [y.requires_grad, v.requires_grad, x.grad, w.grad]


@scenario
def a_copy_of_a_leaf_is_no_leaf(m):
    w = x64(m, 3.0, 4.0)
    y = m.zeros(2, dtype=m.float64)
    y.copy_(w)
    y.mul_(2.0)
    y.sum().backward()
    return [y.is_leaf, w.grad, w.requires_grad]


@scenario
def a_copy_and_its_source_go_different_ways(m):
    x = x64(m, 1.0, 2.0)
    source = x.exp()
    y = m.zeros(2, dtype=m.float64)
    y.copy_(source)
    y.add_(1.0)
    (y * source).sum().backward()
    return x.grad


@scenario
def copy_broadcasts_and_converts(m):
    w = m.tensor([2.0], dtype=m.float32, requires_grad=True)
    y = m.zeros(2, 3, dtype=m.float64)
    y.copy_(w)
    (y * 3).sum().backward()
    return [y, w.grad]


@scenario
def masked_and_indexed(m):
    x, w = grid(m, 4), grid(m, 2, start=3.0)
    y = x * 2
    y.masked_fill_(m.tensor([True, False, False, True]), 5.0)
    y.index_add_(0, m.tensor([1, 1]), w)
    y.scatter_(0, m.tensor([2]), w[:1] * 10)
    (y * y).sum().backward()
    return [y, x.grad, w.grad]


@scenario
def fused_updates(m):
    x, a, b = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0), x64(m, 5.0, 6.0)
    y = x * 2
    y.addcmul_(a, b, value=0.5)
    y.addcdiv_(a, b, value=2.0)
    y.lerp_(a, 0.25)
    y.sum().backward()
    return [y, x.grad, a.grad, b.grad]


# ---- leaves ----------------------------------------------------------------------------------------------------------


@scenario
def leaves_are_protected(m):
    x = x64(m, 1.0, 2.0)
    return [raises(lambda: x.add_(1.0)), raises(lambda: x[0].zero_()), raises(lambda: x.view(1, 2).mul_(2.0)),
            raises(lambda: x.__setitem__(0, 1.0)), raises(lambda: x.exp_()), x]  # fmt: skip


@scenario
def leaves_may_be_written_without_recording(m):
    x = x64(m, 1.0, 2.0)
    with m.no_grad():
        x.add_(1.0)
        x[0] = 9.0
        x.view(1, 2).mul_(2.0)
    x.detach().add_(1.0)
    x.data.mul_(3.0)
    x.detach()[0].sub_(1.0)
    return [x, x.is_leaf, x.requires_grad]


@scenario
def leaves_that_need_no_gradient_may_be_written(m):
    x, w = x64(m, 1.0, 2.0, grad=False), x64(m, 3.0, 4.0)
    x.add_(1.0)
    x[0] = 5.0
    x.mul_(w)
    return [x, x.requires_grad]


@scenario
def data_can_be_replaced(m):
    x = x64(m, 1.0, 2.0)
    x.data = m.tensor([3.0, 4.0], dtype=m.float64)
    (x * x).sum().backward()
    return [x, x.is_leaf, x.grad]


# ---- through views ---------------------------------------------------------------------------------------------------


@scenario
def setitem(m):
    x, w = grid(m, 3, 2), grid(m, 2, start=4.0)
    y = x * 2
    y[1] = w
    y[:, 0] = w.sum()
    y[2, 1] = 5.0
    (y * y).sum().backward()
    return [y, x.grad, w.grad]


@scenario
def setitem_into_a_constant(m):
    w = grid(m, 2)
    y = m.zeros(3, 2, dtype=m.float64)
    y[1] = w * 2
    y[0] = y[1].clone() * 3
    y.sum().backward()
    return [y.requires_grad, w.grad]


@scenario
def setitem_with_indices_and_masks(m):
    x, w = grid(m, 4, 3), grid(m, 2, 3, start=5.0)
    y = x * 1
    y[m.tensor([3, 0])] = w
    y[:, m.tensor([1])] = w.mean()
    y[m.tensor([[True, False, False]] * 4)] = 2.0
    (y**2).sum().backward()
    return [y, x.grad, w.grad]


@scenario
def a_chain_of_views(m):
    x, w = grid(m, 2, 3, 2), grid(m, 2, start=3.0)
    y = x * 2
    y.transpose(0, 2)[:, 1:].reshape(2, 2, 2)
    v = y.view(2, 6)[:, ::2].unsqueeze(0)[0]
    v.mul_(3.0)
    y.transpose(0, 1)[1].mul_(w)
    (y * y).sum().backward()
    return [y, x.grad, w.grad]


@scenario
def the_view_follows_its_base(m):
    x, w = grid(m, 2, 3), grid(m, 3, start=2.0)
    y = x * 2
    v = y[0]
    y.mul_(w)
    (v * v).sum().backward()
    return [v, x.grad, w.grad]


@scenario
def the_base_follows_its_view(m):
    x, w = grid(m, 2, 3), grid(m, 3, start=2.0)
    y = x * 2
    y[0].mul_(w)
    (y * y).sum().backward()
    return [y, x.grad, w.grad]


@scenario
def a_sibling_follows(m):
    x, w = grid(m, 2, 3), grid(m, 3, start=2.0)
    y = x * 2
    a, b = y.t(), y.view(6)
    a[0].mul_(5.0)
    b[2:5] *= w
    ((a * a).sum() + b.exp().sum()).backward()
    return [a, b, x.grad, w.grad]


@scenario
def overlapping_views_written_in_turn(m):
    x = grid(m, 4)
    y = x * 1
    a, b = y[:3], y[1:]
    a.mul_(2.0)
    b.mul_(3.0)
    a.add_(b.clone())
    (y * y).sum().backward()
    return [y, x.grad]


@scenario
def diagonal_is_a_view(m):
    x, w = grid(m, 3, 3), grid(m, 3, start=4.0)
    y = x * 1
    y.diagonal().mul_(w)
    (y**2).sum().backward()
    return [y, x.grad, w.grad]


@scenario
def a_view_that_requires_grad_before_its_base_does(m):
    base = m.zeros(2, 2, dtype=m.float64)
    w = grid(m, 2)
    v = base[0]
    v.add_(w)
    (base**2).sum().backward()
    return [base.requires_grad, base, w.grad]


@scenario
def a_detached_view_has_a_history_of_its_own(m):
    x, w = grid(m, 2), grid(m, 2, start=3.0)
    y = x * 2
    d = y.detach()
    d.mul_(w)
    d.sum().backward()
    return [y, y.requires_grad, x.grad, w.grad]


@scenario
def a_view_of_a_detached_leaf(m):
    x, w = grid(m, 2, 2), grid(m, 2, start=3.0)
    d = x.detach()
    d[0].mul_(w)
    d.sum().backward()
    (x * 2).sum().backward()
    return [x.is_leaf, x, x.grad, w.grad]


@scenario
def views_made_under_no_grad(m):
    base, w = m.zeros(2, 2, dtype=m.float64), grid(m, 2)
    with m.no_grad():
        v = base[0]
    v.add_(1.0)
    return [base, raises(lambda: v.mul_(w)), raises(lambda: v.requires_grad_().mul_(2.0))]


@scenario
def views_of_a_leaf_made_under_no_grad(m):
    x = grid(m, 2, 2)
    with m.no_grad():
        v = x[0]
    first = raises(v.zero_)
    with m.no_grad():
        v.zero_()
    return [x, first]


@scenario
def written_under_no_grad_through_a_recorded_view(m):
    x = grid(m, 2, 2)
    y = x * 2
    v = y[0]
    with m.no_grad():
        v.fill_(5.0)
    (y * 3).sum().backward()
    return [y, x.grad]


@scenario
def expanded_tensors_refuse_writes(m):
    y = m.zeros(3, dtype=m.float64).expand(2, 3)
    return [raises(lambda: y.add_(1.0)), raises(lambda: y.copy_(m.ones(2, 3)))]


@scenario
def what_does_not_fit_is_refused(m):
    y, n = m.zeros(3, dtype=m.float64), m.zeros(3, dtype=m.int64)
    return [
        raises(lambda: y.add_(m.zeros(2, 3, dtype=m.float64))),
        raises(lambda: y.add_(m.zeros(4, dtype=m.float64))),
        raises(lambda: n.add_(1.5)),
        raises(lambda: n.mul_(m.ones(3))),
        raises(lambda: n.div_(2)),
        raises(lambda: y.copy_(m.zeros(4))),
        raises(lambda: m.zeros(3, dtype=m.bool).add_(1)),
        raises(lambda: m.zeros(3, dtype=m.float32).add_(m.ones(3, dtype=m.float64))),
        raises(lambda: y.fill_(m.ones(2))),
    ]


@scenario
def create_graph_through_inplace(m):
    x, w = grid(m, 3), grid(m, 3, start=2.0)
    y = x * x
    y[1:].mul_(w[1:])
    y.mul_(x)
    (g,) = m.autograd.grad(y.sum(), x, create_graph=True)
    (g * g).sum().backward()
    return [g, x.grad, w.grad]


@scenario
def hooks_follow_the_tensor_before_the_write(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.clone()))
    y.mul_(3.0)
    (y * 5).sum().backward()
    return [seen, x.grad]
