"""A client that keeps its labels tells the scores of all its samples, however many messages they take."""

from __future__ import annotations

import pytest
import torch
from tests.some_targets import draw, inputs_for, make_task, targets_of

from sglr.core.registry import TASKS
from sglr.engines.remote.client.own_scores import OwnScores
from sglr.engines.remote.server.evaluation import score
from sglr.engines.remote.server.targets import SentTargets
from sglr.engines.remote.told import HeldOutTally, rounded, told_names
from sglr.engines.remote.wire.frames import Malformed
from sglr.tasks.binary import Binary
from sglr.tasks.classification import Classification


def outputs_of(task, targets, number: int) -> torch.Tensor:
    return torch.randn(number, *task.output_shape(targets), generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", TASKS.names())
def test_scores_of_messages_are_those_of_all_samples_at_once(name: str) -> None:
    targets = targets_of(task := make_task(name))
    truth, outputs = draw(inputs_for(targets, 20, 0), targets), outputs_of(task, targets, 20)
    own = OwnScores(task, {"test": 20})
    told = [own.add("test", first, outputs[first : first + 8], truth[first : first + 8]) for first in (0, 8, 16)]
    assert [one.samples for one in told] == [8, 8, 4]
    assert told[0].scores == told[1].scores == {}
    assert tuple(told[2].scores) == told_names(task, targets)
    whole = task.scores(task.sums(outputs[None], truth))
    for score_name, value in told[2].scores.items():
        assert value == pytest.approx(rounded(float(whole[score_name][0])), nan_ok=True), score_name
    assert OwnScores(task, {"test": 20}).add("test", 8, outputs[8:], truth[8:]).scores == {}, "the first are missing"
    found = score(torch.nn.Identity(), {3: 20}, 8, lambda asked, first: {3: told[first // 8]}, None, task)
    assert next(iter(found.values)) == task.headline
    assert {*found.values} == ({*told[2].scores} or {task.headline})
    assert float(found.loss) == pytest.approx(float(task.test_losses(outputs, truth).mean()), rel=1e-5)


def test_a_threshold_is_that_of_the_own_validation_samples() -> None:
    targets = targets_of(task := Binary())
    truth = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[1.0], [1.2], [2.0], [2.5]])
    plain, own = OwnScores(task, {"test": 4}), OwnScores(task, {"validation": 4, "test": 4})
    own.add("validation", 0, logits, truth)
    assert targets.classes == 2
    assert plain.add("test", 0, logits, truth).scores["accuracy"] == 0.5
    assert own.add("test", 0, logits, truth).scores["accuracy"] == 1.0


def test_who_tells_no_scores_counts_for_none_and_others_for_theirs() -> None:
    task = make_task("regression")
    told = {
        0: HeldOutTally(4.0, -1.0, 4, scores={"r2": 0.5, "rmse": 2.0, "mae": 1.0}),
        1: HeldOutTally(8.0, -1.0, 4),
    }
    found = score(torch.nn.Identity(), {0: 4, 1: 4}, 8, lambda *_: told, None, task)
    assert found.mean("r2") == 0.5
    assert found.loss.tolist() == [1.0, 2.0]
    assert found.parts == ()


def test_scores_that_nobody_asked_for_are_refused() -> None:
    for task in (Binary(), Classification()):
        with pytest.raises(Malformed):
            SentTargets(targets_of(task), task).scores({"of client 7": 1.0})
    assert SentTargets(targets_of(Binary()), Binary()).scores({"f1": 0.123456, "auroc": 1.0}) == {
        "auroc": 1.0,
        "f1": 0.1235,
    }
