"""`--keep-labels` in federated learning: no label crosses, whatever the server asks, and the scores are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sglr.engines.remote.wire.frames import Frame
from sglr.sites.requirements import SiteRequirements

from .federation import Federation
from .handmade import Line, Server

FL = {"method": "fl"}
KEPT = SiteRequirements(keep_labels=True)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    found = Server(tmp_path, FL, getattr(request, "param", KEPT))
    yield found
    found.close()


async def evaluate(line: Line, first: int, count: int, shared: dict[str, Tensor] | None = None) -> Frame:
    return await line.ask("evaluate", shared or {}, part="test", first=first, count=count, shared=shared is not None)


def test_nothing_that_a_server_can_ask_for_brings_a_label(server: Server) -> None:
    async def script(line: Line) -> None:
        weights = await line.weights()
        answers = [
            await line.ask("forward"),
            await line.ask("forward", at={"epoch": 3, "step": 1}),
            await line.ask("alone", rates=[0.1]),
            await evaluate(line, 0, 512),
            await evaluate(line, 0, 512, weights),
            await evaluate(line, 0, 1),
            await evaluate(line, 1, 512),
            await evaluate(line, 39, 1),
            await line.ask("collect"),
        ]
        assert [answer.kind for answer in answers] == [
            *("refusal", "refusal", "tally", "tally", "tally", "refusal", "refusal", "refusal", "weights")
        ]
        for answer in answers[:-1]:
            assert not answer.payloads
        names = {tensor.name for tensor in answers[-1].envelope.tensors}
        assert names == weights.keys()
        assert answers[3].envelope.tally.samples == 40

    server.serve(script)


@pytest.mark.parametrize("server", [SiteRequirements()], indirect=True)
def test_training_samples_leave_no_client_of_federated_learning(server: Server) -> None:
    async def script(line: Line) -> None:
        answer = await line.ask("forward")
        assert "sends no smashed data" in answer.envelope.refusal.reason

    server.serve(script)


@pytest.mark.slow
def test_who_keeps_labels_is_scored_as_if_it_did_not(tmp_path: Path) -> None:
    """Sums that the client makes are those that the server makes of outputs and labels."""
    runs = []
    for name, requirements in (("open", {}), ("kept", {0: KEPT, 1: KEPT, 2: KEPT})):
        federation = Federation(tmp_path / name, FL, groups=[(0,), (1,), (2,)], requirements=requirements)
        runs.append(federation.train())
        assert federation.problems == []
    sent, kept = ({**run.summary["test"]} for run in runs if run.summary is not None)
    assert kept["accuracy"] == sent["accuracy"]
    assert kept["loss"] == pytest.approx(sent["loss"], rel=1e-6)
    assert kept["confusion"] is None
    assert sent["confusion"] is not None
    assert torch.equal(*(torch.tensor([row["validation_accuracy"] for row in run.history]) for run in runs))
