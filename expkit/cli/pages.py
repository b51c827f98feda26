"""What `expkit train` prints instead of running: --cfg, --info, --hydra-help, and shell completion."""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, OmegaConf, flag_override

from expkit import config
from expkit.cli import completion
from expkit.config.composition import JOB_NAME, Composed, setup
from expkit.config.interpolations import check_interpolations
from expkit.config.sources import Loader
from expkit.errors import ConfigError, did_you_mean

Where = dict[str, Any]
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def show_config(arguments: argparse.Namespace, where: Where) -> int:
    """--cfg job|hydra|all [--resolve] [--package PACKAGE]: the config as YAML."""
    composed = config.compose(arguments.overrides, **where)
    composed.activate()
    shown = _part(composed, arguments.cfg)
    package: str | None = None if arguments.package == "_global_" else arguments.package
    if arguments.resolve and arguments.cfg != "hydra":
        check_interpolations(composed.config, composed.origins)
    part = shown if package is None else OmegaConf.select(shown, package, throw_on_missing=False)
    if part is None:
        hint = did_you_mean(str(package), [str(key) for key in shown])
        raise ConfigError(f"--package {package}: the config has no such part.{hint}")
    if not isinstance(part, Container):
        print(part)
        return 0
    if package is not None:
        print(f"# @package {package}")
    sys.stdout.write(OmegaConf.to_yaml(part, resolve=arguments.resolve))
    return 0


def _part(composed: Composed, kind: str) -> DictConfig:
    if kind == "job":
        return composed.config
    full = composed.hydra._get_parent()
    assert isinstance(full, DictConfig)
    if kind == "all":
        return full
    with flag_override(full, ["struct", "readonly"], [False, False]):
        return Hydra.get_sanitized_hydra_cfg(full)


def show_info(arguments: argparse.Namespace, where: Where) -> int:
    """--info [WHAT]: Hydra's report on the composition."""
    if arguments.info not in INFO:
        raise ConfigError(f"--info {arguments.info}: there is {', '.join(INFO)}.{did_you_mean(arguments.info, INFO)}")
    config.compose(arguments.overrides, **where)  # its errors are worded for people
    logging.raiseExceptions = False  # `--info | head` closes the pipe early
    with _Hydra(where) as hydra:
        hydra.show_info(arguments.info, config_name=where["config_name"], overrides=arguments.overrides)
    return 0


def show_hydra_help(arguments: argparse.Namespace, where: Where) -> int:
    """--hydra-help: Hydra's own help."""
    with _Hydra(where) as hydra:
        hydra.hydra_help(config_name=None, args_parser=get_args_parser(), args=arguments)
    return 0


def complete(arguments: argparse.Namespace, where: Where) -> int:
    """-sc install|uninstall|query=SHELL, after the verb."""
    return completion.hydra_query(arguments.overrides)


PAGES: dict[str, Callable[[argparse.Namespace, Where], int]] = {
    "cfg": show_config,
    "info": show_info,
    "hydra_help": show_hydra_help,
    "shell_completion": complete,
}


class _Hydra:
    """Hydra's application object over expkit's folders; its singletons are as before on exit."""

    def __init__(self, where: Where) -> None:
        self.where = where

    def __enter__(self) -> Hydra:
        setup()
        self.before = dict(Singleton._instances)
        loader = Loader(config.conf_folders(self.where["config_dir"]))
        hydra = Hydra(task_name=JOB_NAME, config_loader=loader)
        GlobalHydra.instance().initialize(hydra)
        return hydra

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        GlobalHydra.instance().clear()
        Singleton._instances.pop(HydraConfig, None)
        if isinstance(error, HydraException):
            raise ConfigError(str(error)) from error
