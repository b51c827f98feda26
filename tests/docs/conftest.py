"""Pages leave nothing behind: what they register, the modules that they import, where they look for modules."""

import sys

import pytest

from expkit.registry import names, store


@pytest.fixture
def folder(workdir, monkeypatch):
    """An empty working directory, and a registry and modules that are put back afterwards."""
    for group in store.GROUPS:  # the built-in ones register themselves before the tables are copied
        names(group)
    monkeypatch.setattr(store, "_factories", {group: dict(table) for group, table in store._factories.items()})
    monkeypatch.setattr(store, "_plugins", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield workdir
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(workdir)):
            del sys.modules[name]
