"""register, lookup, names and plugins."""

import sys

import pytest

from expkit.errors import RegistryError
from expkit.registry import load_plugins, lookup, names, plugin_folders, register, registered


@pytest.fixture(autouse=True)
def fresh(registry):
    return registry


def test_register_and_look_up():
    @register("loss", "zero")
    def zero():
        return 0

    assert lookup("loss", "zero") is zero
    assert names("loss") == registered("loss") == ["zero"]


def test_the_same_name_twice_is_refused_and_a_reload_is_not():
    def make(qualname):
        def factory():
            return None

        factory.__qualname__ = qualname
        return factory

    register("loss", "zero")(make("zero"))
    register("loss", "zero")(make("zero"))
    with pytest.raises(RegistryError, match=r"loss 'zero' is registered twice: by .*\.zero and by .*\.other"):
        register("loss", "zero")(make("other"))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: register("modle", "x"), r"no registry group 'modle'. Did you mean 'model'\?"),
        (lambda: register("model", "a b"), "letters, digits and underscores"),
        (lambda: register("model", ""), "letters, digits and underscores"),
        (lambda: names("layers"), "Groups: model, optim"),
        (lambda: lookup("model", "x"), "there is no model 'x'"),
        (lambda: load_plugins(["no_such_module_xyz"]), "there is no module 'no_such_module_xyz'"),
        (lambda: load_plugins(["not a module"]), "is not the name of a module"),
        (lambda: load_plugins(["../evil"]), "is not the name of a module"),
        (lambda: load_plugins([3]), "is not the name of a module"),
    ],
)
def test_refusals(call, said):
    with pytest.raises(RegistryError, match=said):
        call()


PLUGIN = """
from expkit.registry import register

@register("model", "planted")
def planted(input_shape: tuple[int, ...], output_size: int):
    return "planted"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_a_plugin_in_the_working_directory(here):
    (here / "my_plugin_one.py").write_text(PLUGIN)
    load_plugins(["my_plugin_one"])
    load_plugins(["my_plugin_one"])
    assert names("model") == ["planted"]
    assert plugin_folders() == [here]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_thing_abc", "fails while being imported: ModuleNotFoundError.*line 1"),
        ("\n1 / 0", "fails while being imported: ZeroDivisionError.*line 2"),
        ("def f(:", "fails while being imported: SyntaxError"),
    ],
)
def test_a_broken_plugin_says_where(here, text, said):
    (here / "my_plugin_two.py").write_text(text)
    with pytest.raises(RegistryError, match=said):
        load_plugins(["my_plugin_two"])
