"""What computing ahead keeps, by hand, and that a pass runs again with the weights that it ran with."""

from __future__ import annotations

import torch
from torch import nn

from sglr.core.optim import OptimizerSpec
from sglr.engines.remote.client.passes_ahead import PassesAhead, bytes_of_copy, bytes_of_pass
from sglr.stacking.stack import Stack


def new_stack() -> Stack:
    torch.default_generator.manual_seed(0)
    segment = nn.Linear(2, 1, bias=False)
    return Stack(lambda _: segment, 1, OptimizerSpec(), clip_norm=None, stacked=False, device=torch.device("cpu"))


def weight(stack: Stack) -> torch.Tensor:
    return stack.parameters["weight"].detach()


def test_a_step_keeps_its_weights_until_its_gradient_has_come_in_a_checkpoint_too() -> None:
    current, ahead = new_stack(), PassesAhead(2, new_stack, 0.0)
    first = weight(ahead.stack_for(0, 3, current)).clone()
    current.load((0,), {"weight": torch.tensor([[5.0, 6.0]])})
    assert torch.equal(weight(ahead.stack_for(0, 3, current)), first)
    assert torch.equal(weight(ahead.stack_for(0, 4, current)), weight(current))
    other = PassesAhead(2, new_stack, 0.0)
    other.restore(ahead.state())
    current.load((0,), {"weight": torch.tensor([[7.0, 8.0]])})
    assert torch.equal(weight(other.stack_for(0, 3, current)), first)
    assert torch.equal(weight(other.stack_for(0, 4, current)), torch.tensor([[[5.0, 6.0]]]))
    other.over(0, 3)
    assert torch.equal(weight(other.stack_for(0, 3, current)), weight(current))
    other.forget()
    assert other.state() == {}


def test_without_passes_ahead_nothing_is_copied() -> None:
    current = new_stack()
    ahead = PassesAhead(0, new_stack, 0.0)
    assert ahead.stack_for(0, 0, current) is current
    assert ahead.state() == {}


def test_memory_of_a_pass_by_hand() -> None:
    """Of 5 samples: inputs of 3 numbers, outputs of the first layer (4), of the ReLU (4) and of the last (2)."""
    segment = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert bytes_of_pass(segment, torch.zeros(5, 3)) in (4 * 5 * (3 + 4 + 2), 4 * 5 * (3 + 4 + 4 + 2))
    assert bytes_of_copy(segment) == 4 * (3 * 4 + 4 + 4 * 2 + 2)
