"""Numbers that are not finite or too large: of one client its own affair, of half of them the end of the training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sglr.core.errors import DivergedError, ExtremeValues
from sglr.core.events import Event, StepDone
from sglr.engines.remote.client.held_out import HeldOut
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.server import client_state as presences
from sglr.engines.remote.server.extremes import Extremes
from sglr.engines.remote.trust.peers import Client
from sglr.methods.sfl import SFL
from sglr.runs.folder import Run

from .attacker import Gang
from .extremist import Extremist, one_value, unchanged
from .federation import Federation
from .test_hostile import BASE, result, undisturbed
from .undisturbed import PowerCutError, dies_at


def train_with(folder: Path, extremist: Extremist, settings: dict[str, Any], after: tuple[int, int] = (0, 1)) -> Any:
    """Train with two honest clients, and one more that comes after a step; return what is compared, and that client."""
    federation = Federation(folder, {**settings, "clients": 3}, groups=[(0, 1)])
    gang = Gang(federation, [extremist.act()])

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == after:
            gang.begin()

    found = result(federation, federation.train(observe=observe))
    gang.end()
    may_come_again(federation)
    assert federation.engine is not None
    return found, federation.engine.connections.states[2]


def may_come_again(federation: Federation) -> None:
    """Nobody's certificate ended: neither on disk nor in the server's memory."""
    assert federation.engine is not None
    assert federation.authority is not None
    for state in federation.engine.connections.states:
        assert not state.banned
        federation.authority.check(Client(state.client, state.serial))


# ---- one client


@pytest.mark.parametrize("method", ["sglr", pytest.param("sfl", marks=pytest.mark.slow)])
def test_whose_activations_are_extreme_is_absent_and_keeps_its_certificate(method: str, tmp_path: Path) -> None:
    settings = {**BASE, "method": method}
    extremist = Extremist({"smashed": one_value, "scores": one_value})
    found, state = train_with(tmp_path, extremist, settings)
    # As if it were not there: not a bit differs, though it answered to the end.
    assert found == undisturbed({**settings, "clients": 3})
    assert extremist.sent["smashed"] == 5
    assert state.rejected == extremist.sent["smashed"] + extremist.sent.get("scores", 0)
    assert "expected" in state.remark


@pytest.mark.slow
def test_whose_figures_are_extreme_is_absent_from_the_pass_and_from_the_average(tmp_path: Path) -> None:
    settings = {**BASE, "method": "fl"}
    extremist = Extremist({"tally": unchanged, "weights": unchanged})
    found, state = train_with(tmp_path, extremist, settings, after=(0, 3))
    assert found == undisturbed({**settings, "clients": 3})
    assert extremist.sent == {"tally": 1}
    assert state.remark == "its loss is not finite or too large"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gradients", "loss", "tally"])
def test_whose_answers_to_features_are_extreme_counts_with_nothing(kind: str, tmp_path: Path) -> None:
    extremist = Extremist({kind: one_value, "scores": unchanged}, features=64)
    (_, history), state = train_with(tmp_path, extremist, {**BASE, "tail": "relu2"})
    assert state.rejected == extremist.sent[kind] >= 2
    assert all(math.isfinite(record["loss"]) and math.isfinite(record["validation_loss"]) for record in history)


def test_whose_step_alone_would_make_its_weights_explode_is_absent_from_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_alone, exploding = LocalTrainer.step_alone, {2}

    def explode(trainer: LocalTrainer, epoch: int, step: int, rate: float) -> Any:
        if trainer.job.client in exploding and (epoch, step) == (0, 0):
            raise ExtremeValues("the gradient would make this client's weights explode")
        return step_alone(trainer, epoch, step, rate)

    monkeypatch.setattr(LocalTrainer, "step_alone", explode)
    settings = {"method": "cse-fsl", "h": 2, "epochs": 1}
    federation = Federation(tmp_path / "one", settings)
    run = federation.train()
    assert federation.engine is not None
    assert [state.absences for state in federation.engine.connections.states] == [0, 0, 1]
    assert run.history[-1]["samples"] == 3 * 20 - 8
    exploding |= {0, 1}
    with pytest.raises(DivergedError, match=r"in epoch 1, step 1: numbers of clients 0, 1, 2 are not finite"):
        Federation(tmp_path / "all", settings).train()


@pytest.mark.slow
def test_who_goes_on_with_extreme_numbers_is_no_longer_waited_for_and_may_come_back(tmp_path: Path) -> None:
    _, state = train_with(tmp_path, Extremist({"smashed": one_value}), {**BASE, "max_misses": 2})
    assert state.presence == presences.OUT
    assert state.reason.startswith("its numbers were not finite or too large 2 times in a row: tensor 'values'")
    assert state.describe()["absences"] == 2


@pytest.mark.slow
def test_a_run_that_waits_for_everyone_waits_on(tmp_path: Path) -> None:
    settings = {"method": "sglr", "min_clients": 2, "max_misses": 2}
    extremist = Extremist({"smashed": one_value, "scores": one_value})
    train_with(tmp_path, extremist, settings)
    assert extremist.sent["smashed"] == 5


# ---- shared weights


def random_signs(weights: dict[str, Tensor], number: int) -> None:
    """Stay within every limit of a single tensor, and move the average as far as that allows."""
    torch.manual_seed(number)
    for tensor in weights.values():
        tensor.copy_(torch.randn(tensor.shape).sign() * 9.9e3)


class Leaver(Extremist):
    """Takes part in all steps, and is not there when weights are gathered."""

    def __init__(self) -> None:
        super().__init__({})


@pytest.mark.slow
def test_weights_that_no_training_reaches_do_not_enter_the_average(tmp_path: Path) -> None:
    settings = {**BASE, "method": "sfl", "epochs": 1}
    attack = Extremist({"weights": random_signs})
    attacked, state = train_with(tmp_path / "attacked", attack, settings)
    absent, _ = train_with(tmp_path / "absent", Leaver(), settings)
    assert attack.sent["weights"] == 1
    assert "its weights are too far from the shared ones it began with" in state.remark
    # The honest ones go on from the average that they would have without it.
    assert attacked == absent


@pytest.mark.slow
def test_a_run_goes_on_though_weights_are_hostile_at_every_average(tmp_path: Path) -> None:
    settings = {**BASE, "method": "sfl", "average_every": 1}
    attack = Extremist({"weights": random_signs})
    (_, history), state = train_with(tmp_path, attack, settings)
    assert attack.sent["weights"] >= 3
    assert all(record["loss"] < 3 for record in history)
    assert state.rejected == attack.sent["weights"]


def test_an_average_that_clients_would_refuse_is_not_published(tmp_path: Path, monkeypatch: Any) -> None:
    published: list[bool] = []
    load = LocalTrainer.take_up
    monkeypatch.setattr(
        SFL, "merge", lambda _, weights, *__: {name: own[0] * math.nan for name, own in weights.items()}
    )
    monkeypatch.setattr(
        LocalTrainer, "take_up", lambda trainer, weights: (published.append(True), load(trainer, weights))
    )
    federation = Federation(tmp_path, {"method": "sfl"})
    with pytest.raises(DivergedError, match=r"not finite or too large; client [012]'s are the farthest"):
        federation.train()
    assert len(published) == 3  # what all began with
    may_come_again(federation)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fl", "ssl", "sfl", "sflv1", "sflv2", "splitgp"])
def test_honest_clients_at_a_high_rate_meet_no_bound(method: str, tmp_path: Path) -> None:
    federation = Federation(tmp_path, {"method": method, "lr": 0.1, "init": "common"})
    run = federation.train()
    assert run.history[-1]["samples"] == 2 * 3 * 20
    assert federation.engine is not None
    assert [state.rejected for state in federation.engine.connections.states] == [0, 0, 0]


@pytest.mark.slow
def test_another_client_scores_the_shared_weights_where_one_sends_extreme_scores(
    tmp_path: Path, monkeypatch: Any
) -> None:
    settings = {"method": "sfl"}
    peace = result(*trained(Federation(tmp_path / "peace", settings)))
    score = HeldOut.score

    def spoilt(held_out: HeldOut, *args: Any, **options: Any) -> dict[str, Tensor]:
        parts = score(held_out, *args, **options)
        if held_out._job.client == 0:
            parts["values"][0] = math.inf
        return parts

    monkeypatch.setattr(HeldOut, "score", spoilt)
    assert result(*trained(Federation(tmp_path / "spoilt", settings))) == peace


def trained(federation: Federation) -> tuple[Federation, Run]:
    return federation, federation.train()


# ---- a training that diverges

DIVERGING: dict[str, dict[str, Any]] = {
    "sglr": {"method": "sglr"},
    "fl": {"method": "fl", "optimizer": "sgd"},
    "ssl": {"method": "ssl", "optimizer": "sgd"},
    "tail": {"method": "sfl", "tail": "relu2"},
}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(chosen, id=name, marks=[] if name in ("sglr", "fl") else [pytest.mark.slow])
        for name, chosen in DIVERGING.items()
    ],
)
def test_a_training_that_diverges_stops_everywhere_with_the_message_of_the_local_engine(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    federation = Federation(tmp_path, {**settings, "lr": 1e4, "init": "common"}, groups=[(0,), (1,), (2,)])
    with pytest.raises(DivergedError, match=r"^the loss stopped being a number in epoch \d, step \d") as told:
        federation.train()
    assert "lower the rate or alpha, or clip gradients; last good checkpoint: " in str(told.value)
    # Everyone hears it, without the server's paths, and nobody tries again.
    assert [str(problem) for problem in federation.problems] == [told.value.what] * 3
    assert str(tmp_path) not in told.value.what
    may_come_again(federation)
    status = json.loads((tmp_path / "server" / "status.json").read_text())
    assert (status["state"], status["why"]) == ("stopped", told.value.what)
    assert {one["reason"] for one in status["clients"]} == {"was told that the training diverged"}


def test_who_comes_after_the_training_diverged_hears_it_too(tmp_path: Path) -> None:
    settings = {"method": "psl", "lr": 1e4, "min_clients": 2}
    federation = Federation(tmp_path, settings, groups=[(0, 1)])
    end = Extremes.judge

    def come_late(*args: Any) -> None:
        try:
            end(*args)
        except ExtremeValues:
            federation.start(1, (2,))
            raise

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DivergedError):
        patch.setattr(Extremes, "judge", come_late)
        federation.train()
    assert {type(problem) for problem in federation.problems} == {DivergedError}


@pytest.mark.slow
def test_half_of_those_present_end_the_training_and_fewer_do_not(tmp_path: Path, monkeypatch: Any) -> None:
    forward = LocalTrainer.forward

    def bad(clients: set[int]) -> None:
        def run(trainer: LocalTrainer, epoch: int, step: int) -> dict[str, Tensor]:
            parts = forward(trainer, epoch, step)
            if trainer.job.client in clients and (epoch, step) == (1, 1):
                parts["values"][0] = math.nan
            return parts

        monkeypatch.setattr(LocalTrainer, "forward", run)

    bad({3})
    run = Federation(tmp_path / "one", {"method": "sglr", "clients": 4}).train()
    assert run.history[-1]["samples"] == 4 * 20 * 2 - 8
    bad({1, 3})
    with pytest.raises(DivergedError, match=r"in epoch 2, step 2: numbers of clients 1, 3 are not finite"):
        Federation(tmp_path / "two", {"method": "sglr", "clients": 4}).train()


# ---- exactly once


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [{"method": "sglr"}, {"method": "sfl"}, {"method": "sglr", "pipelining": 2}])
def test_an_absence_for_extreme_numbers_replays_after_a_crash(
    chosen: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    forward = LocalTrainer.forward

    def sometimes(trainer: LocalTrainer, epoch: int, step: int) -> dict[str, Tensor]:
        parts = forward(trainer, epoch, step)
        if trainer.job.client == 1 and (epoch, step) in ((0, 1), (0, 2), (1, 0)):
            trainer.undo_last_pass()
            raise ExtremeValues("the smashed data are not finite or too large")
        return parts

    monkeypatch.setattr(LocalTrainer, "forward", sometimes)
    settings = {**chosen, "checkpoint_every": 2, "optimizer": "sgd:momentum=0.9"}
    undisturbed = Federation(tmp_path / "peace", settings).train()
    federation = Federation(tmp_path / "crash", settings)
    with pytest.raises(PowerCutError):
        federation.train(observe=dies_at(0, 3))
    run = federation.go_on()
    assert federation.problems == []
    assert run.summary["weights_sha256"] == undisturbed.summary["weights_sha256"]
    assert [one["samples"] for one in run.history] == [one["samples"] for one in undisturbed.history] == [48, 100]
