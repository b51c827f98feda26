"""Bad input for the command. A row: the arguments, what the message must contain (what is wrong, where, what would be
right), and the files that are written first.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

GOOD_CSV = "a,b,c\n" + "".join(f"{i},{i % 7},{'yes' if i % 2 else 'no'}\n" for i in range(60))
MARK = {"conf/.expkit": ""}
UNEVEN = """
import numpy as np
from expkit.data import ArrayData, Part, Source
from expkit.registry import register

@register("data", "uneven")
class Uneven(ArrayData):
    def read(self):
        return Source(Part(np.zeros((10, 3)), np.zeros(8)), "classification", ["a"])
"""
ODD_CALLBACK = """
from expkit.registry import register
from expkit.trainer import Callback

@register("callback", "odd")
class Odd(Callback):
    def on_train_epoch_edn(self, trainer, task): ...
"""


class Row(NamedTuple):
    argv: list[str]
    said: list[str]
    files: Mapping[str, str | bytes] = MappingProxyType({})


# Found while composing and validating: nothing is loaded, no run directory is made.
CONFIG = {
    "unknown option": Row(["model=mpl"], ["override 'model=mpl'", "no model 'mpl'", "Did you mean 'mlp'?", "cnn, "]),
    "unknown group": Row(["modle=mlp"], ["override 'modle=mlp'", "no key 'modle'", "Did you mean 'model'"]),
    "unknown experiment": Row(["experiment=digits_cn"], ["no experiment 'digits_cn'", "Did you mean", "'digits_cnn'"]),
    "mistyped key": Row(["model.hiden=[64]"], ["override 'model.hiden=[64]'", "no key 'hiden' in model", "'hidden'"]),
    "mistyped key of the optimizer": Row(["optim.l=0.1"], ["override 'optim.l=0.1'", "Did you mean 'lr'"]),
    "unknown argument of a model": Row(
        ["+model.hiden=[64]"],
        ["override '+model.hiden=[64]'", "not an argument of model 'mlp'", "hidden (list of int)"],
    ),
    "unknown argument in a file": Row(
        ["model=mine"],
        ["conf/model/mine.yaml: 'hiden' is not an argument of model 'mlp'", "Did you mean 'hidden'"],
        MARK | {"conf/model/mine.yaml": "name: mlp\nhiden: [64]\n"},
    ),
    "unknown name in a file": Row(
        ["model=mine"],
        ["conf/model/mine.yaml: there is no model 'mpl'", "'mlp'"],
        MARK | {"conf/model/mine.yaml": "name: mpl\n"},
    ),
    "wrong type": Row(["model.hidden=wide"], ["override 'model.hidden=wide'", "expected list of int", "'wide' (str)"]),
    "wrong type of the trainer's": Row(
        ["trainer.max_epochs=ten"], ["'max_epochs' of the trainer", "int", "'ten' (str)"]
    ),
    "number in quotes": Row(["optim.lr='0.1'"], ["expected float", "Write 0.1 without quotes"]),
    "no way to compile": Row(["trainer.compile=atuo"], ["'compile' of the trainer", "'auto'", "Did you mean 'auto'"]),
    "illegal choice": Row(["trainer.gradient_clip_algorithm=nrom"], ["'norm' or 'value'", "Did you mean 'norm'"]),
    "missing required value": Row(["data=csv"], ["conf/data/csv.yaml", "'data.path' must be given", "data.path=VALUE"]),
    "bad interpolation": Row(["optim.lr=${optim.rate}"], ["'optim.lr' refers to ${optim.rate}", "no 'optim.rate'"]),
    "bad interpolation in a file": Row(
        ["optim=mine"],
        ["conf/optim/mine.yaml: 'optim.lr' refers to ${vars.rate}"],
        MARK | {"conf/optim/mine.yaml": "name: adam\nlr: ${vars.rate}\n"},
    ),
    "unknown derived value": Row(["seed=${derived:num_clases}"], ["'seed'", "Did you mean 'num_classes'"]),
    "no override": Row(["model", "mlp"], ["'model' is not an override", "model=cnn"]),
    "unreadable override": Row(["model.hidden=[64"], ["override 'model.hidden=[64'", "A bracket is not closed"]),
    "several values": Row(["optim.lr=0.1,0.2"], ["gives several values", "Add -m", "optim.lr=[0.1,0.2]"]),
    "plus on an existing key": Row(["+seed=3"], ["override '+seed=3'", "leave out the '+'"]),
    "nothing to remove": Row(
        ["~callbacks.early_stoping"], ["override '~callbacks.early_stoping'", "nothing to remove"]
    ),
    "unknown flag": Row(["--multi"], ["'--multi' is not understood", "Did you mean '--multirun'"]),
    "unknown folder": Row(["-cd", "nowhere"], ["-cd nowhere: there is no such folder"]),
    "unknown primary config": Row(["-cn", "confg"], ["-cn confg", "Did you mean 'config'"]),
    "broken YAML": Row(
        ["model=mine"],
        ["conf/model/mine.yaml, line 2", "not valid YAML"],
        MARK | {"conf/model/mine.yaml": "name: mlp\n\thidden: 3\n"},
    ),
    "an unmarked conf folder": Row(
        ["model=mine"],
        ["conf/model/mine.yaml is not searched", "touch conf/.expkit"],
        {"conf/model/mine.yaml": "name: mlp\n"},
    ),
    "unknown plugin": Row(["plugins=[no_such_plugin]"], ["plugin 'no_such_plugin' cannot be imported"]),
    "broken plugin": Row(
        ["plugins=[broken_plugin]"],
        ["'broken_plugin' fails", "ZeroDivisionError", "line 2"],
        {"broken_plugin.py": "\n1 / 0\n"},
    ),
    "something to execute": Row(["+model._target_=os.system"], ["'_target_' has no effect"]),
    "unknown root key": Row(["+sede=3"], ["'sede' is not a key of the config", "Did you mean 'seed'"]),
    "conflicting device": Row(["device=cpu", "trainer.accelerator=gpu"], ["accelerator=gpu contradicts device=cpu"]),
    "several devices": Row(["trainer.devices=2"], ["does not name one device", "distributed=none"]),
    "a strategy": Row(["trainer.strategy=ddp"], ["trainer.strategy=ddp", "distributed=none"]),
    "unknown device": Row(["device.name=tpu"], ["there is no device 'tpu'", "cuda"]),
    "unknown callback argument": Row(
        ["+callbacks.early_stopping.patiense=3"],
        ["'patiense' is not an argument of callback", "Did you mean 'patience'"],
    ),
    "unknown logger": Row(["logger=mlfow"], ["no logger 'mlfow'", "Did you mean 'mlflow'"]),
    # -------------------------------------------------------------------------------------------- choices and files
    "defaults in a circle": Row(
        ["experiment=mine"],
        ["override 'experiment=mine", "go round in a circle", "Take that line out"],
        MARK | {"conf/experiment/mine.yaml": "# @package _global_\ndefaults:\n  - mine\n"},
    ),
    "an experiment without its first line": Row(
        ["experiment=mine"],
        ["conf/experiment/mine.yaml", "'override /model: ...'", "'# @package _global_'"],
        MARK | {"conf/experiment/mine.yaml": "defaults:\n  - override /model: cnn\n"},
    ),
    "values that refer to each other": Row(
        ["model=mine"],
        ["conf/model/mine.yaml: 'model.hidden'", "${model.activation}", "Recursive"],
        MARK | {"conf/model/mine.yaml": "name: mlp\nhidden: ${model.activation}\nactivation: ${model.hidden}\n"},
    ),
    "a choice with arguments in a list": Row(
        ["metrics=[{name: f1}]"], ["override 'metrics=[{name: f1}]'", "a list of names", "metrics.NAME.ARGUMENT=VALUE"]
    ),
    "unknown metric": Row(["metrics=[acc,f2]"], ["override 'metrics=[acc,f2]'", "no metrics 'f2'", "f1"]),
    "unknown argument of a metric": Row(
        ["metrics=[f1]", "metrics.f1.average=makro"], ["override 'metrics.f1.average=makro'", "'macro'"]
    ),
    "unknown task": Row(["task=supervized"], ["override 'task=supervized'", "Did you mean 'supervised'"]),
    "unknown debug": Row(["debug=fdrr"], ["override 'debug=fdrr'", "Did you mean 'fdr'"]),
    "unknown search": Row(["hparams_search=gird"], ["override 'hparams_search=gird'", "Did you mean 'grid'"]),
    "unknown callback": Row(["callbacks=[default,tmer]"], ["no callbacks 'tmer'", "Did you mean 'timer'"]),
    "unknown loss": Row(["loss=cross_entrpy"], ["override 'loss=cross_entrpy'", "Did you mean 'cross_entropy'"]),
    "unknown scheduler": Row(["scheduler=cosin"], ["override 'scheduler=cosin'", "Did you mean 'cosine'"]),
    "a callback that is a number": Row(["+callbacks.x=3"], ["override '+callbacks.x=3'", "a mapping with a 'name'"]),
    "a GPU by its number": Row(["device=cuda:0"], ["override 'device=cuda:0'", "Did you mean 'cuda'"]),
    "part of the config that is none": Row(
        ["--cfg", "job", "-p", "modle"], ["--package modle", "Did you mean 'model'"]
    ),
    "a flag without the one it belongs to": Row(["--resolve"], ["--resolve belongs to --cfg", "--cfg job --resolve"]),
    "a kind of config that is none": Row(["--cfg", "jobs"], ["--cfg", "'jobs'", "job"]),
    # -------------------------------------------------------------------------------------------- values
    "a choice of a model's": Row(
        ["model.norm=batchnorm"], ["override 'model.norm=batchnorm'", "'none' or 'batch' or 'layer'", "mean 'batch'"]
    ),
    "a number of another kind": Row(["data.batch_size=1.5"], ["override 'data.batch_size=1.5'", "expected int"]),
    "a list that is too short": Row(["optim.betas=[0.9]"], ["override 'optim.betas=[0.9]'", "list of 2"]),
    "a seed that is no whole number": Row(["seed=1.5"], ["override 'seed=1.5'", "expected int or None"]),
    "tags that are no words": Row(["tags=[1,2]"], ["override 'tags=[1,2]'", "expected list of str"]),
    "no task name": Row(["task_name="], ["override 'task_name='", "names the folder of the runs"]),
    "a task name that leads away": Row(["task_name=../../x"], ["task_name='../../x'", "paths.log_dir"]),
    "unknown precision": Row(["trainer.precision=fp8"], ["override 'trainer.precision=fp8'", "'bf16-mixed'"]),
    "a time that is none": Row(["trainer.max_time=soon"], ["override 'trainer.max_time=soon'", "DD:HH:MM:SS"]),
    "a share above one": Row(["trainer.limit_val_batches=1.5"], ["limit_val_batches=1.5", "from 0.0 to 1.0"]),
    "no accumulation": Row(["trainer.accumulate_grad_batches=0"], ["accumulate_grad_batches=0", "at least 1"]),
    "clipping below zero": Row(["trainer.gradient_clip_val=-1"], ["gradient_clip_val=-1", "at least 0 or None"]),
    "unknown interval of a schedule": Row(
        ["scheduler=cosine", "scheduler.interval=epochs"], ["'interval' of a scheduler", "Did you mean 'epoch'"]
    ),
    "groups that are no list": Row(["optim.groups=3"], ["override 'optim.groups=3'", "a list of rows", "params:"]),
    "a group without a pattern": Row(["optim.groups=[{lr: 1}]"], ["optim.groups[0]", "{params: '*.bias'"]),
    "unknown option of a group": Row(
        ["optim.groups=[{params: '*', lrr: 1}]"], ["optim.groups[0]", "'lrr' is not an option", "Did you mean 'lr'"]
    ),
    "filled in by expkit": Row(["+trainer.callbacks=[]"], ["'callbacks' of the trainer is filled in by expkit"]),
    # -------------------------------------------------------------------------------------------- plugins
    "a plugin that is a file": Row(["plugins=['a b']"], ["plugin 'a b'", "write e.g. my_package.my_module"]),
    "a plugin with a syntax error": Row(
        ["plugins=[broken_syntax]"],
        ["'broken_syntax' fails", "SyntaxError", "broken_syntax.py, line 2"],
        {"broken_syntax.py": "x = 1\ndef f(:\n"},
    ),
    "a plugin that lacks a library": Row(
        ["plugins=[broken_import]"],
        ["'broken_import' fails", "No module named 'no_such_library'", "broken_import.py, line 1"],
        {"broken_import.py": "import no_such_library\n"},
    ),
    "a plugin that takes a name": Row(
        ["plugins=[broken_name]"],
        ["model 'mlp' is registered twice", "broken_name", "another name"],
        {"broken_name.py": "from expkit.registry import register\n@register('model', 'mlp')\nclass X: pass\n"},
    ),
    "a plugin for a group that is none": Row(
        ["plugins=[broken_group]"],
        ["no registry group 'modle'", "Did you mean 'model'"],
        {"broken_group.py": "from expkit.registry import register\nregister('modle', 'x')\n"},
    ),
    # -------------------------------------------------------------------------------------------- tasks and models
    "no teacher": Row(
        ["task=distillation"], ["task/distillation.yaml", "'task.teacher' must be given", "task.teacher="]
    ),
    "no model": Row(["model=none"], ["model/none.yaml", "a model must be chosen", "expkit ls model"]),
    "frozen by a number": Row(["freeze=3"], ["override 'freeze=3'", "str or list of str"]),
    "a folder that must be given": Row(
        ["model=gpt2"], ["model/gpt2.yaml", "'model.path' must be given", "model.path="]
    ),
    "a switch that is none": Row(
        ["logger.log_system_metrics=maybe"], ["override 'logger.log_system_metrics=maybe'", "expected bool"]
    ),
    "aliases that are no list": Row(["logger.aliases=champ"], ["override 'logger.aliases=champ'", "list of str"]),
}

# Found once the data, the model or a checkpoint is there.
RUN = {
    "no GPU": Row(["device=cuda"], ["cuda"]),
    "no such data file": Row(["data=csv", "data.path=none.csv"], ["none.csv"]),
    "data file without rows": Row(["data=csv", "data.path=d.csv"], ["d.csv"], {"d.csv": "a,b,c\n"}),
    "data file with a bad number": Row(
        ["data=csv", "data.path=d.csv"],
        ["d.csv", "line 31", "oops"],
        {"d.csv": GOOD_CSV.replace("29,1,yes", "oops,1,yes")},
    ),
    "data file with a short line": Row(
        ["data=csv", "data.path=d.csv"], ["d.csv", "line 31"], {"d.csv": GOOD_CSV.replace("29,1,yes", "29,1")}
    ),
    "unknown target column": Row(
        ["data=csv", "data.path=d.csv", "data.target=d"], ["d.csv", "'d'"], {"d.csv": GOOD_CSV}
    ),
    "not an npz file": Row(["data=npz", "data.path=d.npz"], ["d.npz"], {"d.npz": b"PK\x03\x04 torn"}),
    "unknown monitor": Row(["callbacks.early_stopping.monitor=val/los"], ["val/los", "Did you mean 'val/loss'"]),
    "unknown checkpoint monitor": Row(["callbacks.model_checkpoint.monitor=val/accuracy"], ["val/accuracy", "val/acc"]),
    "shapes that do not fit": Row(["model=cnn", "data=wine"], ["cnn", "13"]),
    "a binary loss for three classes": Row(["data=wine", "loss=bce_with_logits"], ["loss/bce_with_", "output_size 3"]),
    "loss and task that do not fit": Row(["data=diabetes", "loss=cross_entropy"], ["cross_entropy", "regression"]),
    "no such checkpoint": Row(["ckpt_path=none.ckpt"], ["none.ckpt"]),
    "foreign checkpoint": Row(["ckpt_path=weights.pt"], ["weights.pt"], {"weights.pt": b"\x80\x02}q\x00."}),
    "negative learning rate": Row(["optim.lr=-1"], ["lr", "-1"]),
    "epochs out of range": Row(["trainer.max_epochs=-5"], ["max_epochs", "-5"]),
    "unknown metric to rank by": Row(
        ["optimized_metric=val/accuracy"], ["optimized_metric", "val/accuracy", "val/acc"]
    ),
    "zero batch size": Row(["data.batch_size=0"], ["override 'data.batch_size=0'"]),
    "no memory for it": Row(["model.hidden=[8, 100000000000]"], ["override 'model.hidden=", "too big", "100000000000"]),
    # -------------------------------------------------------------------------------------------- data
    "shares that leave nothing": Row(
        ["data.val_fraction=0.6", "data.test_fraction=0.6"], ["override 'data.val_fraction=0.6'", "leave no training"]
    ),
    "a share out of range": Row(["data.val_fraction=1.5"], ["override 'data.val_fraction=1.5'", "from 0 to below 1"]),
    "one class": Row(["data=synthetic", "data.num_classes=1"], ["override 'data.num_classes=1'", "at least 2"]),
    "samples without size": Row(["data=synthetic", "data.shape=[0]"], ["override 'data.shape=[0]'", "above zero"]),
    "a batch that never fills": Row(
        ["data.batch_size=99999", "data.drop_last=true"], ["batch_size=99999 with drop_last", "training samples"]
    ),
    "a column that is not there": Row(
        ["data=csv", "data.path=d.csv", "data.columns=[a,z]"],
        ["d.csv", "no column 'z'", "Columns: a, b, c"],
        {"d.csv": GOOD_CSV},
    ),
    "text as an npz file": Row(["data=npz", "data.path=d.npz"], ["d.npz", "numpy.savez"], {"d.npz": "a,b\n"}),
    "data that is none": Row(
        ["plugins=[odd_data]", "data=odd"],
        ["data 'odd' is list, no DataModule"],
        {"odd_data.py": "from expkit.registry import register\n@register('data', 'odd')\ndef odd():\n    return []\n"},
    ),
    "data of two lengths": Row(
        ["plugins=[uneven_data]", "data=uneven"],
        ["Uneven.read() gave 10 samples x and 8 targets y", "as many"],
        {"uneven_data.py": UNEVEN},
    ),
    # -------------------------------------------------------------------------------------------- model and loss
    "unknown activation": Row(["model.activation=rleu"], ["override 'model.activation=rleu'", "Did you mean 'relu'"]),
    "a probability out of range": Row(["model.dropout=1.5"], ["override 'model.dropout=1.5'", "[0, 1)"]),
    "a layer without values": Row(["model.hidden=[0]"], ["override 'model.hidden=[0]'", "at least 1"]),
    "an image that is too small": Row(["model=cnn", "model.pool=100"], ["cnn", "8x8", "a smaller model.pool"]),
    "a model that is none": Row(
        ["plugins=[odd_model]", "model=odd"],
        ["model 'odd' is int, no Module"],
        {
            "odd_model.py": "from expkit.registry import register\n@register('model', 'odd')\n"
            "def odd(input_shape, output_size):\n    return 3\n"
        },
    ),
    "a model that refuses": Row(
        ["plugins=[sad_model]", "model=sad", "+model.width=3"],
        ["override '+model.width=3'", "model 'sad' cannot be built", "width must be even", "sad_model.py, line 4"],
        {
            "sad_model.py": "from expkit.registry import register\n@register('model', 'sad')\n"
            "def sad(input_shape, output_size, width: int = 2):\n    raise ValueError('width must be even')\n"
        },
    ),
    "a hook that is none": Row(
        ["plugins=[odd_callback]", "+callbacks.odd.name=odd"],
        ["Odd.on_train_epoch_edn is not a hook", "Did you mean 'on_train_epoch_end'"],
        {"odd_callback.py": ODD_CALLBACK},
    ),
    "a loss for another kind of data": Row(["loss=mse"], ["loss/mse.yaml", "for regression", "cross_entropy"]),
    "smoothing out of range": Row(
        ["loss=cross_entropy", "loss.label_smoothing=2"], ["override 'loss.label_smoothing=2'", "between 0.0 and 1.0"]
    ),
    "weights of other classes": Row(
        ["loss=cross_entropy", "loss.weight=[1,2]"], ["expected (10,), got (2,)", "loss/cross_entropy.yaml"]
    ),
    # -------------------------------------------------------------------------------------------- optimization
    "a learning rate that is no number": Row(["optim.lr=nan"], ["override 'optim.lr=nan'", "zero or above"]),
    "a memory out of range": Row(["optim.betas=[0.9,1.5]"], ["override 'optim.betas=[0.9,1.5]'", "[0, 1)"]),
    "a schedule of no epochs": Row(
        ["scheduler=cosine", "scheduler.T_max=0"], ["override 'scheduler.T_max=0'", "number of epochs"]
    ),
    "a group that fits nothing": Row(
        ["optim.groups=[{params: 'nope.*', lr: 1}]"], ["optim.groups[0]", "'nope.*'", "layers.0.weight"]
    ),
    "nothing left to train": Row(
        ["optim.groups=[{params: '*', freeze: true}]"],
        ["optim.groups=[{params:", "freezes every parameter", "nothing to train"],
    ),
    "an interval longer than the epoch": Row(
        ["trainer.val_check_interval=1000"], ["val_check_interval=1000", "at most 20", "check_val_every_n_epoch"]
    ),
    "patience below zero": Row(["callbacks.early_stopping.patience=-1"], ["patience=-1", "0 or above"]),
    "a mode that is none": Row(
        ["callbacks.early_stopping.mode=maximum"], ["early_stopping.mode=maximum'", "Did you mean 'max'"]
    ),
    # -------------------------------------------------------------------------------------------- checkpoints
    "a folder that is no checkpoint": Row(["ckpt_path=."], [". is not an expkit checkpoint", "manifest.json"]),
    "a run folder that is a file": Row(["hydra.run.dir=d.csv"], ["d.csv cannot be made"], {"d.csv": GOOD_CSV}),
    "weights that are not there": Row(["weights=none.ek"], ["override 'weights=none.ek'", "does not exist", "run dir"]),
    "weights that are a table": Row(
        ["weights=d.csv"], ["override 'weights=d.csv'", "no safetensors file"], {"d.csv": GOOD_CSV}
    ),
    "a teacher that is not there": Row(
        ["task=distillation", "task.teacher=none"], ["teacher: none does not exist", "Train one first"]
    ),
    "frozen by another name": Row(
        ["freeze=['nope.*']"], ["freeze: no parameter is called 'nope.*'", "layers.0.weight"]
    ),
    "all frozen": Row(["freeze=['*']"], ["freeze covers every parameter", "nothing to train"]),
    # -------------------------------------------------------------------------------------------- text and pixels
    "a model that reads no tokens": Row(
        ["data=text", "data.path=t.txt", "data.block_size=8", "model=mlp"],
        ["does not take tokens", "model=gpt"],
        {"t.txt": "some text to read. " * 60},
    ),
    "a language model for images": Row(["model=gpt"], ["model/gpt.yaml", "rows of tokens", "data=text"]),
    "windows longer than the text": Row(
        ["data=text", "data.path=t.txt", "data.block_size=9999", "model=gpt"],
        ["override 'data.block_size=9999'", "make it smaller"],
        {"t.txt": "some text to read. " * 60},
    ),
    "a tokenizer that is not there": Row(
        ["data=text", "data.path=t.txt", "data.tokenizer=none.json", "model=gpt"],
        ["override 'data.tokenizer=none.json'", "tokenizer.json"],
        {"t.txt": "some text to read. " * 60},
    ),
    "a folder without a model": Row(
        ["data=text", "data.path=t.txt", "data.block_size=8", "model=gpt2", "model.path=none"],
        ["override 'model.path=none'", "config.json", "Hugging Face"],
        {"t.txt": "some text to read. " * 60},
    ),
    "no room for bytes": Row(
        ["data=text", "data.path=t.txt", "data.tokenizer=bpe", "data.vocab_size=10", "model=gpt"],
        ["override 'data.vocab_size=10'", "256 bytes"],
        {"t.txt": "some text to read. " * 60},
    ),
    "a patch that does not divide": Row(
        ["model=vit", "model.patch_size=3"], ["override 'model.patch_size=3'", "1, 2, 4, 8"]
    ),
    # -------------------------------------------------------------------------------------------- metrics, callbacks
    "a metric of classes for numbers": Row(
        ["data=diabetes", "metrics=[acc]"], ["metrics.acc", "regression", "mae, r2"]
    ),
    "a metric of numbers for classes": Row(["metrics=[mae]"], ["metrics.mae", "classification", "acc, f1"]),
    "an average without memory": Row(
        ["callbacks=[default,ema_weight_averaging]", "callbacks.ema_weight_averaging.decay=2"],
        ["override 'callbacks.ema_weight_averaging.decay=2'", "from 0 to 1"],
    ),
    "a backbone that is none": Row(
        ["callbacks=[default,backbone_finetuning]"], ["no module 'backbone'", "say which one", "model.layers"]
    ),
    "a test of rates upside down": Row(
        ["callbacks=[default,learning_rate_finder]", "callbacks.learning_rate_finder.min_lr=2"],
        ["override 'callbacks.learning_rate_finder.min_lr=2'", "above min_lr"],
    ),
    "a mixture out of range": Row(
        ["task=supervised", "task.mixup_alpha=-1"], ["override 'task.mixup_alpha=-1'", "0 (off) or more"]
    ),
}

# Other verbs, and sweeps. {run} is the directory of a finished run.
VERBS = {
    "unknown verb": Row(["trian"], ["no verb 'trian'", "Did you mean 'train'"]),
    "no verb": Row(["model=cnn"], ["'model=cnn' stands where a verb should", "expkit train model=cnn"]),
    "a value of a sweep": Row(
        ["train", "-m", "optim.lr=1,x", "logger=none"], ["override 'optim.lr=x'", "expected float"]
    ),
    "a choice of a sweep": Row(
        ["train", "-m", "model=mlp,resnet21", "logger=none"], ["override 'model=resnet21'", "resnet20"]
    ),
    "unknown sweeper": Row(
        ["train", "-m", "hydra/sweeper=foo", "logger=none"], ["override 'hydra/sweeper=foo'", "basic"]
    ),
    "resume what is not there": Row(["resume", "nothing"], ["resume nothing: there is no such run directory"]),
    "resume what is no run": Row(["resume", "empty"], ["resume empty", "config.yaml"], {"empty/a.txt": ""}),
    "resume a torn config": Row(["resume", "run"], ["run/config.yaml", "YAML"], {"run/config.yaml": "a: [1\n"}),
    "resume a torn checkpoint": Row(
        ["resume", "{run}"], ["manifest.json"], {"{run}/checkpoints/epoch_000-step_000007/manifest.json": "{"}
    ),
    "begin with a torn checkpoint": Row(
        ["train", "data=iris", "model=linear", "ckpt_path={run}", "logger=none"],
        ["model.safetensors", "checkpoint"],
        {"{run}/checkpoints/epoch_000-step_000007/model.safetensors": b"\0" * 40},
    ),
    "show nothing": Row(["show"], ["required: group", "expkit show --help"]),
    "show a model that is none": Row(["show", "model", "mpl"], ["no model 'mpl'", "Did you mean 'mlp'"]),
    "show a group that is none": Row(["show", "modle", "mlp"], ["no group 'modle'", "Did you mean 'model'"]),
    "list a group that is none": Row(["ls", "modle"], ["no group 'modle'", "Did you mean 'model'"]),
    "too many words": Row(["ls", "model", "mlp"], ["'mlp' is not understood", "expkit ls --help"]),
    "plan a model that is none": Row(["plan", "model=mpl"], ["override 'model=mpl'", "Did you mean 'mlp'"]),
    "memory that is no size": Row(["plan", "--memory", "lots"], ["--memory lots", "8GiB"]),
    "a picture in a folder that is not there": Row(["graph", "--html", "no/x.html"], ["no/x.html", "does not exist"]),
    "no steps": Row(["profile", "--steps", "0"], ["--steps 0", "at least 1"]),
    "sync what is not there": Row(["sync", "nothing"], ["sync nothing: there is no such folder", "a run directory"]),
    "a port that is none": Row(["ui", "--port", "99999999"], ["--port 99999999", "1 to 65535"]),
    "a flag of another verb": Row(["plan", "--port", "3"], ["'--port' is not understood", "--memory"]),
    "evaluate nothing": Row(["eval", "nothing"], ["eval nothing: there is no such run directory", "expkit ls runs"]),
    "predict by nothing": Row(["predict", "nothing"], ["predict nothing: there is no such run", "expkit ls runs"]),
    "predict of a file that is not there": Row(["predict", "{run}", "--input", "none.csv"], ["none.csv"]),
    "predict of other columns": Row(
        ["predict", "{run}", "--input", "d.csv"], ["d.csv", "sepal length"], {"d.csv": "a,b\n1,2\n"}
    ),
    "predict into an unknown kind of file": Row(["predict", "{run}", "--output", "x.doc"], ["x.doc", ".csv"]),
    "a part that is none": Row(["eval", "{run}", "--split", "tset"], ["tset", "test"]),
    "compare with nothing": Row(["diff", "{run}", "nothing"], ["diff nothing: there is no such run directory"]),
    "a shell that is none": Row(["completion", "tcsh"], ["no completion for 'tcsh'", "bash, zsh, fish"]),
    "a schema of nothing": Row(["schema", "modle"], ["no schema of 'modle'", "Did you mean 'model'"]),
    "a project where a file is": Row(["init", "d.csv"], ["d.csv is a file", "does not exist yet"], {"d.csv": "a\n"}),
}
