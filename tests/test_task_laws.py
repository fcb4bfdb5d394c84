"""The laws of docs/architecture.md over every registered task, plugged-in ones too."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.some_targets import Lower, clients_for, make_task, upper_for
from tests.test_laws import assert_identical, model_weights, run_until
from torch import nn

from sglr.core.random import generator
from sglr.core.registry import METHODS, TASKS

every_task = pytest.mark.parametrize("task", TASKS.names())
pytestmark = every_task


def training(case: Any, name: str, method: str, sizes: tuple[int, ...], **options: Any) -> Any:
    task = make_task(name)
    data = clients_for(task, sizes)
    made = {"task": task, "data": data, "lower": Lower(data), "upper": upper_for(task, data)}
    return case(METHODS.load(method)(), sizes=sizes, seed=3, **made, **options)


@pytest.mark.usefixtures("double")
def test_one_client_trains_like_the_unsplit_model(case: Any, task: str) -> None:
    """Law 1."""
    run = training(case, task, "psl", (8,), optimizer="adam", rate=0.05)
    lower, upper = run.segments()
    model, samples = nn.Sequential(lower(0), deepcopy(upper)), run.clients().train
    plain = torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in range(run.epochs):
        order = torch.from_numpy(generator(3, "order", 0, epoch).permutation(8))
        for batch in order.split(run.batch):
            plain.zero_grad()
            run.task.losses(model(samples.inputs[batch]), samples.targets[batch]).mean().backward()
            plain.step()
    for name, tensor in model_weights(run.run()).items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("double")
def test_stacked_equals_looped(case: Any, state_of: Any, task: str) -> None:
    """Law 2, with unequal batches and absent clients."""
    runs = [
        training(case, task, "sglr", (7, 5, 3), stacking=stacking, participation=0.7, optimizer="adam").run()
        for stacking in ("stacked", "looped")
    ]
    stacked, looped = map(state_of, runs)
    assert stacked.keys() == looped.keys()
    for name, tensor in stacked.items():
        torch.testing.assert_close(tensor, looped[name], rtol=1e-8, atol=1e-9)


def test_scores_are_of_all_samples_however_they_were_cut(case: Any, task: str) -> None:
    """Law 8."""
    trainer = training(case, task, "psl", (4, 4)).build()
    data, server = trainer.engine.block.data, trainer.server.segment
    whole, cut = (trainer.engine.evaluate(server, data.test, (0, 1), parts=parts) for parts in (1, 4))
    assert next(iter(whole.values)) == make_task(task).headline
    for name, values in whole.values.items():
        torch.testing.assert_close(values, cut.values[name], equal_nan=True)


def test_resumed_equals_uninterrupted_bit_for_bit(case: Any, state_of: Any, task: str) -> None:
    """Law 5."""
    run = training(case, task, "sfl", (6, 2, 5), optimizer="adam", validate=True)
    whole, records, _ = run_until(run.build, None, None)
    _, seen, saved = run_until(run.build, 3, None)
    resumed, more, _ = run_until(run.build, None, saved)
    assert_identical(state_of(whole), state_of(resumed))
    assert replace(whole.progress, seconds=0.0) == replace(resumed.progress, seconds=0.0)
    assert str(records) == str(seen + more)
