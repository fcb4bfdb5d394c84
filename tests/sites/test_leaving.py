"""A client that leaves on purpose comes back as if it had only been slow."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sglr.core.events import StepDone
from sglr.engines.remote.client import trainer
from sglr.engines.remote.client.held_out import HeldOut
from sglr.engines.remote.server import exchange
from sglr.sites.join import LOOK_SECONDS

from .federation import Federation, local_twin
from .undisturbed import undisturbed, until


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


def few_at_once(patch: pytest.MonkeyPatch) -> None:
    """Have held-out samples scored in messages of ten."""
    for module in (exchange, trainer):
        patch.setattr(module, "chunk", lambda *_: 10)


def test_a_client_that_leaves_amid_an_evaluation_of_shared_weights_goes_on_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_at_once(monkeypatch)
    settings = {"method": "sfl", "epochs": 1}
    federation, score, left = Federation(tmp_path, settings, groups=[(0,), (1, 2)]), HeldOut.score, threading.Event()
    scorers: set[int] = set()

    def come_back() -> None:
        federation.end()
        for group in federation.tokens:
            federation.again(group)

    def score_and_leave(held_out: HeldOut, part: str, first: int, *args: Any, **named: Any) -> Any:
        scorers.add(held_out._job.client)
        if part == "validation" and not left.is_set():
            left.set()
            threading.Thread(target=come_back).start()
            until(federation.leaving.is_set)
            time.sleep(2 * LOOK_SECONDS)  # so that it leaves before the next message
        return score(held_out, part, first, *args, **named)

    monkeypatch.setattr(HeldOut, "score", score_and_leave)
    run = federation.train()
    assert not federation.problems
    assert len(scorers) == 1, "another client had to score"
    assert run.summary["weights_sha256"] == undisturbed(settings)
