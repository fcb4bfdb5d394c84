"""What each task tells of a sample, against the task's own loss and units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.some_targets import make_task, targets_of

from sglr.core.registry import TASKS
from sglr.core.task import Targets
from sglr.tasks.binary import Binary
from sglr.tasks.multilabel import Multilabel
from sglr.tasks.ordinal import Ordinal
from sglr.tasks.regression import Regression

GRADES = Targets.of_classes(("1", "2", "3", "4"))


@pytest.mark.parametrize("name", TASKS.names())
def test_every_column_has_a_value_for_each_sample(name: str) -> None:
    task = make_task(name)
    targets = targets_of(task)
    found = task.predictions(torch.randn(5, *task.output_shape(targets)), targets)
    assert found and {len(values) for values in found.values()} == {5}


@pytest.mark.parametrize("loss", ["corn", "coral"])
def test_probabilities_of_grades_sum_to_one_and_corn_s_are_its_loss(loss: str) -> None:
    task, outputs, grades = Ordinal(loss=loss), torch.randn(40, 3), torch.arange(40) % 4
    found = task.predictions(outputs, GRADES)
    shares = torch.stack([found[f"probability_{name}"] for name in GRADES.names], 1)
    torch.testing.assert_close(shares.sum(1), torch.ones(40))
    assert bool((shares >= 0).all())
    if loss == "corn":  # the loss is -log P(y)
        own = shares.gather(1, grades[:, None])[:, 0]
        torch.testing.assert_close(-own.log(), task.losses(outputs, grades), rtol=1e-4, atol=1e-4)
    assert found["class"] == [GRADES.names[place] for place in task.predicted(outputs)]


def test_measurements_are_in_their_units_by_name_and_quantile() -> None:
    targets = Targets(("dose", "age"), (2,), "float32")
    task = Regression(loss="quantile:0.1+0.9", target_mean=(1.0, 50.0), target_scale=(2.0, 10.0))
    found = task.predictions(torch.tensor([[0.0, 1.0, -1.0, 0.5]]), targets)
    assert {name: value.item() for name, value in found.items()} == {
        "dose_q0.1": 1.0,
        "dose_q0.9": 3.0,
        "age_q0.1": 40.0,
        "age_q0.9": 55.0,
    }


def test_a_finding_is_called_present_at_the_threshold() -> None:
    targets = Targets.of_classes(("no", "yes"))
    logits = torch.tensor([[-2.0], [0.1], [2.0]])
    assert Binary().predictions(logits, targets)["class"] == ["no", "yes", "yes"]
    chosen = Binary().decided({"threshold": 0.8})
    assert chosen.predictions(logits, targets)["class"] == ["no", "no", "yes"]
    assert Binary(threshold=0.3).decided({"threshold": 0.8}).threshold == 0.3
    assert Binary().decided({}).threshold is None
    found = Multilabel().predictions(torch.tensor([[3.0, -3.0]]), Targets(("a", "b"), (2,), "int64", 2))
    assert (found["a"].item(), found["b"].item()) == (1, 0)
    np.testing.assert_allclose(found["probability_b"], 1 / (1 + np.e**3), rtol=1e-6)
