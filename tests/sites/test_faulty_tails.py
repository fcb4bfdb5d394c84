"""Whatever breaks between a step's two messages from a client with a tail, not a bit differs at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sglr.engines.remote.client import computing
from sglr.engines.remote.client.connection import ClientConnection
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.server.tails import Tails
from sglr.runs.folder import Run

from .federation import Federation
from .undisturbed import through, until

pytestmark = pytest.mark.slow

SETTINGS: dict[str, dict[str, Any]] = {
    "sglr": {"method": "sglr", "compression": "int8:feedback=true", "optimizer": "sgd:momentum=0.9"},
    "sfl": {"method": "sfl", "optimizer": "sgd:momentum=0.9"},
}
CLIENT = 1
STEPS = [(0, 1), (1, 0), (1, 2)]
"""Steps in which something breaks: in the first epoch, at the beginning of one, in the last step of all."""


@pytest.fixture(params=list(SETTINGS))
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**SETTINGS[request.param], "tail": "relu2", "checkpoint_every": 2}


@cache
def in_peace(settings: tuple[tuple[str, Any], ...]) -> str:
    """Return the weights' SHA-256 of the same between sites that nothing happens to."""
    with TemporaryDirectory() as folder:
        return str(Federation(Path(folder), dict(settings)).train().summary["weights_sha256"])


def ends_as_in_peace(federation: Federation, run: Run) -> None:
    assert federation.problems == []
    assert run.summary["weights_sha256"] == in_peace(tuple(sorted(federation.settings.items())))


def before_answers(patch: pytest.MonkeyPatch, action: Callable[[], None]) -> list[tuple[int, int]]:
    """Do something once in each of some steps, when the client has the features; return the steps as they come."""
    answer, came = LocalTrainer.answer, list[tuple[int, int]]()

    def act_and_answer(trainer: LocalTrainer, features: Any) -> Any:
        [where] = trainer.passes()
        if trainer.job.client == CLIENT and where in STEPS and where not in came:
            came.append(where)
            action()
        return answer(trainer, features)

    patch.setattr(LocalTrainer, "answer", act_and_answer)
    return came


def test_a_connection_that_breaks_before_the_second_message(settings, proxy, monkeypatch, tmp_path):
    federation = Federation(tmp_path, settings, ready=through(proxy))
    came = before_answers(monkeypatch, proxy.reset)
    ends_as_in_peace(federation, federation.train())
    assert came == STEPS
    assert federation.engine.connections.states[CLIENT].connections >= 1 + len(STEPS)


@pytest.mark.parametrize(("way", "number"), [("down", 1), ("down", 700), ("up", 1), ("up", 700)])
def test_messages_that_are_cut_off_on_their_way(way, number, proxy, monkeypatch, tmp_path):
    settings = {**SETTINGS["sglr"], "tail": "relu2", "checkpoint_every": 2}
    federation = Federation(tmp_path, settings, ready=through(proxy))
    answer, cuts = Tails.answer, list[int]()

    def cut_and_ask(tails: Tails, features: Any, sizes: Any, step: int) -> Any:
        proxy.cut_after(number, way)
        cuts.append(step)
        return answer(tails, features, sizes, step)

    monkeypatch.setattr(Tails, "answer", cut_and_ask)
    run = federation.train()
    monkeypatch.undo()  # or its twin in peace would be counted too
    ends_as_in_peace(federation, run)
    assert cuts == [0, 1, 2] * 2


@pytest.mark.parametrize("remembers", [True, False], ids=["leaves", "dies"])
def test_a_client_that_goes_before_the_second_message_and_comes_back(settings, remembers, monkeypatch, tmp_path):
    federation = Federation(tmp_path, settings, groups=[(0,), (CLIENT, 2)])
    going: list[threading.Thread] = []
    clients: dict[int, ClientConnection] = {}
    make = ClientConnection.__init__

    def make_and_note(client: ClientConnection, context: Any, *others: Any) -> None:
        make(client, context, *others)
        clients[context.trainer.job.client] = client

    monkeypatch.setattr(ClientConnection, "__init__", make_and_note)

    def back() -> None:
        federation.end()
        for number in federation.tokens:
            federation.again(number)

    def go() -> None:
        going.append(threading.Thread(target=back if remembers else lambda: federation.crash(1)))
        going[-1].start()
        # It has heard that it is to leave before it answers, so no further request is carried out.
        until(clients[CLIENT].leaving.is_set)

    # Every pass takes its turn in the thread, as long ones do: this one waits for what the network's thread hears.
    monkeypatch.setattr(computing, "SHORT_SECONDS", 0.0)
    came = before_answers(monkeypatch, go)
    ends_as_in_peace(federation, federation.train())
    assert came == STEPS
    assert not list(tmp_path.rglob("left.safetensors"))
