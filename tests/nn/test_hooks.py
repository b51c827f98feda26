"""Hooks on backward, on all modules, and where forward raises; extra state and versions: as PyTorch runs them."""

import warnings

import numpy as np
import pytest

import expkit as ek
from expkit import nn

X, Y = np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(2, 3, 6).reshape(2, 3)
LIBRARIES = ("ours", "torch")


def libraries(torch):
    return ((ek, nn, nn.modules.module), (torch, torch.nn, torch.nn.modules.module))


def both(torch, run):
    """What run(library, its nn, its nn.modules.module) gives: the same in both, as nested lists."""
    ours, theirs = (run(*lib) for lib in libraries(torch))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, str) or a is None:
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=1e-12)
    return ours


def plain(grads):
    return [None if g is None else g.detach().numpy() for g in grads]


def two_inputs(lib, modules):
    class Sum(modules.Module):
        def forward(self, x, y, scale):
            return x * y * scale, x + y

    return Sum()


def test_gradients_come_by_both_hooks(torch):
    def run(lib, modules, _):
        m, seen = two_inputs(lib, modules), []
        m.register_full_backward_pre_hook(lambda module, gs: seen.extend(["pre", *plain(gs)]))
        m.register_full_backward_hook(lambda module, gi, go: seen.extend(["post", *plain(gi), *plain(go)]))
        x, y = lib.tensor(X, requires_grad=True), lib.tensor(Y)
        a, b = m(x, y, 2.0)
        (a.sum() * 3 + b.square().sum()).backward()
        return [*seen, x.grad.numpy()]

    found = both(torch, run)
    assert found[0] == "pre"
    assert found[3] == "post"


def test_hooks_replace_gradients(torch):
    def run(lib, modules, _):
        m = two_inputs(lib, modules)
        m.register_full_backward_pre_hook(lambda module, gs: (gs[0] * 2, gs[1]))
        m.register_full_backward_hook(lambda module, gi, go: (gi[0] + 1, gi[1] * 5, None))
        x, y = lib.tensor(X, requires_grad=True), lib.tensor(Y, requires_grad=True)
        a, b = m(x, y, 2.0)
        (a.sum() + b.square().sum()).backward()
        return [x.grad.numpy(), y.grad.numpy()]

    both(torch, run)


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_inputs_without_gradients_are_none(torch):
    def run(lib, modules, _):
        m, seen = modules.Linear(3, 2), []
        with lib.no_grad():
            m.weight.fill_(0.5)
        m.register_full_backward_hook(lambda module, gi, go: seen.extend([*plain(gi), *plain(go)]))
        m(lib.ones(4, 3)).sum().backward()
        return [*seen, m.weight.grad.numpy()]

    assert both(torch, run)[0] is None


def test_hooks_of_all_modules_run_and_go_away(torch):
    def run(lib, modules, everywhere):
        m, seen = modules.Sequential(modules.ReLU(), modules.Tanh()), []

        def name(module):
            return type(module).__name__

        handles = [
            everywhere.register_module_forward_pre_hook(lambda mod, args: seen.append(f"before {name(mod)}")),
            everywhere.register_module_forward_hook(lambda mod, args, out: seen.append(f"after {name(mod)}")),
            everywhere.register_module_full_backward_pre_hook(lambda mod, go: seen.append(f"back {name(mod)}")),
            everywhere.register_module_full_backward_hook(lambda mod, gi, go: seen.append(f"through {name(mod)}")),
        ]
        m(lib.tensor(X, requires_grad=True)).sum().backward()
        for handle in handles:
            handle.remove()
        m(lib.tensor(X, requires_grad=True)).sum().backward()
        return seen

    assert len(both(torch, run)) == 12


def test_a_forward_hook_may_run_though_forward_raised(torch):
    def run(lib, modules, _):
        seen = []

        class Raises(modules.Module):
            def forward(self, x):
                raise ValueError("on purpose")

        m = Raises()
        m.register_forward_hook(lambda mod, args, out: seen.append(f"always {out}"), always_call=True)
        m.register_forward_hook(lambda mod, args, out: seen.append("never"))
        m.register_forward_hook(lambda mod, args, kw, out: 1 / 0, always_call=True, with_kwargs=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(ValueError, match="on purpose"):
                m(1)
        return [*seen, str(len(caught))]

    assert both(torch, run) == ["always None", "1"]


def test_extra_state_travels_with_the_state_dict(torch):
    def run(lib, modules, _):
        class Counts(modules.Linear):
            count = 3

            def get_extra_state(self):
                return {"count": self.count}

            def set_extra_state(self, state):
                self.count = state["count"]

        a, b = (modules.Sequential(Counts(1, 1)) for _ in range(2))
        a[0].count = 7
        state = a.state_dict()
        b.load_state_dict(state)
        lenient = b.load_state_dict({"0.weight": state["0.weight"]}, strict=False)
        plain = modules.Sequential(modules.Linear(1, 1)).load_state_dict(state, strict=False)
        return [str(list(state)), str(b[0].count), *map(str, (*lenient, *plain))]

    assert "0._extra_state" in both(torch, run)[0]


def test_batch_norm_takes_state_without_a_count(torch):
    def run(lib, modules, _):
        m = modules.Sequential(modules.BatchNorm1d(2))
        state = m.state_dict()
        versions = str({k: v["version"] for k, v in state._metadata.items()})
        old = {k: v for k, v in state.items() if "tracked" not in k}
        m[0].num_batches_tracked += 5
        missing = m.load_state_dict(old).missing_keys
        del state["0.num_batches_tracked"]
        return [versions, str(missing), str(m.load_state_dict(state, strict=False).missing_keys)]

    both(torch, run)


def test_overridden_loading_and_saving(torch):
    def run(lib, modules, _):
        class Named(modules.Linear):
            _version = 3

            def _save_to_state_dict(self, destination, prefix, keep_vars):
                super()._save_to_state_dict(destination, prefix, keep_vars)
                destination[f"{prefix}kernel"] = destination.pop(f"{prefix}weight")

            def _load_from_state_dict(self, state_dict, prefix, *rest):
                state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}kernel")
                seen.append(str(rest[0].get("version")))
                super()._load_from_state_dict(state_dict, prefix, *rest)

        seen = []
        a, b = (modules.Sequential(Named(2, 1)) for _ in range(2))
        b.load_state_dict(a.state_dict())
        assert (a[0].weight == b[0].weight).all()
        return [*a.state_dict(), *seen]

    assert both(torch, run)[0] == "0.bias"


def test_post_hooks_may_forgive(torch):
    def run(lib, modules, _):
        m = modules.Linear(2, 1)
        m.register_load_state_dict_post_hook(lambda mod, keys: keys.missing_keys.clear())
        return [str(m.load_state_dict({"weight": lib.ones(1, 2)}).missing_keys), str(m.weight.sum().item())]

    assert both(torch, run) == ["[]", "2.0"]


def test_set_submodule_and_to_empty():
    m = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    m.set_submodule("1.0", nn.Tanh())
    assert isinstance(m[1][0], nn.Tanh)
    with pytest.raises(AttributeError, match="no submodule `5`"):
        m.set_submodule("1.5", nn.Tanh(), strict=True)
    assert tuple(m.to_empty(device="cpu")[0].weight.shape) == (2, 2)
    assert m.type(ek.float64)[0].weight.dtype == ek.float64
    assert nn.modules.Linear is nn.Linear
