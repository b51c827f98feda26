"""The registered models: shapes, structure, learning, and inputs or configs that do not fit."""

from pathlib import Path

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn, registry
from expkit.errors import ConfigError, ExpkitError, ShapeError
from expkit.nn.activation import BY_NAME

IMAGE, FLAT = (1, 8, 8), (13,)

# name, arguments, input shape, parameters
ROWS = [
    ("mlp", {}, IMAGE, None),
    ("mlp", {"hidden": [32, 16], "norm": "none"}, FLAT, 13 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10),
    ("mlp", {"hidden": [32], "norm": "batch"}, FLAT, 13 * 32 + 32 + 64 + 330),
    ("mlp", {"hidden": [32], "norm": "layer", "bias": False}, FLAT, 13 * 32 + 64 + 320),
    ("mlp", {"hidden": [32], "dropout": 0.5, "activation": "gelu"}, FLAT, 13 * 32 + 32 + 64 + 330),
    ("mlp", {"hidden": []}, (3, 4), 130),
    ("cnn", {}, IMAGE, None),
    ("cnn", {"channels": [4], "hidden": [], "norm": "none"}, IMAGE, 4 * 9 + 4 + 64 * 10 + 10),
    ("cnn", {"channels": [4, 6], "pool": 1, "hidden": [5], "dropout": 0.3}, (3, 8, 6), None),
    ("cnn", {"channels": [4, 6], "padding": "valid", "pool": 1}, (2, 9, 8), None),
    ("cnn", {"channels": [4], "padding": 2, "stride": 2, "kernel_size": 4, "pool": 2}, (2, 9, 8), None),
    ("cnn", {"channels": [4, 8, 8]}, IMAGE, None),
    ("cnn", {"channels": []}, IMAGE, None),
    ("linear", {}, IMAGE, 650),
    ("linear", {"bias": False}, FLAT, 130),
]


def build(name, arguments, input_shape, output_size=10):
    given = {"input_shape": input_shape, "output_size": output_size, "num_classes": output_size}
    return registry.build("model", {"name": name, **arguments}, given=given)


@pytest.mark.parametrize(("name", "arguments", "shape", "parameters"), ROWS, ids=str)
def test_models_map_samples_to_outputs(name, arguments, shape, parameters):
    model = build(name, arguments, shape)
    x = ek.randn(5, *shape)
    assert model(x).shape == (5, 10)
    if parameters is not None:
        assert sum(p.numel() for p in model.parameters()) == parameters
    twin = build(name, arguments, shape)
    twin.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(twin.eval()(x).detach().numpy(), model.eval()(x).detach().numpy())


@pytest.mark.parametrize(("name", "arguments", "shape", "parameters"), ROWS, ids=str)
def test_models_learn_a_small_set_by_heart(name, arguments, shape, parameters):
    model = build(name, {**arguments, "dropout": 0.0} if "dropout" in arguments else arguments, shape, output_size=3)
    x, y = ek.randn(12, *shape), ek.arange(12) % 3
    first = F.cross_entropy(model(x), y).item()
    for _ in range(60):
        model.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        with ek.no_grad():
            for p in model.parameters():
                p.sub_(p.grad * 0.2)
    assert loss.item() < 0.5 * first


def test_every_registered_model_has_a_row_and_a_config():
    assert set(registry.names("model")) == {row[0] for row in ROWS}
    folder = Path(__file__).parents[2] / "conf" / "model"
    assert {path.stem for path in folder.glob("*.yaml")} == {row[0] for row in ROWS}


@pytest.mark.parametrize("name", sorted({row[0] for row in ROWS}))
def test_a_config_states_the_defaults_of_its_model(name):
    config = (Path(__file__).parents[2] / "conf" / "model" / f"{name}.yaml").read_text()
    stated = {}
    for line in config.splitlines():
        key, colon, rest = line.partition(":")
        if colon and not line.startswith("#"):
            stated[key] = rest.partition("#")[0].strip()
            assert "#" in rest or key == "name", f"{key} needs a comment"
    assert stated.pop("name") == name
    defaults = {a.name: a.default for a in registry.describe("model", name).arguments if not a.required}
    assert stated == {key: in_yaml(value) for key, value in defaults.items()}


