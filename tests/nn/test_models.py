"""The registered models: shapes, structure, learning, and inputs or configs that do not fit."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn, registry
from expkit.autograd.mode import interpreting
from expkit.compiler.abstract import Abstract
from expkit.errors import ConfigError, ExpkitError, ShapeError
from expkit.nn.activation import BY_NAME
from expkit.optim import SGD, Adam
from tests.nn.table_models import ELSEWHERE, FLAT, IMAGE, MISFITS, PUBLISHED, ROWS, TORCHVISION

CONF = Path(__file__).parents[2] / "conf" / "model"
YAMLS = {path.stem for path in CONF.glob("*.yaml")} - {"none"}  # which chooses no model


def build(name, arguments, input_shape, output_size=10):
    given = {"input_shape": input_shape, "output_size": output_size, "num_classes": output_size}
    return registry.build("model", {"name": name, **arguments}, given=given)


def samples(arguments, count, shape):
    """Random samples: tokens, where the arguments say how many there are."""
    return (
        ek.randint(0, arguments["vocab_size"], (count, *shape))
        if "vocab_size" in arguments
        else ek.randn(count, *shape)
    )


@pytest.mark.parametrize(("name", "arguments", "shape", "parameters"), ROWS, ids=str)
def test_models_map_samples_to_outputs(name, arguments, shape, parameters):
    model = build(name, arguments, shape)
    x = samples(arguments, 5, shape)
    assert model(x).shape == (5, 10)
    if parameters is not None:
        assert sum(p.numel() for p in model.parameters()) == parameters
    twin = build(name, arguments, shape)
    twin.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(twin.eval()(x).detach().numpy(), model.eval()(x).detach().numpy())


@pytest.mark.parametrize(("name", "arguments", "shape", "parameters"), ROWS, ids=str)
def test_models_learn_a_small_set_by_heart(name, arguments, shape, parameters):
    ek.manual_seed(0)
    model = build(name, {**arguments, "dropout": 0.0} if "dropout" in arguments else arguments, shape, output_size=3)
    x, y = samples(arguments, 12, shape), ek.arange(12) % 3
    first = F.cross_entropy(model(x), y).item()
    optimizer = Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first


def losses(compiled, name, arguments, shape):
    """Of three training steps; what dropout draws is the same, compiled or not."""
    ek.manual_seed(0)
    model = build(name, arguments, shape, output_size=3).double()
    optimizer, y = SGD(model.parameters(), lr=0.05, momentum=0.9), ek.arange(12) % 3
    x = samples(arguments, 12, shape)
    x = x.double() if x.is_floating_point() else x

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run = ek.compile(step, fullgraph=True) if compiled else step
    return [run(x, y).item() for _ in range(3)]


FIRST_ROWS = {row[0]: row[:3] for row in reversed(ROWS)}.values()  # of each name


@pytest.mark.parametrize(("name", "arguments", "shape"), FIRST_ROWS, ids=str)
def test_compiled_steps_are_the_eager_ones(name, arguments, shape):
    first, second = (losses(compiled, name, arguments, shape) for compiled in (False, True))
    np.testing.assert_allclose(second, first, rtol=1e-9)


def test_every_registered_model_has_a_row_and_a_config():
    assert set(registry.names("model")) - ELSEWHERE == {row[0] for row in ROWS}
    assert set(registry.names("model")) == YAMLS


@pytest.mark.parametrize("name", sorted(YAMLS))
def test_a_config_states_the_defaults_of_its_model(name):
    config = (CONF / f"{name}.yaml").read_text()
    stated = {}
    for line in config.splitlines():
        key, colon, rest = line.partition(":")
        if colon and not line.startswith("#"):
            stated[key] = rest.partition("#")[0].strip()
            assert "#" in rest or key == "name", f"{key} needs a comment"
    assert stated.pop("name") == name
    arguments = [a for a in registry.describe("model", name).arguments if a.name not in ("input_shape", "output_size")]
    assert stated == {a.name: "???" if a.required else in_yaml(a.default) for a in arguments}


def in_yaml(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


def abstract(name, arguments, shape, output_size):
    """{name in the state dict: shape} of a model that takes no memory."""
    with interpreting(Abstract()):
        model = build(name, arguments, shape, output_size)
        return model, {key: list(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize(("name", "arguments", "shape", "classes", "parameters"), PUBLISHED, ids=str)
def test_as_many_parameters_as_published(name, arguments, shape, classes, parameters):
    model, _ = abstract(name, arguments, shape, classes)
    assert sum(math.prod(p.shape) for p in model.parameters()) == parameters


@pytest.mark.parametrize(("name", "arguments", "shape", "theirs"), TORCHVISION, ids=str)
def test_names_and_shapes_are_torchvisions(name, arguments, shape, theirs):
    _, shapes = abstract(name, arguments, shape, 1000)
    stored = json.loads((Path(__file__).parent / "torchvision_shapes.json").read_text())
    assert list(shapes.items()) == list(stored[theirs].items())


@pytest.mark.parametrize("activation", sorted(BY_NAME))
def test_every_activation_name_builds(activation):
    assert build("mlp", {"activation": activation, "hidden": [4]}, FLAT)(ek.randn(2, 13)).shape == (2, 10)


def test_layers_come_in_the_documented_order():
    model = build("mlp", {"hidden": [8], "norm": "batch", "dropout": 0.5, "activation": "tanh"}, FLAT)
    assert [type(layer).__name__ for layer in model.layers] == ["Linear", "BatchNorm1d", "Tanh", "Dropout", "Linear"]
    model = build("cnn", {"channels": [4], "hidden": [8]}, IMAGE)
    assert [type(layer).__name__ for layer in model.features] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert [type(layer).__name__ for layer in model.head] == ["Linear", "ReLU", "Linear"]


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
