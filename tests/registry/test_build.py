"""build, check and describe: good configs, and each way in which one can be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from expkit.errors import ConfigError, RegistryError
from expkit.registry import LATER, build, check, describe, register, schema

if TYPE_CHECKING:
    from somewhere_not_installed import Something


@pytest.fixture(autouse=True)
def factories(registry):
    @register("model", "mlp")
    class MLP:
        """A stack of linear layers.

        input_shape: the shape of one sample.
        """

        def __init__(
            self,
            input_shape: tuple[int, ...],
            output_size: int,
            hidden: list[int] = [64],  # noqa: B006
            dropout: float = 0.0,
            activation: Literal["relu", "gelu"] = "relu",
            norm: str = None,  # noqa: RUF013
            later: Something | None = None,
        ) -> None:
            self.arguments = {key: value for key, value in locals().items() if key not in ("self", "__class__")}

    @register("optim", "sgd")
    def sgd(params, lr: float = 0.1, *, momentum: float = 0.0):
        return params, lr, momentum

    @register("callback", "anything")
    def anything(monitor: str, **rest):
        return monitor, rest

    return MLP


DERIVED = {"input_shape": (1, 8, 8), "output_size": 10, "num_train": 100}


def test_build_fills_from_config_then_given_then_defaults():
    model = build("model", {"name": "mlp", "hidden": (32, 16), "dropout": 1, "output_size": 3}, given=DERIVED)
    assert model.arguments == {
        "input_shape": (1, 8, 8),
        "output_size": 3,
        "hidden": [32, 16],
        "dropout": 1.0,
        "activation": "relu",
        "norm": None,
        "later": None,
    }
    assert isinstance(model.arguments["dropout"], float)


def test_build_passes_positional_arguments_first():
    assert build("optim", {"name": "sgd", "momentum": 0.9}, ["p"]) == (["p"], 0.1, 0.9)


def test_build_passes_unknown_keywords_through_where_the_factory_is_open():
    assert build("callback", {"name": "anything", "monitor": "val/loss", "x": 1}) == ("val/loss", {"x": 1})


def test_none_is_legal_where_it_is_the_default():
    assert build("model", {"name": "mlp", "norm": None, "later": None}, given=DERIVED).arguments["norm"] is None


def test_an_annotation_that_cannot_be_resolved_is_not_checked_and_the_others_are():
    assert build("model", {"name": "mlp", "later": 3}, given=DERIVED).arguments["later"] == 3
    with pytest.raises(ConfigError, match="expected list of int"):
        build("model", {"name": "mlp", "hidden": "x"}, given=DERIVED)


def test_check_builds_nothing_and_takes_values_known_later(factories, monkeypatch):
    monkeypatch.setattr(factories, "__init__", factories.__init__)
    check("model", {"name": "mlp", "hidden": LATER}, ("input_shape", "output_size"))
    check("optim", {"name": "sgd", "lr": 0.1}, positional=1)
    with pytest.raises(ConfigError, match="needs 'params'"):
        check("optim", {"name": "sgd", "lr": 0.1})


WRONG = {
    "mistyped argument": (
        "model",
        {"hiden": [64]},
        ["W: 'hiden' is not an argument of model 'mlp'.", "Did you mean 'hidden'?", "hidden (list of int)"],
    ),
    "wrong type": ("model", {"dropout": "a lot"}, ["W: 'dropout' of model 'mlp': expected float, got 'a lot' (str)"]),
    "a number in quotes": ("model", {"dropout": "0.5"}, ["got '0.5' (str)", "without quotes"]),
    "a number for a list": ("model", {"hidden": 64}, ["expected list of int", "Write [64]."]),
    "illegal literal": ("model", {"activation": "rellu"}, ["'relu' or 'gelu'", "Did you mean 'relu'"]),
    "None where none is legal": ("model", {"dropout": None}, ["expected float, got None"]),
    "missing value": ("model", {"dropout": "???"}, ["W: 'dropout' of model 'mlp' must be given", "float"]),
    "Hydra's _target_": ("model", {"_target_": "os.system"}, ["'_target_' has no effect", "mlp"]),
    "unknown name": ("model", {"name": "mpl"}, ["W: there is no model 'mpl'. Did you mean 'mlp'?", "model: mlp."]),
    "no name": ("model", {"name": None}, ["a model needs a 'name'", "Names: mlp."]),
    "name of another kind": ("model", {"name": ["mlp"]}, ["a model needs a 'name', got ['mlp']"]),
    "missing required argument": ("callback", {"name": "anything"}, ["callback 'anything' needs 'monitor' (str)"]),
    "argument that expkit fills in": (
        "optim",
        {"name": "sgd", "params": []},
        ["'params' of optim 'sgd' is filled in by expkit", "lr (float)"],
    ),
}


@pytest.mark.parametrize(("group", "config", "said"), WRONG.values(), ids=WRONG.keys())
def test_wrong_configs(group, config, said):
    positional = int(group == "optim")
    with pytest.raises(ConfigError) as caught:
        check(group, {"name": "mlp"} | config, DERIVED, where="W", positional=positional)
    assert not [fragment for fragment in said if fragment not in str(caught.value)], str(caught.value)
    with pytest.raises(ConfigError) as again:
        build(group, {"name": "mlp"} | config, *(["p"] * positional), given=DERIVED, where="W")
    assert str(again.value) == str(caught.value)


def test_where_may_depend_on_the_key():
    with pytest.raises(ConfigError, match=r"^override 'model.hiden=3': 'hiden' is not"):
        check("model", {"name": "mlp", "hiden": 3}, DERIVED, where=lambda key: f"override 'model.{key}=3'")


@pytest.mark.parametrize("config", [None, "mlp", ["mlp"], 3])
def test_a_config_must_be_a_mapping(config):
    with pytest.raises(RegistryError, match="a model must be a mapping"):
        check("model", config)


def test_describe():
    entry = describe("model", "mlp")
    assert entry.summary == "A stack of linear layers."
    assert "the shape of one sample" in entry.doc
    assert [(a.name, a.type, a.required, a.default) for a in entry.arguments][:3] == [
        ("input_shape", "list of int", True, None),
        ("output_size", "int", True, None),
        ("hidden", "list of int", False, [64]),
    ]


def test_schema():
    (choice,) = schema("model")["oneOf"]
    assert choice["properties"]["name"] == {"const": "mlp"}
    assert choice["properties"]["hidden"] == {"type": "array", "items": {"type": "integer"}, "default": [64]}
    assert choice["properties"]["activation"] == {"enum": ["relu", "gelu"], "default": "relu"}
    assert choice["additionalProperties"] is False
    assert schema("callback")["oneOf"][0]["additionalProperties"] is True
