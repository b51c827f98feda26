"""A registry of its own for each test: what a test registers is gone after it, and nothing built-in is imported."""

import pytest

from expkit.registry import store


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(store, "_factories", {group: {} for group in store.GROUPS})
    monkeypatch.setattr(store, "_plugins", {})
    monkeypatch.setattr(store, "_loaded", {*store.GROUPS, store.ENTRY_POINTS})
    return store
