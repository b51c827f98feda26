"""unet, autoencoder and vae: the same networks with PyTorch's operations, sizes of all kinds, and what is drawn."""

import numpy as np
import pytest

import expkit as ek
from expkit import registry
from expkit.errors import ConfigError, ShapeError


def build(name, shape, **arguments):
    return registry.build("model", {"name": name, **arguments}, given={"input_shape": shape, "output_size": 3})


def weights(model):
    """The state dict as PyTorch's tensors, in double precision, of which gradients can be asked."""
    torch = pytest.importorskip("torch")
    return {
        name: torch.tensor(np.asarray(value.detach().numpy(), np.float64), requires_grad="running" not in name)
        for name, value in model.state_dict().items()
        if "num_batches" not in name
    }


def torch_unet(w, x, depth, norm):
    """Ronneberger's figure 1, with padded convolutions."""
    F = pytest.importorskip("torch").nn.functional

    def stage(name, x):
        step = 3 if norm else 2
        for at in (0, step):
            x = F.conv2d(x, w[f"{name}.{at}.weight"], w.get(f"{name}.{at}.bias"), padding=1)
            if norm:
                x = F.batch_norm(x, None, None, w[f"{name}.{at + 1}.weight"], w[f"{name}.{at + 1}.bias"], training=True)
            x = x.relu()
        return x

    height, width = x.shape[-2:]
    whole = 2 ** (depth - 1)
    x = F.pad(x, (0, -width % whole, 0, -height % whole))
    kept = [stage("down.0", x)]
    for number in range(1, depth):
        kept.append(stage(f"down.{number}", F.max_pool2d(kept[-1], 2)))
    x = kept[-1]
    for number in range(depth - 1):
        up = F.conv_transpose2d(x, w[f"up.{number}.weight"], w[f"up.{number}.bias"], stride=2)
        x = stage(f"join.{number}", pytest.importorskip("torch").cat([kept[-2 - number], up], 1))
    return F.conv2d(x, w["head.weight"], w["head.bias"])[..., :height, :width]


UNETS = {
    "sizes that halve": ((2, 8, 12), {"channels": [4, 6, 8]}),
    "padded": ((1, 7, 10), {"channels": [3, 4, 5]}),
    "smaller than they halve": ((1, 3, 1), {"channels": [3, 4, 4], "norm": "none"}),
    "one stage": ((3, 5, 5), {"channels": [4]}),
}


@pytest.mark.torch
@pytest.mark.parametrize(("shape", "arguments"), UNETS.values(), ids=UNETS.keys())
def test_unet_is_pytorchs(shape, arguments):
    torch = pytest.importorskip("torch")
    ek.manual_seed(0)
    model = build("unet", shape, **arguments).double()
    w, rng = weights(model), np.random.default_rng(0)
    x, g = rng.normal(size=(2, *shape)), rng.normal(size=(2, 3, *shape[1:]))
    ours = model(ek.tensor(x))
    (ours * ek.tensor(g)).sum().backward()
    theirs = torch_unet(w, torch.tensor(x), len(arguments["channels"]), arguments.get("norm") != "none")
    (theirs * torch.tensor(g)).sum().backward()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-10)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), w[name].grad.numpy(), rtol=1e-7, atol=1e-8, err_msg=name)


def torch_code(w, x, channels, dense, prefix):
    F = pytest.importorskip("torch").nn.functional
    for number in range(channels):
        name = f"{prefix}.{2 * number}"
        x = F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2, padding=1).tanh()
    x, first = x.flatten(1), 2 * channels + 1
    for number in range(dense):
        name = f"{prefix}.{first + 2 * number}"
        x = F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
        x = x.tanh() if number < dense - 1 else x
    return x


