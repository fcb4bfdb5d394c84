"""What a summary tells of a test is JSON, whatever the numbers are."""

from __future__ import annotations

import json
import math

import pytest
import torch

from sglr.assembly.summary import test_figures as figures_of_test
from sglr.core.scores import Scores
from sglr.core.task import Targets
from sglr.tasks.classification import Classification


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_loss_that_is_no_number_is_null(loss: float) -> None:
    scores = Scores({"accuracy": torch.tensor([0.5])}, torch.tensor([loss]))
    figures = figures_of_test(Classification(), scores, Targets(("no", "yes")), 1, 0)
    assert json.loads(json.dumps(figures, allow_nan=False))["loss"] is None
    assert figures["accuracy"] == 0.5
