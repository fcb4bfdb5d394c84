"""A round of federated averaging takes one exchange: weights come with the tally of the pass before their merge."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sglr.core.events import Event, StepDone

from .attacker import Gang
from .federation import Federation
from .test_hostile import BASE, are_quarantined, result, tally, undisturbed


@pytest.mark.parametrize(("local_epochs", "merges"), [(1, 3), (2, 2)])
def test_weights_are_asked_for_by_no_message_of_their_own(local_epochs: int, merges: int, tmp_path: Path) -> None:
    settings = {**BASE, "method": "fl", "local_epochs": local_epochs, "epochs": 3, "clients": 2}
    federation = Federation(tmp_path, settings, groups=[(0, 1)])
    federation.train()
    assert federation.engine is not None
    count = federation.engine.connections.metrics.registry.get_sample_value

    def messages(kind: str, direction: str, what: str = "messages") -> float:
        return count(f"sglr_{what}_total", {"kind": kind, "direction": direction}) or 0

    assert messages("tally", "up") == 3 * 2
    assert messages("weights", "up") == messages("collect", "down") == 0
    whole = sum(tensor.numel() * tensor.itemsize for tensor in federation.engine.segment.values())
    sent = messages("tally", "up", "bytes")
    assert merges * 2 * whole < sent < merges * 2 * whole + 3 * 2 * 1000


def test_who_sends_other_weights_with_its_tally_is_quarantined(tmp_path: Path) -> None:
    settings = {**BASE, "method": "fl", "clients": 3}
    federation = Federation(tmp_path, settings, groups=[(0, 1)])
    gang = Gang(federation, [tally({"other": torch.zeros(3)})])

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (0, 3):
            gang.begin()

    weights, _ = result(federation, federation.train(observe=observe))
    gang.end()
    assert weights == undisturbed(settings)[0]
    are_quarantined(federation, gang, {"other": "unknown 'other'"})
