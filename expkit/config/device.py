"""The rules of `device` and `distributed`, and their aliases among Lightning's trainer arguments.

`device` and `distributed` decide. trainer.accelerator, devices and strategy say the same in Lightning's words: `auto`
leaves it to the groups, agreement is fine, a conflict is an error. Only `distributed=none` exists so far.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from expkit.errors import ConfigError, did_you_mean

Origin = Callable[[str], str]

DEVICES = ("auto", "cpu", "cuda")
ACCELERATORS = {"auto": None, None: None, "cpu": "cpu", "gpu": "cuda", "cuda": "cuda"}
SINGLE = ("auto", None, "single_device")


def settle_device(config: Mapping[str, Any], origin: Origin) -> str:
    """The device of a resolved config: `auto`, `cpu`, `cuda` or `cuda:1`. ConfigError for a conflict."""
    _refuse_distributed(config, origin)
    kind, index = _device(config.get("device"), origin)
    trainer = config.get("trainer") or {}
    kind = _with_accelerator(kind, trainer.get("accelerator", "auto"), origin)
    index = _with_devices(kind, index, trainer.get("devices", "auto"), origin)
    return f"{kind}:{index}" if kind == "cuda" and index is not None else kind


def trainer_arguments(device: str) -> dict[str, Any]:
    """A settled device in Lightning's words: `cuda:1` -> accelerator cuda, devices [1]."""
    kind, _, index = device.partition(":")
    return {"accelerator": kind, "devices": [int(index)] if index else "auto", "strategy": "auto"}


def _device(group: Any, origin: Origin) -> tuple[str, int | None]:
    group = group or {}
    unknown = [key for key in group if key not in ("name", "index")]
    if unknown:
        raise ConfigError(
            f"{origin(f'device.{unknown[0]}')}: {unknown[0]!r} is not an argument of device. Arguments: name, index."
        )
    name, index = group.get("name", "auto"), group.get("index")
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", name) if isinstance(name, str) else None
    if match is None or (match[2] and match[1] != "cuda"):
        raise ConfigError(
            f"{origin('device.name')}: there is no device {name!r}.{did_you_mean(str(name), DEVICES)} "
            "Devices: auto, cpu, cuda, cuda:0, cuda:1, ..."
        )
    if match[2]:
        return "cuda", int(match[2])
    if index is not None and (isinstance(index, bool) or not isinstance(index, int) or index < 0):
        raise ConfigError(f"{origin('device.index')}: device.index is the number of a GPU (0, 1, ...), got {index!r}.")
    return match[1], index if match[1] == "cuda" else None


def _refuse_distributed(config: Mapping[str, Any], origin: Origin) -> None:
    name = (config.get("distributed") or {}).get("name", "none")
    if name != "none":
        raise ConfigError(
            f"{origin('distributed.name')}: distributed={name} does not exist; only distributed=none does."
        )
    trainer = config.get("trainer") or {}
    strategy = trainer.get("strategy", "auto")
    if strategy not in SINGLE:
        raise ConfigError(
            f"{origin('trainer.strategy')}: trainer.strategy={strategy} asks for training on several devices, which "
            "does not exist: distributed=none is the only choice. Write trainer.strategy=auto."
        )
    if trainer.get("num_nodes", 1) != 1:
        raise ConfigError(
            f"{origin('trainer.num_nodes')}: trainer.num_nodes={trainer['num_nodes']} asks for training on several "
            "machines, which does not exist: distributed=none is the only choice. Write trainer.num_nodes=1."
        )


def _with_accelerator(kind: str, accelerator: Any, origin: Origin) -> str:
    if accelerator not in ACCELERATORS:
        known = [str(name) for name in ACCELERATORS if name]
        raise ConfigError(
            f"{origin('trainer.accelerator')}: there is no accelerator {accelerator!r}."
            f"{did_you_mean(str(accelerator), known)} Accelerators: {', '.join(known)}."
        )
    wanted = ACCELERATORS[accelerator]
    if wanted is None or wanted == kind:
        return kind
    if kind == "auto":
        return wanted
    raise ConfigError(
        f"{origin('trainer.accelerator')}: trainer.accelerator={accelerator} contradicts device={kind} "
        f"({origin('device.name')}). Leave trainer.accelerator at auto: device decides."
    )


def _with_devices(kind: str, index: int | None, devices: Any, origin: Origin) -> int | None:
    if devices in ("auto", None, "1") or (devices == 1 and not isinstance(devices, bool)):
        return index
    where = origin("trainer.devices")
    numbers = [int(n) for n in re.findall(r"\d+", devices)] if isinstance(devices, str) and "," in devices else devices
    if isinstance(numbers, list) and len(numbers) == 1 and isinstance(numbers[0], int) and kind != "cpu":
        if index not in (None, numbers[0]) and kind == "cuda":
            raise ConfigError(
                f"{where}: trainer.devices={devices} contradicts device.index={index} ({origin('device.index')}). "
                "Leave trainer.devices at auto: device decides."
            )
        return int(numbers[0])
    raise ConfigError(
        f"{where}: trainer.devices={devices} does not name one device, and training on several does not exist: "
        "distributed=none is the only choice. Write trainer.devices=auto."
    )
