"""A client that leaves on purpose comes back as if it had only been slow."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sglr.core.events import StepDone

from .federation import Federation, local_twin


@pytest.mark.parametrize("method", ["sglr", pytest.param("sfl", marks=pytest.mark.slow)])
def test_a_client_that_leaves_and_comes_back_changes_nothing(method: str, tmp_path: Path) -> None:
    settings = {"method": method, "compression": "int8:feedback=true"}
    federation = Federation(tmp_path, settings, groups=[(0, 1), (2,)])
    left: list[threading.Thread] = []

    def leave_and_return(event: object) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) in ((0, 2), (1, 1)):
            federation.leaving.set()
            for thread in federation.threads:
                thread.join(20)
            federation.threads.clear()
            federation.leaving.clear()
            left.append(federation.again(1))
            left.append(federation.again(0))

    run = federation.train(observe=leave_and_return)
    assert len(left) == 4
    assert not federation.problems
    assert run.summary["weights_sha256"] == local_twin(settings, tmp_path / "local").summary["weights_sha256"]
    assert not list(tmp_path.rglob("left.safetensors"))
