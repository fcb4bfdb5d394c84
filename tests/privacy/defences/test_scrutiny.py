"""Scrutiny: gradients that care about labels are let be, others are not."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import sglr
from sglr.assembly.build import build
from sglr.core.errors import Interrupted, SglrError, UsageError
from sglr.core.method import Method
from sglr.core.registry import METHODS
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.parties.defences import parse
from sglr.privacy.defences.scrutiny import HijackSuspected, Scrutiny, pairs
from sglr.runs.config import Experiment

LABELS = torch.tensor([0, 0, 1, 1])


def honest(generator: torch.Generator) -> torch.Tensor:
    return torch.eye(2)[LABELS] + 0.1 * torch.randn(4, 2, generator=generator)


def hijacking(generator: torch.Generator) -> torch.Tensor:
    return torch.tensor([1.0, 1.0]) + 0.1 * torch.randn(4, 2, generator=generator)


@dataclass(frozen=True)
class Hijack(Method):
    """A server that sends gradients which depend on no label."""

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        found = server.learn(uplink, context, context.server_rate)
        draws = torch.Generator().manual_seed(context.step + 100 * context.epoch)
        return Downlink(torch.randn(found.shape, generator=draws))


def test_pairs_by_hand() -> None:
    gradients = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 0.0]])
    # Cosines: (0, 1) of equal labels 0; (0, 2) of others 1; (1, 2) of others 0; the last points nowhere.
    assert pairs(gradients, torch.tensor([0, 0, 1, 1])).tolist() == [0, 1, 1, 2]


def test_gradients_of_any_size_are_held_against_each_other_by_direction() -> None:
    gradients = honest(torch.Generator().manual_seed(0))
    tiny = pairs(gradients.double() * 1e-30, LABELS)
    assert torch.allclose(tiny, pairs(gradients, LABELS))


def test_an_honest_server_is_let_be_for_ever() -> None:
    memory: dict[str, Any] = {}
    draws = torch.Generator().manual_seed(1)
    for _ in range(200):
        Scrutiny().inspect_gradient(honest(draws), LABELS, 0, memory)


def test_a_server_that_does_not_care_about_labels_is_noticed_after_window_and_patience() -> None:
    memory: dict[str, Any] = {}
    draws = torch.Generator().manual_seed(2)
    defence = Scrutiny(window=10, patience=5)
    for _ in range(13):
        defence.inspect_gradient(hijacking(draws), LABELS, 7, memory)
    with pytest.raises(SglrError, match=r"client 7: .* threshold 0\.3, 5 steps"):
        defence.inspect_gradient(hijacking(draws), LABELS, 7, memory)


def test_it_can_warn_once_instead(caplog: pytest.LogCaptureFixture) -> None:
    memory: dict[str, Any] = {}
    draws = torch.Generator().manual_seed(3)
    with caplog.at_level(logging.WARNING):
        for _ in range(30):
            Scrutiny(window=5, patience=2, stop=False).inspect_gradient(hijacking(draws), LABELS, 1, memory)
    assert len(caplog.records) == 1


def test_a_client_of_one_class_has_nothing_to_compare_and_is_let_be() -> None:
    memory: dict[str, Any] = {}
    for _ in range(100):
        Scrutiny(window=5, patience=2).inspect_gradient(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64), 1, memory)


@pytest.mark.parametrize("name", ["sgl", "sglr"])
def test_averages_of_everyone_by_position_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="smaller phi, average = class"):
        Scrutiny().check(METHODS.load(name)(phi=1.0))
    Scrutiny().check(METHODS.load(name)(phi=1.0, average="class"))


def test_a_threshold_that_honest_averages_by_position_may_fall_below_is_refused() -> None:
    sglr = METHODS.load("sglr")
    for method, most in ((METHODS.load("psl")(), 0.3), (sglr(phi=0.5), 0.15), (sglr(phi=0.75), 0.075)):
        Scrutiny(threshold=most).check(method)
        with pytest.raises(UsageError, match=f"give {most:g} or less"):
            Scrutiny(threshold=most + 0.01).check(method)


@pytest.mark.parametrize("other", ["max-norm", "marvell"])
def test_it_does_not_go_with_what_hides_labels_in_gradients(other: str) -> None:
    with pytest.raises(UsageError, match=f"scrutiny with {other}"):
        build(Experiment.from_flat({"method": "psl", "defence": f"{other}+scrutiny"}))


def test_a_training_in_which_it_can_only_be_wrong_does_not_begin() -> None:
    with pytest.raises(UsageError, match="scrutiny"):
        build(Experiment.from_flat({"method": "sglr", "phi": 1.0, "defence": "scrutiny"}))


def test_a_client_that_resumes_remembers_what_it_has_seen() -> None:
    """Steps in a row are those of the whole training, whatever process they were taken in, to the bit."""
    text, draws = "scrutiny:window=10,patience=5", torch.Generator().manual_seed(2)
    whole, chain = parse(text), parse(text)
    with pytest.raises(SglrError, match="5 steps in a row"):
        for step in range(14):
            gradients = hijacking(draws)[None]
            resumed = parse(text)
            resumed.restore(chain.state((7,)))
            chain = resumed
            for own in (whole, chain):
                own.inspect_gradient(gradients, LABELS[None], (7,), (4,))
            assert step < 13
            assert torch.equal(chain.memory("scrutiny", 7)["window"].total, whole.memory("scrutiny", 7)["window"].total)


def test_a_server_that_sends_a_client_back_does_not_make_it_forget() -> None:
    chain, draws = parse("scrutiny:window=10,patience=5"), torch.Generator().manual_seed(2)
    with pytest.raises(SglrError, match="5 steps in a row"):
        for _ in range(14):
            before = chain.state((7,))
            chain.inspect_gradient(hijacking(draws)[None], LABELS[None], (7,), (4,))
            chain.restore(before)


@pytest.mark.parametrize("cuts", [None, {"0": "conv1", "1-2": "pool1"}])
def test_a_hijacked_training_that_is_stopped_and_resumed_is_found_out_all_the_same(
    cuts: dict[str, str] | None, tmp_path: Path
) -> None:
    def stop_after(steps: int) -> Callable[[], bool]:
        asked = itertools.count(1)
        return lambda: next(asked) > steps

    settings: dict[str, Any] = {
        "dataset": "digits",
        "clients": 3,
        "samples_per_client": 64,
        "epochs": 9,
        "batch_size": 16,
        "defence": "scrutiny:window=8,patience=8",
        "device": "cpu",
        "seed": 1,
        "cuts": cuts,
    }
    folder = tmp_path / "run"
    with pytest.raises(HijackSuspected, match="8 steps in a row"):
        for _ in range(9):
            with suppress(Interrupted):
                if not folder.exists():
                    sglr.train(Hijack(), out=folder, stop=stop_after(5), **settings)
                else:
                    sglr.resume(folder, method=Hijack(), stop=stop_after(5))
