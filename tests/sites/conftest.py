"""A proxy between clients and server, for every test that needs a bad line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.chaos.proxy import Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(0) as found:
        yield found
