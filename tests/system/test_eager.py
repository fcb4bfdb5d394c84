"""What torch wraps for its compiler does the same without, and a training imports neither compiler nor sympy."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from sglr.core.optim import OptimizerSpec, _known_optimizers, eager_optimizer
from sglr.system import eager
from sglr.system.eager import backward

COMPILER = ("torch._dynamo", "torch._inductor", "sympy", "torch.fx.experimental.symbolic_shapes")


def test_a_training_imports_no_compiler(tmp_path):
    words = ["train", "--epochs", "1", "--clients", "2", "--samples-per-client", "16", "--quiet", "--out"]
    runs = [
        [*words, str(tmp_path / "stacked")],
        [*words, str(tmp_path / "looped"), "--stacking", "looped", "--optimizer", "sgd:momentum=0.9"],
    ]
    code = (
        "import sys; from sglr.cli.main import main;"
        f"codes = [main(words) for words in {runs}]; print(codes, [m for m in {COMPILER} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("\n[0, 0] []\n")


@pytest.mark.parametrize("name", sorted(_known_optimizers()))
def test_an_eager_optimizer_takes_the_steps_of_the_one_of_torch(name):
    known = _known_optimizers()[name]
    weights = [nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4).clone()) for _ in range(2)]
    optimizers = [kind([weight], lr=0.1) for kind, weight in zip((known, eager_optimizer(known)), weights, strict=True)]
    stepped = []
    optimizers[1].register_step_post_hook(lambda *_: stepped.append(1))
    for number in range(3):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = (weight.detach() * (number + 1)).sin()
            optimizer.step()
            optimizer.zero_grad()
            assert weight.grad is None
    assert torch.equal(*weights)
    assert optimizers[0].state_dict().keys() == optimizers[1].state_dict().keys()
    assert repr(optimizers[0]) == repr(optimizers[1])
    assert len(stepped) == 3


def test_a_differentiable_optimizer_stays_as_torch_has_it():
    weight = nn.Parameter(torch.ones(1))
    assert type(OptimizerSpec.parse("sgd:differentiable=True").build([weight], 0.1)) is torch.optim.SGD


@pytest.mark.parametrize("engine", [True, False])
def test_gradients_are_those_of_autograd(monkeypatch, engine):
    if not engine:
        monkeypatch.setattr(eager, "_ENGINE", None)
    torch.manual_seed(0)
    leaves = [
        torch.randn(4, 3, requires_grad=True),
        torch.randn(3, requires_grad=True),
        torch.randn(2, requires_grad=True),
    ]
    outputs = [(leaves[0] * leaves[1]).exp(), leaves[0].sin()]
    arrived = [torch.randn(4, 3), torch.randn(4, 3)]
    right = torch.autograd.grad(outputs, leaves, arrived, retain_graph=True, allow_unused=True, materialize_grads=True)
    found = backward(outputs, leaves, arrived)
    assert all(torch.equal(*pair) for pair in zip(found, right, strict=True))
    assert not found[2].any()
    with pytest.raises(RuntimeError, match="second time"):
        backward(outputs, leaves, arrived)
    with pytest.raises(RuntimeError, match="shape"):
        backward([leaves[0].sin()], leaves[:1], [torch.ones(5)])
