"""validate: what a composed config can be told to have wrong before anything is loaded."""

import pytest

from expkit.config import compose, named_entries, split_schedule, validate
from expkit.errors import ConfigError


def test_a_good_config_comes_back_as_plain_containers(primary):
    composed = compose(["device.name=cuda:1"])
    config = validate(composed)
    assert config["model"] == {"name": "mlp", "hidden": [4]}
    assert config["device"] == {"name": "cuda:1"}
    assert config["trainer"]["max_epochs"] == 2
    assert (config["trainer"]["accelerator"], config["trainer"]["devices"]) == ("cuda", [1])
    assert validate(composed) == config, "the settled config is a valid one"
    assert type(config["trainer"]) is dict


def test_values_that_wait_for_the_data_pass(primary):
    validate(compose(["model.hidden=['${derived:num_classes}', 3]", "optim.lr=${derived:num_train}"]))


@pytest.mark.parametrize("overrides", [["~callbacks.stop"], ["callbacks.stop=null"]])
def test_callbacks_and_loggers_may_be_switched_off(primary, overrides):
    validate(compose(overrides))


OVERRIDE = "override '{}': "
WRONG = {
    "+model.hiden=[3]": [
        OVERRIDE,
        "'hiden' is not an argument of model 'mlp'.",
        "Did you mean 'hidden'?",
        "dropout (float)",
    ],
    "model.hidden=3": [OVERRIDE, "'hidden' of model 'mlp': expected list of int, got 3 (int). Write [3]."],
    "model.hidden=[a]": [OVERRIDE, "expected list of int, got ['a'] (list)"],
    "model.name=mpl": [OVERRIDE, "there is no model 'mpl'. Did you mean 'mlp'?"],
    "model.name=null": [OVERRIDE, "a model needs a 'name'"],
    "model={name: null}": ["a model needs a 'name'"],
    "~model.hidden": ["conf/config.yaml: model 'mlp' needs 'hidden' (list of int)"],
    "+model._target_=os.system": [OVERRIDE, "'_target_' has no effect here"],
    "optim.lr='0.1'": ["expected float, got '0.1' (str). Write 0.1 without quotes."],
    "+optim.params=[]": [OVERRIDE, "'params' of optim 'adam' is filled in by expkit"],
    "++scheduler={name: cosine, optimizer: x}": [OVERRIDE, "'optimizer' of scheduler 'cosine' is filled in by expkit"],
    "+scheduler.interval=batch": [OVERRIDE, "'interval' of a scheduler: expected 'epoch' or 'step', got 'batch'"],
    "+scheduler.frequency=often": [OVERRIDE, "'frequency' of a scheduler: expected int"],
    "data.batch_size=many": [OVERRIDE, "'batch_size' of data 'digits': expected int, got 'many' (str)"],
    "+loss.x=3": [OVERRIDE, "'x' is not an argument of loss 'auto', which takes none"],
    "++scheduler.step_size=3": [OVERRIDE, "'step_size' is not an argument of scheduler 'none'"],
    "loss.name=cross_entrpy": [OVERRIDE, "there is no loss 'cross_entrpy'. Did you mean 'cross_entropy'"],
    "+callbacks.stop.patiense=3": [OVERRIDE, "'patiense' is not an argument of callback 'stop'", "'patience'"],
    "callbacks.stop=3": [OVERRIDE, "callbacks.stop must be a mapping with a 'name', got 3", "~callbacks.stop"],
    "callbacks.stop.name=stpo": [OVERRIDE, "there is no callback 'stpo'. Did you mean 'stop'?"],
    "callbacks.stop.monitor='  '": ["callbacks.stop.monitor='  ' is not the name of a metric"],
    "logger.name=mlfow": [OVERRIDE, "there is no logger 'mlfow'"],
    "trainer.max_epochs=ten": [OVERRIDE, "'max_epochs' of the trainer: expected int or None, got 'ten' (str)"],
    "trainer.max_epochs=-5": [OVERRIDE, "max_epochs=-5 of the trainer: expected at least 0"],
    "+trainer.max_epoch=3": [OVERRIDE, "'max_epoch' is not an argument of the trainer", "Did you mean 'max_epochs'"],
    "+trainer.callbacks=[]": [OVERRIDE, "'callbacks' of the trainer is filled in by expkit"],
    "+sede=3": [OVERRIDE, "'sede' is not a key of the config. Did you mean 'seed'", "vars"],
    "+seed=x": [OVERRIDE, "'seed' of the config: expected int or None, got 'x' (str)"],
    "tags=x": [OVERRIDE, "'tags' of the config: expected list of str"],
    "+train=3": [OVERRIDE, "'train' of the config: expected bool, got 3 (int)"],
    "+plugins=x": [OVERRIDE, "'plugins' of the config: expected list of str"],
    "+optimized_metric='a;b'": ["optimized_metric='a;b' is not the name of a metric"],
    "device.name=gpu0": [OVERRIDE, "there is no device 'gpu0'", "auto, cpu, cuda, cuda:0"],
    "trainer.strategy=ddp": [OVERRIDE, "distributed=none is the only choice"],
}


@pytest.mark.parametrize(("override", "said"), WRONG.items(), ids=WRONG.keys())
def test_wrong(primary, override, said):
    with pytest.raises(ConfigError) as caught:
        validate(compose([override]))
    message = str(caught.value)
    assert not [part for part in said if part.format(override) not in message], message


def test_the_message_names_the_file(conf, small_registry, primary):
    conf("experiment/x.yaml", "# @package _global_\nmodel:\n  hiden: [3]\n")
    with pytest.raises(ConfigError, match=r"^conf/experiment/x\.yaml: 'hiden' is not an argument of model 'mlp'"):
        validate(compose(["+experiment=x"]))


def test_when_a_scheduler_is_stepped_is_no_argument_of_it(primary):
    validate(compose(["++scheduler={name: cosine, T_max: 3, interval: step, frequency: 2, monitor: null}"]))
    assert split_schedule({"name": "step", "step_size": 3, "interval": "step"}) == (
        {"name": "step", "step_size": 3},
        {"interval": "step"},
    )


def test_named_entries():
    def origin(key):
        return key

    assert list(named_entries(None, "logger", origin)) == []
    assert list(named_entries({"name": "none"}, "logger", origin)) == [("logger", {"name": "none"})]
    two = {"a": {"name": "csv"}, "b": None, "c": {"name": "none"}}
    assert [key for key, _ in named_entries(two, "logger", origin)] == ["logger.a", "logger.c"]
