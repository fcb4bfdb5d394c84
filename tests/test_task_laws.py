"""The laws of docs/architecture.md over every registered task, plugged-in ones too."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.some_targets import Lower, MadeUp, clients_for, inputs_for, make_task, targets_of, upper_for
from tests.test_laws import assert_identical, model_weights, run_until
from torch import Tensor, nn

from sglr.assembly.build import build
from sglr.assembly.label_prior import label_prior_of, why_no_prior
from sglr.assembly.parts import PartOverrides
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.core.registry import METHODS, TASKS
from sglr.parties.training_loss import TrainingLoss
from sglr.runs.config import Experiment

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


PRIORS = ("own", "pooled", "relative")


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.usefixtures("double")
def test_label_frequencies_are_taken_out_of_probabilities_or_the_setting_is_refused(task: str, prior: str) -> None:
    """With p(k) = exp(-ℓ_k), ℓ_k the loss of class k, the corrected loss is -log of p(y) P(y) / Σ_k p(k) P(k)."""
    its, targets = make_task(task), targets_of(make_task(task))
    if why_no_prior(its, targets):
        settings = {"method": "psl", "task": task, "clients": 3, "model": "mlp"}
        with pytest.raises(UsageError, match=rf"^label_prior = {prior}: .*; give --label-prior ignore$"):
            given = PartOverrides(dataset=MadeUp(task).load(None))
            build(Experiment.from_flat({**settings, "label_prior": prior}), given)
        open_one = Experiment.from_flat({**settings, "label_prior": "auto"})
        assert label_prior_of(open_one, METHODS.load("psl")(), its, targets) == "ignore"
        return
    labels = torch.arange(14) * torch.arange(14) % 3 % targets.classes
    outputs, sizes = inputs_for(targets, 14, 5)[None, :, : its.outputs(targets)].double(), (9, 5)
    loss = TrainingLoss(its, clients=2, classes=targets.classes, label_prior=prior, device=torch.device("cpu"))
    found = loss.gradient(outputs, labels[None], (0, 1), sizes, 0)
    counts = torch.stack([torch.bincount(own, minlength=targets.classes) for own in labels.split(sizes)])
    own, everyone = ((one + 1) / (one + 1).sum(-1, keepdim=True) for one in (counts, counts.sum(0)))
    each = torch.repeat_interleave(own, torch.tensor(sizes), 0)
    step, told = {
        "own": (each, each),
        "pooled": (everyone, each),
        "relative": (torch.ones(targets.classes), each / everyone),
    }[prior]
    for gradient, frequencies in ((found.step, step), (found.step if found.told is None else found.told, told)):
        torch.testing.assert_close(gradient[0], by_frequencies(its, outputs[0], labels, frequencies))


def by_frequencies(task: Any, outputs: Tensor, labels: Tensor, frequencies: Tensor) -> Tensor:
    """Work out the gradient of the mean loss by the outputs, where classes are as frequent as that."""
    outputs = outputs.clone().requires_grad_()
    classes = range(frequencies.shape[-1])
    p = torch.stack([torch.exp(-task.losses(outputs, torch.full_like(labels, k))) for k in classes], 1) * frequencies
    losses = -torch.log(p[torch.arange(len(labels)), labels] / p.sum(1))
    return torch.autograd.grad(losses.mean(), outputs)[0]
