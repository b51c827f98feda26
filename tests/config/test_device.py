"""device and distributed against Lightning's aliases: agreement, `auto`, and each conflict."""

import pytest

from expkit.config.device import settle_device
from expkit.errors import ConfigError


def settle(device=None, **trainer):
    return settle_device(
        {"device": device, "trainer": trainer, "distributed": {"name": "none"}}, lambda key: f"<{key}>"
    )


SETTLED = [
    (None, {}, "auto"),
    ({"name": "auto"}, {"accelerator": "auto", "devices": "auto", "strategy": "auto"}, "auto"),
    ({"name": "cpu"}, {}, "cpu"),
    ({"name": "cuda"}, {}, "cuda"),
    ({"name": "cuda", "index": 1}, {}, "cuda:1"),
    ({"name": "cuda:2"}, {}, "cuda:2"),
    ({"name": "auto"}, {"accelerator": "gpu"}, "cuda"),
    ({"name": "auto"}, {"accelerator": "cpu"}, "cpu"),
    ({"name": "cpu"}, {"accelerator": "cpu", "devices": 1}, "cpu"),
    ({"name": "cuda"}, {"accelerator": "gpu", "devices": [3]}, "cuda:3"),
    ({"name": "cuda"}, {"devices": "3,"}, "cuda:3"),
    ({"name": "cuda", "index": 3}, {"devices": [3], "strategy": "single_device", "num_nodes": 1}, "cuda:3"),
]


@pytest.mark.parametrize(("device", "trainer", "settled"), SETTLED, ids=str)
def test_settled(device, trainer, settled):
    assert settle(device, **trainer) == settled


REFUSED = [
    ({"name": "gpu"}, {}, "<device.name>: there is no device 'gpu'"),
    ({"name": "cpu:1"}, {}, "there is no device 'cpu:1'"),
    ({"name": 3}, {}, "there is no device 3"),
    ({"name": "cuda", "index": -1}, {}, "<device.index>: device.index is the number of a GPU"),
    ({"name": "cuda", "index": True}, {}, "device.index is the number of a GPU"),
    ({"name": "cpu", "indx": 1}, {}, "<device.indx>: 'indx' is not an argument of device"),
    ({"name": "cpu"}, {"accelerator": "gpu"}, "trainer.accelerator=gpu contradicts device=cpu"),
    ({"name": "cuda"}, {"accelerator": "cpu"}, "trainer.accelerator=cpu contradicts device=cuda"),
    ({"name": "auto"}, {"accelerator": "tpu"}, "<trainer.accelerator>: there is no accelerator 'tpu'"),
    ({"name": "cuda", "index": 1}, {"devices": [2]}, "trainer.devices=[2] contradicts device.index=1"),
    ({"name": "cuda"}, {"devices": 2}, "trainer.devices=2 does not name one device"),
    ({"name": "cuda"}, {"devices": [0, 1]}, "does not name one device"),
    ({"name": "cuda"}, {"devices": -1}, "does not name one device"),
    ({"name": "auto"}, {"strategy": "ddp"}, "<trainer.strategy>: trainer.strategy=ddp asks for training on several"),
    ({"name": "auto"}, {"num_nodes": 2}, "<trainer.num_nodes>: trainer.num_nodes=2"),
]


@pytest.mark.parametrize(("device", "trainer", "said"), REFUSED, ids=str)
def test_refused(device, trainer, said):
    with pytest.raises(ConfigError) as caught:
        settle(device, **trainer)
    assert said in str(caught.value)


def test_distributed_training_does_not_exist():
    with pytest.raises(ConfigError, match="distributed=nccl does not exist; only distributed=none"):
        settle_device({"distributed": {"name": "nccl"}}, str)