def in_yaml(value):
    if isinstance(value, tuple):
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("activation", sorted(BY_NAME))
def test_every_activation_name_builds(activation):
    assert build("mlp", {"activation": activation, "hidden": [4]}, FLAT)(ek.randn(2, 13)).shape == (2, 10)


def test_layers_come_in_the_documented_order():
    model = build("mlp", {"hidden": [8], "norm": "batch", "dropout": 0.5, "activation": "tanh"}, FLAT)
    assert [type(layer).__name__ for layer in model.layers] == ["Linear", "BatchNorm1d", "Tanh", "Dropout", "Linear"]
    model = build("cnn", {"channels": [4], "hidden": [8]}, IMAGE)
    assert [type(layer).__name__ for layer in model.features] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert [type(layer).__name__ for layer in model.head] == ["Linear", "ReLU", "Linear"]


# name, arguments, input shape, error, words that the message must hold
MISFITS = [
    ("cnn", {}, FLAT, ShapeError, ["features.0 (Conv2d)", "(13,)", "model=mlp"]),
    ("cnn", {}, (8, 8), ShapeError, ["(channels, height, width)"]),
    (
        "cnn", {"channels": [4, 4, 4, 4]}, IMAGE, ShapeError,
        ["stage 4 of 4", "8x8", "features.15 (MaxPool2d", "1x1", "model.channels [4, 4, 4, 4]", "model.pool"],
    ),
    ("cnn", {"kernel_size": 9, "padding": "valid"}, IMAGE, ShapeError, ["stage 1", "features.0 (", "kernel_size"]),
    ("cnn", {"channels": [4, 0]}, IMAGE, ConfigError, ["model.channels", "at least 1", "got 0"]),
    ("cnn", {"stride": 2}, IMAGE, ConfigError, ["model.padding", "model.stride=1"]),
    ("cnn", {"pool": 0}, IMAGE, ConfigError, ["model.pool"]),
    ("cnn", {"kernel_size": 0}, IMAGE, ConfigError, ["model.kernel_size"]),
    ("cnn", {"padding": -1}, IMAGE, ConfigError, ["model.padding"]),
    ("mlp", {"hidden": [8, -1]}, FLAT, ConfigError, ["model.hidden", "got -1"]),
    ("mlp", {"hidden": 8}, FLAT, ConfigError, ["hidden", "list of int"]),
    ("mlp", {"activation": "rellu"}, FLAT, ConfigError, ["model.activation", "rellu", "'relu'"]),
    ("mlp", {"activation": "rellu", "hidden": []}, FLAT, ConfigError, ["model.activation"]),
    ("mlp", {"dropout": 1.5}, FLAT, ConfigError, ["model.dropout", "[0, 1)"]),
    ("mlp", {"norm": "group"}, FLAT, ConfigError, ["norm", "'batch'"]),
    ("mlp", {"hiden": [8]}, FLAT, ConfigError, ["hiden", "Did you mean 'hidden'"]),
    ("linear", {"bias": "yes"}, FLAT, ConfigError, ["bias", "bool"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "shape", "error", "words"), MISFITS, ids=str)
def test_what_does_not_fit_names_the_layer_and_the_key(name, arguments, shape, error, words):
    with pytest.raises(error) as caught:
        build(name, arguments, shape)
    assert isinstance(caught.value, ExpkitError)
    assert caught.value.exit_code == 2
    for word in words:
        assert word in str(caught.value)


def test_a_batch_of_the_wrong_shape_names_the_layer():
    with pytest.raises(ShapeError, match=r"(?s)last dimension is 12.*in model.layers.0 \(Linear\(13 -> 256\)\)"):
        build("mlp", {}, FLAT)(ek.randn(4, 12))


def test_models_are_made_in_python_too():
    assert nn.models.MLP((1, 8, 8), 10, hidden=[4])(ek.randn(2, 1, 8, 8)).shape == (2, 10)
    for make in (nn.models.MLP, nn.models.CNN):  # where no registry has looked at the arguments
        with pytest.raises(ConfigError, match=r"model.norm: must be one of .*, got 'batsh'. Did you mean 'batch'"):
            make((1, 8, 8), 10, norm="batsh")


def test_a_batch_of_one_sample_is_explained():
    with pytest.raises(ShapeError, match=r"(?s)drop_last=True.*in model.layers.1 \(BatchNorm1d"):
        build("mlp", {"norm": "batch"}, FLAT)(ek.randn(1, 13))
