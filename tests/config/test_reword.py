"""Everything that Hydra and OmegaConf complain about, in expkit's words: override -> fragments of the message."""

import pytest

from expkit.config import compose
from expkit.errors import ConfigError

OVERRIDES = {
    "model=mpl": ["override 'model=mpl': there is no model 'mpl'.", "Did you mean 'mlp'?", "model: autoencoder, bert"],
    "modle=mlp": ["override 'modle=mlp': there is no key 'modle'.", "Did you mean 'model'"],
    "optmi.lr=3": ["there is no key 'optmi'", "Did you mean 'optim'"],
    "optim.lrr=3": ["override 'optim.lrr=3': there is no key 'lrr' in optim. Did you mean 'lr'", "optim: name, lr"],
    "optim={lr: 3, lrr: 4}": ["override 'optim={lr: 3, lrr: 4}': there is no key 'lrr' in optim. Did you mean 'lr'"],
    "optim.lr.x=3": ["override 'optim.lr.x=3'", "has no keys: write optim.lr=VALUE"],
    "tags.x=3": ["override 'tags.x=3': tags is a list", "tags=[...]"],
    "model": ["'model' is not an override: write key=value"],
    "=3": ["has no key"],
    "seed=[64": ["override 'seed=[64'", "A bracket is not closed."],
    "task_name=größe": ["the value cannot be read", "Quote it: task_name='\"größe\"'"],
    "a=b=c": ["override 'a=b=c': the value cannot be read", "Quote it: a='\"b=c\"'"],
    "+model=cnn": ["override '+model=cnn': a model is chosen already (cnn)", "leave out the '+'"],
    "+seed=3": ["override '+seed=3': the key exists already"],
    "~foo": ["override '~foo': there is nothing to remove."],
    "~experiment/x": ["nothing to remove"],
    "~optim.lrr": ["there is nothing to remove. Did you mean 'optim.lr'"],
    "~seed=5": ["override '~seed=5': the value is 42"],
    "optim.lr=1e-2,1e-3": ["gives several values", "Add -m", "optim.lr=[1e-2,1e-3]"],
    "optim.lr=choice(1,2)": ["override 'optim.lr=choice(1,2)' gives several values"],
    "trainer=3": ["override 'trainer=3': trainer takes the name of an option. trainer: default."],
    "model=": ["override 'model=': there is no model ''"],
    "experiment=wine": ["there is no experiment 'wine'. Did you mean 'wine_mlp'"],
    "callbacks=[default,foo]": ["there is no callbacks 'foo'"],
    "+foo@bar=mlp": ["override '+foo@bar=mlp': there is no group 'foo'"],
    "model@x=mlp": ["override 'model@x=mlp': nothing chooses 'model@x'", "Did you mean 'model'"],
    "hydra.foo=3": ["override 'hydra.foo=3': there is no key 'foo' in hydra"],
    "hydra/launcher=joblob": ["there is no hydra/launcher 'joblob'", "basic"],
    "hydra.searchpath=[3]": ["hydra.searchpath must be a list of strings"],
    "hydra.searchpath=[file:///nope]": ["hydra.searchpath: there is no folder /nope"],
    "hydra.run.dir=${nope}": ["override 'hydra.run.dir=${nope}': hydra.run.dir cannot be resolved", "'nope'"],
    "optim.lr=${optim.lrr}": [
        "'optim.lr' refers to ${optim.lrr}, but there is no 'optim.lrr'. Did you mean 'optim.lr'"
    ],
    "optim.lr=${optim.lr}": ["${optim.lr} cannot be resolved: Recursive"],
    "seed=${derived:num_clases}": ["'seed': ${derived:num_clases}", "Did you mean 'num_classes'", "input_shape"],
    "seed=${drived:x}": ["calls 'drived', which does not exist. Did you mean 'derived'"],
    "seed=${oc.env:NO_SUCH_VARIABLE}": ["'seed'", "Environment variable 'NO_SUCH_VARIABLE' not found"],
    "seed=???": ["override 'seed=???': 'seed' must be given (it is ???): write seed=VALUE."],
    "plugins=[no_such_module_abc]": ["plugin 'no_such_module_abc' cannot be imported"],
}


