"""Models read few sequences at once, so that all measurements have batches, padding and remains."""

import pytest
from lookups.model.loaded import Model


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(Model, "tokens", lambda self: 150)
    monkeypatch.setattr("lookups.measure.activation.APART", 20)
