"""A proxy between clients and server, for tests that need a bad line; a data set for any task."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest
from benchmarks.chaos.proxy import Proxy

from sglr.core import registry


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(0) as found:
        yield found


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plug in a data set for any task, ``made-up``."""
    point = EntryPoint("made-up", "tests.some_targets:MadeUp", "sglr.data.datasets")
    found = registry._plugins
    monkeypatch.setattr(
        registry,
        "_plugins",
        lambda group: found(group) | ({"made-up": point} if group == "sglr.data.datasets" else {}),
    )
