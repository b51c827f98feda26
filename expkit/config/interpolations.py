"""Every value that is missing (???) or refers to something that does not exist, found before anything runs."""

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException, UnsupportedInterpolationType

from expkit.config.origins import Origins
from expkit.errors import ConfigError, did_you_mean


def check_interpolations(config: DictConfig, origins: Origins) -> None:
    """ConfigError for the first value that is ??? or whose interpolation cannot be resolved."""
    for key, parent, last in _leaves(config):
        where = f"{origins.of(key)}: "
        if OmegaConf.is_missing(parent, last):
            raise ConfigError(f"{where}{key!r} must be given (it is ???): write {key}=VALUE.")
        if OmegaConf.is_interpolation(parent, last):
            _resolve(config, key, parent, last, where)


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    keys: list[Any] = list(node.keys()) if isinstance(node, DictConfig) else list(range(len(node)))
    for last in keys:
        key = f"{prefix}.{last}" if prefix else str(last)
        special = OmegaConf.is_missing(node, last) or OmegaConf.is_interpolation(node, last)
        child = None if special else node[last]
        if isinstance(child, DictConfig | ListConfig) and len(child):
            yield from _leaves(child, key)
        else:
            yield key, node, last


def _resolve(config: DictConfig, key: str, parent: Any, last: Any, where: str) -> None:
    text = str(parent._get_node(last)._value())
    try:
        value = parent[last]
        if isinstance(value, DictConfig | ListConfig):
            OmegaConf.to_container(value, resolve=True)
    except RecursionError:
        raise ConfigError(f"{where}{key!r} refers to itself by way of {text}.") from None
    except UnsupportedInterpolationType as error:
        name = str(error).split("type ")[-1].splitlines()[0].strip()
        raise ConfigError(
            f"{where}{key!r}: {text} calls {name!r}, which does not exist."
            f"{did_you_mean(name, ('derived', 'hydra', 'now', 'outputs', 'oc.env', 'oc.select', 'oc.decode'))}"
        ) from None
    except InterpolationKeyError as error:
        wanted = str(error).partition("key '")[2].partition("'")[0]
        known = [name for name, _, _ in _leaves(config)]
        raise ConfigError(
            f"{where}{key!r} refers to {text}, but there is no {wanted!r}.{did_you_mean(wanted, known, limit=1)}"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{where}{key!r}: {text}: {error}") from None
    except OmegaConfBaseException as error:
        said = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).splitlines()[0]).strip("\"'")
        raise ConfigError(f"{where}{key!r}: {text} cannot be resolved: {said}") from None
