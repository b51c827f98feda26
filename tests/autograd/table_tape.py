"""Scenarios of the tape: accumulation, freeing, hooks, retained gradients, modes, several outputs. Written once for expkit and PyTorch."""

from tests.autograd.scenarios import Table, grid, raises, x64

scenario = Table()


@scenario
def gradients_add_up(m):
    x = x64(m, 1.0, 2.0)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    return x.grad


@scenario
def a_tensor_used_many_times(m):
    x = x64(m, 1.0, 2.0)
    y = x * x
    (y * x + y / x + x.exp() + y.sum() * x).sum().backward()
    return x.grad


@scenario
def second_backward_needs_retain_graph(m):
    x = x64(m, 1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return [x.grad, raises(y.backward)]


@scenario
def second_backward_is_fine_where_nothing_was_saved(m):
    x = x64(m, 1.0, 2.0)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    return x.grad


@scenario
def part_of_a_freed_graph(m):
    x = x64(m, 1.0, 2.0)
    y = x.exp()
    y.sum().backward()
    return [raises(lambda: (y * 2).sum().backward()), x.grad]


@scenario
def backward_from_a_vector_needs_a_gradient(m):
    x = x64(m, 1.0, 2.0)
    y = x * x
    first = raises(y.backward)
    y.backward(m.tensor([1.0, 10.0], dtype=m.float64))
    return [first, x.grad, raises(lambda: (x * x).backward(m.ones(3, dtype=m.float64)))]


@scenario
def backward_without_requires_grad(m):
    return [raises(m.ones(1).backward), raises(lambda: m.autograd.grad(m.ones(()), m.ones(())))]


@scenario
def one_element_of_any_rank_is_a_scalar(m):
    x = x64(m, 3.0)
    (x * x).reshape(1, 1).backward()
    return x.grad


@scenario
def several_roots(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    a, b = (x * w).sum(), (x.exp() * w).sum()
    m.autograd.backward([a, b], [m.tensor(2.0, dtype=m.float64), None])
    return [x.grad, w.grad]


@scenario
def the_same_root_twice(m):
    x = x64(m, 1.0, 2.0)
    y = (x * x).sum()
    return m.autograd.grad([y, y], x)


@scenario
def grad_does_not_touch_dot_grad(m):
    x = x64(m, 1.0, 2.0)
    (g,) = m.autograd.grad((x**3).sum(), x)
    return [g, x.grad, g.requires_grad]


@scenario
def grad_of_intermediates_and_leaves(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    h = (x * w).exp()
    k = (h * 2).tanh()
    return m.autograd.grad((k * w).sum(), [x, h, w, k])


@scenario
def a_target_behind_another_target(m):
    x = x64(m, 1.0, 2.0)
    a = x.sin()
    b = (a * 2).exp()
    c = b * 3
    return m.autograd.grad(c.sum(), [b, x])


@scenario
def root_is_its_own_target(m):
    x = x64(m, 1.0, 2.0)
    y = (x * x).sum()
    return m.autograd.grad(y, [y, x])


@scenario
def unused_inputs(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0)
    y = (x * x).sum()
    first = raises(lambda: m.autograd.grad(y, [x, w], retain_graph=True))
    allowed = m.autograd.grad(y, [x, w], allow_unused=True, retain_graph=True)
    zeros = m.autograd.grad(y, [x, w], materialize_grads=True)
    return [first, *allowed, *zeros, raises(lambda: m.autograd.grad(y, x, allow_unused=False, materialize_grads=True))]


@scenario
def backward_for_some_inputs_only(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    y = x * w
    z = (y.exp() * w).sum()
    z.backward(inputs=[w])
    return [x.grad, w.grad]


@scenario
def zero_dimensional_and_empty(m):
    x, e = m.tensor(3.0, dtype=m.float64, requires_grad=True), m.zeros(0, 3, dtype=m.float64, requires_grad=True)
    (x * x + (e * 2).sum()).backward()
    return [x.grad, e.grad]


@scenario
def broadcasting_is_undone(m):
    x, w, s = grid(m, 2, 3), grid(m, 3), m.tensor(2.0, dtype=m.float64, requires_grad=True)
    c = grid(m, 2, 1)
    ((x * w + s) / c).sum().backward()
    return [x.grad, w.grad, s.grad, c.grad]


@scenario
def mixed_dtypes(m):
    x = m.tensor([1.0, 2.0], dtype=m.float32, requires_grad=True)
    w = m.tensor([3.0, 4.0], dtype=m.float64, requires_grad=True)
    y = x * w + m.tensor([1, 2])
    y.sum().backward()
    return [y, x.grad, w.grad]


@scenario
def a_round_trip_through_another_dtype(m):
    x = x64(m, 1.0, 2.0)
    (x.to(m.float32) * 3).to(m.float64).sum().backward()
    return [x.grad, x.to(m.int64).requires_grad]


@scenario
def integers_cannot_require_grad(m):
    return [raises(lambda: m.tensor([1, 2], requires_grad=True)), raises(lambda: m.tensor([1]).requires_grad_()),
            raises(lambda: m.tensor([True]).requires_grad_())]  # fmt: skip


# ---- leaves and flags ------------------------------------------------------------------------------------------------


@scenario
def leaf_flags(m):
    x = x64(m, 1.0)
    y = x * 2
    z = y.detach()
    return [x.is_leaf, y.is_leaf, z.is_leaf, x.requires_grad, y.requires_grad, z.requires_grad, x.grad_fn is None,
            y.grad_fn is None, z.grad_fn is None, (z * 2).is_leaf]  # fmt: skip


@scenario
def requires_grad_of_non_leaves(m):
    y = x64(m, 1.0) * 2
    y.requires_grad_(True)
    return [y.requires_grad, raises(lambda: y.requires_grad_(False))]


@scenario
def requires_grad_switched_off_and_on(m):
    x = x64(m, 1.0, 2.0)
    x.requires_grad_(False)
    y = x * 2
    x.requires_grad = True
    (x * 3).sum().backward()
    return [y.requires_grad, x.grad]


@scenario
def detach_cuts(m):
    x = x64(m, 1.0, 2.0)
    (x * x.detach()).sum().backward()
    return x.grad


@scenario
def detach_in_place(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    y.detach_()
    return [y.requires_grad, y.is_leaf, raises(lambda: (x * 3)[0].detach_())]


@scenario
def clone_and_to_keep_history(m):
    x = x64(m, 1.0, 2.0)
    (x.clone().to(m.float32).to(m.float64) ** 2).sum().backward()
    return x.grad


@scenario
def grad_attribute_can_be_set(m):
    x = x64(m, 1.0, 2.0)
    x.grad = m.tensor([10.0, 20.0], dtype=m.float64)
    (x * 2).sum().backward()
    first = x.grad.clone()
    x.grad = None
    (x * 2).sum().backward()
    return [first, x.grad]


@scenario
def grads_of_two_leaves_share_no_memory(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    (x + w).sum().backward()
    x.grad.zero_()
    return [x.grad, w.grad]


@scenario
def grads_of_two_leaves_share_no_memory_with_create_graph(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    (x + w).sum().backward(create_graph=True)
    with m.no_grad():
        x.grad.zero_()
    return [x.grad, w.grad]


@scenario
def the_given_gradient_is_not_adopted(m):
    x = x64(m, 1.0, 2.0)
    seed = m.tensor([1.0, 1.0], dtype=m.float64)
    x.clone().backward(seed)
    seed.zero_()
    return x.grad


@scenario
def accumulation_is_in_place(m):
    x = x64(m, 1.0, 2.0)
    (x * 2).sum().backward()
    held = x.grad
    (x * 3).sum().backward()
    return [held is x.grad, held]


@scenario
def a_gradient_used_in_a_graph_and_then_added_to(m):
    x = x64(m, 1.0, 2.0)
    (x * 2).sum().backward()
    w = x64(m, 5.0, 6.0)
    y = (w * x.grad).sum()
    (x * 3).sum().backward()
    return raises(y.backward)


# ---- hooks -----------------------------------------------------------------------------------------------------------


@scenario
def hooks_see_and_change_gradients(m):
    x = x64(m, 1.0, 2.0)
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(g.clone()))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(g.clone()))
    x.register_hook(lambda g: g + 1)
    (y * y).sum().backward()
    return [seen, x.grad]


@scenario
def hooks_can_be_removed(m):
    x = x64(m, 1.0, 2.0)
    handle = x.register_hook(lambda g: g * 100)
    (x * 2).sum().backward()
    handle.remove()
    (x * 2).sum().backward()
    return x.grad


@scenario
def a_leaf_hook_runs_once_on_the_sum(m):
    x = x64(m, 1.0, 2.0)
    calls = []
    x.register_hook(lambda g: calls.append(g.clone()))
    (x * 2 + x * x + x.exp()).sum().backward()
    return calls


@scenario
def hooks_of_zero_dimensional_tensors(m):
    x = m.tensor(3.0, dtype=m.float64, requires_grad=True)
    seen = []
    y = x * x
    y.register_hook(lambda g: seen.append(g * 2))
    (y + y).backward()
    return [seen, x.grad]


@scenario
def hooks_need_requires_grad(m):
    return raises(lambda: m.ones(2).register_hook(lambda g: g))


@scenario
def retained_gradients(m):
    x = x64(m, 1.0, 2.0)
    y = x * 3
    y.retain_grad()
    z = y.exp()
    z.retain_grad()
    z.retain_grad()
    (z * y).sum().backward()
    return [x.grad, y.grad, z.grad]


@scenario
def retained_gradients_see_all_hooks(m):
    x = x64(m, 1.0, 2.0)
    y = x * 3
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    return [x.grad, y.grad]


@scenario
def a_retained_gradient_is_a_copy(m):
    x = x64(m, 1.0, 2.0)
    y = x + 0
    y.retain_grad()
    y.sum().backward()
    y.grad.zero_()
    return [x.grad, y.grad]


@scenario
def post_accumulate_hooks(m):
    x = x64(m, 1.0, 2.0)
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.clone()))
    (x * 2).sum().backward()
    (x * 2).sum().backward()
    return [seen, raises(lambda: (x * 2).register_post_accumulate_grad_hook(print))]


# ---- create_graph ----------------------------------------------------------------------------------------------------


@scenario
def double_backward(m):
    x, w = x64(m, 1.0, 2.0), x64(m, 0.5, -1.0)
    y = (x**3 * w.exp()).sum()
    (g,) = m.autograd.grad(y, x, create_graph=True)
    (g * g * w).sum().backward()
    return [g, g.requires_grad, x.grad, w.grad]


@scenario
def triple_backward(m):
    x = x64(m, 0.5, 2.0)
    y = (x.sin() * x.exp()).sum()
    for _ in range(3):
        (y,) = m.autograd.grad(y.sum(), x, create_graph=True)
    return y


@scenario
def backward_with_create_graph(m):
    x = x64(m, 1.0, 2.0)
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    return [g, g.requires_grad, x.grad]


@scenario
def gradient_of_a_gradient_with_respect_to_the_seed(m):
    x, v = x64(m, 1.0, 2.0), x64(m, 3.0, 4.0)
    (g,) = m.autograd.grad(x**2, x, v, create_graph=True)
    return m.autograd.grad(g.sum(), [v, x])


@scenario
def gradient_penalty(m):
    x, w = grid(m, 2, 3), grid(m, 3, 2)
    out = (x @ w).tanh()
    (g,) = m.autograd.grad(out.sum(), x, create_graph=True)
    ((g.norm(2, 1) - 1) ** 2).mean().backward()
    return w.grad


# ---- several outputs -------------------------------------------------------------------------------------------------


@scenario
def one_of_several_outputs_is_used(m):
    x = grid(m, 3, 4)
    values, _ = x.max(1)
    parts = x.split(2, 1)
    (values.sum() + (parts[1] * 3).sum()).backward()
    return x.grad


@scenario
def unbind_chunk_split(m):
    x = grid(m, 4, 2)
    a, _, c, _ = x.unbind(0)
    d, e = x.chunk(2)
    (a * c + d.sum() * e.mean()).sum().backward()
    return x.grad


@scenario
def sort_and_topk(m):
    x = grid(m, 5)
    values, places = (x * m.tensor([1.0, -1.0, 1.0, -1.0, 1.0], dtype=m.float64)).sort(descending=True)
    best = values.topk(2).values
    (best * m.tensor([3.0, 5.0], dtype=m.float64)).sum().backward()
    return [values, places, x.grad]


# ---- modes -----------------------------------------------------------------------------------------------------------


@scenario
def modes_nest(m):
    seen = []
    x = x64(m, 1.0)
    with m.no_grad():
        seen.append((x * 2).requires_grad)
        with m.enable_grad():
            seen.append((x * 2).requires_grad)
            with m.set_grad_enabled(False):
                seen.append(m.is_grad_enabled())
            seen.append(m.is_grad_enabled())
        seen.append(m.is_grad_enabled())
    seen.append(m.is_grad_enabled())
    with m.inference_mode():
        seen += [(x * 2).requires_grad, m.is_inference_mode_enabled(), m.is_grad_enabled()]
    with m.inference_mode(False):
        seen += [(x * 2).requires_grad, m.is_inference_mode_enabled()]
    return [*seen, m.is_inference_mode_enabled(), m.is_grad_enabled()]


@scenario
def modes_decorate(m):
    @m.no_grad()
    def bare(x):
        return (x * 2).requires_grad, m.is_grad_enabled()

    @m.inference_mode()
    def inferring(x):
        return (x * 2).requires_grad

    @m.set_grad_enabled(False)
    def off(x):
        return (x * 2).requires_grad

    @m.no_grad()
    @m.enable_grad()
    def on(x):
        return (x * 2).requires_grad

    x = x64(m, 1.0)
    return [bare(x), bare(x), inferring(x), off(x), on(x), m.is_grad_enabled(), bare.__name__]


@scenario
def a_decorated_function_that_raises(m):
    @m.no_grad()
    def fail():
        raise ValueError("meant")

    return [raises(fail), m.is_grad_enabled()]


@scenario
def one_context_used_twice_and_nested(m):
    mode = m.no_grad()
    with mode:
        pass
    with mode:
        inside = m.is_grad_enabled()
    return [inside, m.is_grad_enabled()]


@scenario
def set_grad_enabled_as_a_function(m):
    m.set_grad_enabled(False)
    off = m.is_grad_enabled()
    m.set_grad_enabled(True)
    return [off, m.is_grad_enabled()]


@scenario
def generators_under_no_grad(m):
    @m.no_grad()
    def numbers():
        for _ in range(2):
            yield m.is_grad_enabled()

    seen = []
    for inside in numbers():
        seen += [inside, m.is_grad_enabled()]
    return seen


@scenario
def gradients_flow_through_what_no_grad_computed_as_constants(m):
    x = x64(m, 1.0, 2.0)
    with m.no_grad():
        c = x * 10
    (x * c).sum().backward()
    return x.grad


@scenario
def backward_under_no_grad(m):
    x = x64(m, 1.0, 2.0)
    y = (x * x).sum()
    with m.no_grad():
        y.backward()
    return [x.grad, x.grad.requires_grad]


@scenario
def nothing_to_differentiate_by(m):
    x = x64(m, 1.0, 2.0)
    return [raises(lambda: (x * 2).sum().backward(inputs=[])), raises(lambda: m.autograd.grad((x * 2).sum(), [])),
            raises(lambda: m.autograd.grad((x * 2).sum(), 3.0)), raises(lambda: m.autograd.grad(3.0, x)),
            raises(lambda: (x * 2).backward(3.0))]


@scenario
def gradients_lie_in_memory_as_their_tensors(m):
    found = []
    for w in (m.ones(3, 4).t(), m.ones(2, 3, 4, 4).to(memory_format=m.channels_last), m.ones(3, 8)[:, ::2], m.ones(2, 3)):
        w = w.detach().requires_grad_()
        (w.contiguous() ** 2).sum().backward()
        found.append(list(w.grad.stride()))
    return found


@scenario
def a_retained_gradient_that_is_asked_for_comes_once(m):
    x = x64(m, 1.0, 2.0)
    y = x * 2
    y.retain_grad()
    (y * 3).sum().backward(inputs=[y])
    return [y.grad, x.grad]


@scenario
def create_graph_under_no_grad(m):
    x = x64(m, 1.0, 2.0)
    y = (x * x).sum()
    with m.no_grad():
        y.backward(create_graph=True)
    return [x.grad, x.grad.requires_grad]


@scenario
def hooks_keep_shape_and_dtype(m):
    def run(hook):
        x = x64(m, 1.0, 2.0)
        x.register_hook(hook)
        return raises(lambda: (x * 2).sum().backward())

    return [run(lambda g: m.ones(3, dtype=m.float64)), run(lambda g: g.float()), run(lambda g: 3), run(lambda g: g * 2)]