def torch_decoded(w, x, shapes, dense, prefix):
    """shapes: what each transposed convolution is to make, the first entry what the dense layers make."""
    F = pytest.importorskip("torch").nn.functional
    for number in range(dense):
        name = f"{prefix}.{2 * number}"
        x = F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
        x = x.tanh() if number < dense - 1 else x
    x = x.reshape(len(x), *shapes[0])
    for number, shape in enumerate(shapes[1:]):
        name, odd = f"{prefix}.{2 * dense + 1 + 2 * number}", [1 - length % 2 for length in shape[1:]]
        x = F.conv_transpose2d(x.tanh(), w[f"{name}.weight"], w[f"{name}.bias"], 2, 1, odd)
    return x


CODERS = {
    "dense": ((2, 3, 4), {"hidden": [7, 5]}, [(2, 3, 4)]),
    "without hidden layers": ((6,), {"hidden": []}, [(6,)]),
    "convolutions": ((2, 9, 6), {"channels": [3, 4], "hidden": [8]}, [(4, 3, 2), (3, 5, 3), (2, 9, 6)]),
    "one pixel wide": ((1, 1, 8), {"channels": [3], "hidden": []}, [(3, 1, 4), (1, 1, 8)]),
}


@pytest.mark.torch
@pytest.mark.parametrize(("shape", "arguments", "shapes"), CODERS.values(), ids=CODERS.keys())
@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_coders_are_pytorchs(name, shape, arguments, shapes):
    torch = pytest.importorskip("torch")
    ek.manual_seed(1)
    size = {"autoencoder": "bottleneck", "vae": "latent_size"}[name]
    model = build(name, shape, activation="tanh", **{size: 3}, **arguments).double().eval()
    w, x = weights(model), np.random.default_rng(0).normal(size=(4, *shape))
    channels, dense = len(arguments.get("channels", ())), len(arguments["hidden"]) + 1
    code = torch_code(w, torch.tensor(x), channels, dense, "encoder")
    theirs = torch_decoded(w, code[:, :3], shapes, dense, "decoder").detach().numpy()
    ours = model(ek.tensor(x))
    assert ours.shape == (4, *shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-9, atol=1e-11)
    if name == "vae":
        mean, log_var = model.encode(ek.tensor(x))
        normal = torch.distributions.Normal(code[:, :3], torch.exp(code[:, 3:] / 2))
        divergence = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1)).sum(1).mean()
        assert model.kl(mean, log_var).item() == pytest.approx(divergence.item(), rel=1e-9)


def test_a_vae_draws_while_it_trains_and_not_in_eval_mode():
    ek.manual_seed(0)
    model, x = build("vae", (4,)), ek.randn(3, 4)
    mean, log_var = ek.full((20000, 2), 3.0), ek.full((20000, 2), 2.0)
    drawn = model.reparameterize(mean, log_var).numpy()
    assert abs(drawn.mean() - 3) < 0.1
    assert abs(drawn.std() - np.exp(1)) < 0.1
    assert model(x).tolist() != model(x).tolist()
    assert model.eval()(x).tolist() == model(x).tolist()
    assert model.sample(5).shape == (5, 4)
    assert not model.sample(5).requires_grad


MISFITS = {
    "unet of vectors": ("unet", (13,), {}, ShapeError, "unet: its first layer, down.0 (Conv2d), needs images"),
    "unet without stages": ("unet", (1, 8, 8), {"channels": []}, ConfigError, "model.channels: give at least one"),
    "convolutions of vectors": ("vae", (13,), {"channels": [4]}, ShapeError, "needs images"),
    "bottleneck": ("autoencoder", (13,), {"bottleneck": 0}, ConfigError, "model.bottleneck"),
    "latent size": ("vae", (13,), {"latent_size": 0}, ConfigError, "model.latent_size"),
    "activation": ("vae", (13,), {"activation": "rellu"}, ConfigError, "model.activation"),
}


@pytest.mark.parametrize(("name", "shape", "arguments", "error", "said"), MISFITS.values(), ids=MISFITS.keys())
def test_what_does_not_fit_is_refused(name, shape, arguments, error, said):
    with pytest.raises(error) as caught:
        build(name, shape, **arguments)
    assert said in str(caught.value)
