"""Steps with gradients of older weights, by hand: their definition, and their correction."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.conftest import make_lower, make_upper
from torch import nn

from sglr.methods.psl import PSL
from sglr.stacking.stale import compensated


def test_delay_compensation_by_hand() -> None:
    gradient, now, then = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 1.0, 3.0]), torch.tensor([0.5, 2.0, 3.0])
    [found] = compensated([gradient], [now], [then], 0.1)
    # 2 + 0.1 · 4 · 0.5; −1 + 0.1 · 1 · (−1); 0.5 + 0
    torch.testing.assert_close(found, torch.tensor([2.2, -1.1, 0.5]))
    assert compensated([gradient], [now], [then], 0.0)[0] is gradient


def test_of_a_quadratic_loss_the_corrected_gradient_is_nearer_to_that_of_the_weights_now() -> None:
    """Where g² is the curvature, the correction is exact: ½ a w² with a = g² at w_then, so w_then = 1/a^½."""
    curvature = 4.0
    then, now = torch.tensor([0.5]), torch.tensor([0.2])
    gradient = curvature * then  # 2, whose square is the curvature
    [found] = compensated([gradient], [now], [then], 1.0)
    torch.testing.assert_close(found, curvature * now)


@pytest.mark.parametrize("strength", [0.0, 0.3])
@pytest.mark.parametrize("depth", [1, 2, 8])
def test_the_gradient_of_step_t_is_of_the_weights_before_step_t_minus_n(case, depth: int, strength: float) -> None:
    """Six steps an epoch: of the first N of an epoch, gradients are of the weights that it began with."""
    training = case(PSL(), sizes=(18,), epochs=2, rate=0.5, ahead=depth, delay_compensation=strength)
    trainer = training.build()
    batches: list[tuple[torch.Tensor, torch.Tensor]] = []
    forward = trainer.engine.forward

    def remember(step: int) -> object:
        uplink = forward(step)
        rows = trainer.engine.block._local_epoch.at(step).samples[0]
        batches.append((trainer.engine.block.inputs[rows], trainer.engine.block.targets[rows]))
        return uplink

    trainer.engine.forward = remember
    trainer.run()
    lower, upper = make_lower(0), make_upper()
    for epoch in range(2):
        versions = []
        for step in range(6):
            versions.append(copy.deepcopy(lower))
            then = versions[max(0, step - depth)]
            inputs, targets = batches[6 * epoch + step]
            loss = nn.functional.cross_entropy(upper(then(inputs)), targets)
            own = torch.autograd.grad(loss, [*then.parameters(), *upper.parameters()])
            count = len(list(then.parameters()))
            old, new = list(then.parameters()), list(lower.parameters())
            with torch.no_grad():
                for gradient, before, weight in zip(own[:count], old, new, strict=True):
                    weight -= 0.5 * (gradient + strength * gradient**2 * (weight - before))
                for gradient, weight in zip(own[count:], upper.parameters(), strict=True):
                    weight -= 0.5 * gradient
    weights = trainer.engine.collect((0,))
    for name, tensor in lower.state_dict().items():
        torch.testing.assert_close(weights[name][0], tensor)