@pytest.mark.parametrize(("override", "said"), OVERRIDES.items(), ids=OVERRIDES.keys())
def test_overrides(workdir, override, said):
    with pytest.raises(ConfigError) as caught:
        compose([override]).resolved()
    message = str(caught.value)
    assert not [fragment for fragment in said if fragment not in message], message
    assert not [word for word in ("full_key", "object_type", "Traceback", "hydra.cc") if word in message], message


FILES = {
    "a tab": ("model/x.yaml", "name: mlp\n\thidden: [3]\n", ["conf/model/x.yaml, line 2, column 1: not valid YAML"]),
    "a bracket": ("model/x.yaml", "name: mlp\nhidden: [3\n", ["conf/model/x.yaml, line 3", "not valid YAML"]),
    "a key twice": ("model/x.yaml", "name: mlp\nname: cnn\n", ["conf/model/x.yaml, line 2", "duplicate key name"]),
    "a list": ("model/x.yaml", "- a\n- b\n", ["conf/model/x.yaml: a config file holds 'key: value' lines"]),
    "a word": ("model/x.yaml", "mlp\n", ["conf/model/x.yaml: a config file holds 'key: value' lines"]),
    "not text": ("model/x.yaml", b"name: \xff\xfe\n", ["conf/model/x.yaml: not UTF-8 text: byte 6 is 0xff"]),
    "an unclosed interpolation": ("model/x.yaml", "name: mlp\na: ${optim.lr\n", ["conf/model/x.yaml, line 2: 'a'"]),
    "a bad header": ("model/x.yaml", "# @package\nname: mlp\n", ["conf/model/x.yaml: the first line is wrong"]),
    "defaults that are no list": ("model/x.yaml", "defaults: mlp\n", ["conf/model/x.yaml: 'defaults' must be a list"]),
    "two groups in a line": ("model/x.yaml", "defaults: [{a: b, c: d}]\n", ["conf/model/x.yaml", "in 'defaults'"]),
    "defaults that do not exist": (
        "model/x.yaml",
        "defaults: [mpl]\n",
        ["conf/model/x.yaml: there is no model 'mpl'. Did you mean 'mlp'"],
    ),
    "an interpolation into nothing": (
        "model/x.yaml",
        "name: mlp\nhidden: ${optim.width}\n",
        ["conf/model/x.yaml: 'model.hidden' refers to ${optim.width}, but there is no 'optim.width'"],
    ),
    "a missing value": (
        "model/x.yaml",
        "name: mlp\nhidden: ???\n",
        ["conf/model/x.yaml: 'model.hidden' must be given"],
    ),
    "a choice in an experiment": (
        "experiment/x.yaml",
        "# @package _global_\ndefaults:\n  - override /model: mpl\n",
        ["conf/experiment/x.yaml: there is no model 'mpl'", "Did you mean 'mlp'"],
    ),
    "an override of no group": (
        "experiment/x.yaml",
        "# @package _global_\ndefaults:\n  - override /modle: mlp\n",
        ["conf/experiment/x.yaml: nothing chooses 'modle'", "Did you mean 'model'"],
    ),
}


@pytest.mark.parametrize(("file", "text", "said"), FILES.values(), ids=FILES.keys())
def test_files(conf, file, text, said):
    path = conf(file, "")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        compose([f"{path.parent.name}=x"]).resolved()
    message = str(caught.value)
    assert not [fragment for fragment in said if fragment not in message], message


def test_a_file_in_an_unmarked_folder_is_pointed_out(workdir):
    (workdir / "conf" / "model").mkdir(parents=True)
    (workdir / "conf" / "model" / "mine.yaml").write_text("name: mlp\n")
    with pytest.raises(
        ConfigError, match=r"conf/model/mine.yaml is not searched: mark the folder with `touch conf/.expkit`"
    ):
        compose(["model=mine"])


def test_an_unknown_primary_config(workdir):
    with pytest.raises(ConfigError, match=r"-cn confg: there is no config 'confg'\. Did you mean 'config'"):
        compose(config_name="confg")


def test_two_mistakes_are_still_one_clear_message(workdir):
    with pytest.raises(ConfigError, match="there is no key 'lrr' in optim"):
        compose(["optim.lrr=3", "sede=4"])
