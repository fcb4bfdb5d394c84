"""When numbers that are not finite or too large are one client's own affair, and when the training diverged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.sites.handmade import honest

from sglr.core.errors import ExtremeValues
from sglr.engines.remote.limits import most_norm
from sglr.engines.remote.server.barrier import Patience
from sglr.engines.remote.server.client_state import AWAY, HERE, NEVER, OUT
from sglr.engines.remote.server.connections import ConnectionServer
from sglr.engines.remote.server.extremes import Extremes
from sglr.engines.remote.server.listen import ServedRun
from sglr.engines.remote.server.metrics import Metrics
from sglr.engines.remote.trust.authority import Authority

Make = Callable[..., tuple[Extremes, ConnectionServer]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a server that does not listen yet, whose clients are in these states."""
    authority = Authority.open(tmp_path)

    def made(*presences: str) -> tuple[Extremes, ConnectionServer]:
        description = replace(honest(), clients=len(presences))
        connections = ConnectionServer(
            ServedRun("127.0.0.1", 0, description, 1000, [8] * len(presences)), authority, Metrics(len(presences))
        )
        for state, presence in zip(connections.states, presences, strict=True):
            state.become(presence)
        return Extremes(connections, Patience()), connections

    return made


def test_one_of_three_is_absent_and_counted(make: Make) -> None:
    extremes, connections = make(HERE, HERE, HERE)
    extremes.judge({0, 2}, {1: "NaN"})
    extremes.judge({0, 2}, {1: "too large\n"})
    assert [state.extreme for state in connections.states] == [0, 2, 0]
    told = connections.states[1].describe()
    assert (told["state"], told["extreme"], told["rejected"], told["remark"]) == (HERE, 2, 2, "too large ")
    count = connections.metrics.registry.get_sample_value
    assert count("sglr_absences_total", {"client": "1"}) == 2
    assert count("sglr_rejected_total", {"client": "1", "reason": "values"}) == 2
    extremes.judge({0, 1, 2}, {})
    assert connections.states[1].describe()["extreme"] == 0


def test_half_of_those_present_are_a_training_that_diverged(make: Make) -> None:
    extremes, _ = make(HERE, AWAY, HERE, HERE, NEVER, OUT)
    with pytest.raises(ExtremeValues, match=r"numbers of clients 0, 3 are not finite or too large \(NaN\)"):
        extremes.judge({2}, {0: "NaN", 3: "too large"})


def test_of_a_cohort_of_one_the_others_last_numbers_count(make: Make) -> None:
    extremes, _ = make(HERE, HERE, HERE, HERE)
    extremes.judge(set(), {1: "NaN"})
    extremes.judge(set(), {1: "NaN"})  # the same client again is no other one
    extremes.judge({2}, {})
    with pytest.raises(ExtremeValues, match="clients 1, 3"):
        extremes.judge(set(), {3: "NaN"})


def test_all_of_several_that_answered_need_not_be_half(make: Make) -> None:
    extremes, _ = make(*[HERE] * 9)
    with pytest.raises(ExtremeValues, match="clients 4, 5"):
        extremes.judge(set(), {4: "NaN", 5: "NaN"})


def test_what_a_client_would_refuse_is_not_sent_to_it_and_is_nobodys_fault(make: Make) -> None:
    extremes, connections = make(HERE, HERE, HERE)
    most = most_norm(4) / 2
    values = {0: torch.full((4,), most), 1: torch.full((4,), 1.001 * most), 2: torch.zeros(4)}
    assert extremes.check_sent("gradients", values) == {1}
    assert connections.states[1].remark == "the gradients for it are not finite or too large"
    assert not any(state.banned for state in connections.states)
    with pytest.raises(ExtremeValues):
        extremes.check_sent("gradients", {**values, 2: torch.tensor([float("nan")])})


def test_a_checkpoint_keeps_whose_last_numbers_were_extreme(make: Make) -> None:
    extremes, connections = make(HERE, HERE, HERE)
    extremes.judge({0, 2}, {1: "NaN"})
    again, restored = make(HERE, HERE, HERE)
    again.restore(extremes.state())
    assert [state.extreme for state in restored.states] == [state.extreme for state in connections.states] == [0, 1, 0]
    again.restore({})
    assert [state.extreme for state in restored.states] == [0, 0, 0]
