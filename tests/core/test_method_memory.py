"""What a method keeps between steps: it is in checkpoints, and a training that could not hold it is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.core.errors import Interrupted, UsageError
from sglr.core.method import Method
from sglr.core.plan import Progress
from sglr.core.server_protocol import Server
from sglr.core.trainer import Hooks, Trainer
from sglr.core.types import Downlink, Extent, StepContext, Uplink
from sglr.runs.config import Experiment


@dataclass(frozen=True)
class Momentum(Method):
    """Clients back-propagate the sum of their gradients since the training began."""

    most: int = 0

    def memory_bytes(self, extent: Extent) -> int:
        return self.most * extent.at_work * extent.batch * extent.values * extent.each

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        found = server.learn(uplink, context, context.server_rate)
        context.memory["sum"] = context.memory.get("sum", torch.zeros_like(found)) + found
        return Downlink(context.memory["sum"])


def until(trainer: Trainer, steps: int | None) -> tuple[dict[str, Tensor], Progress]:
    """Train, and stop after so many steps of the run; return a copy of the checkpoint."""
    trainer.hooks = Hooks(stop=lambda: trainer.progress.steps == steps)
    try:
        trainer.run()
    except Interrupted:
        assert steps is not None
    return {name: tensor.clone() for name, tensor in trainer.state().items()}, replace(trainer.progress)


def test_a_run_resumed_at_any_step_goes_on_with_what_its_method_keeps(case) -> None:
    training = case(Momentum(), optimizer="adam")
    whole, over = until(training.build(), None)
    assert {name for name in whole if name.startswith("method.")} == {"method.sum"}
    for stop in range(1, over.steps):
        saved, progress = until(training.build(), stop)
        resumed = training.build()
        resumed.restore(saved, progress)
        state, _ = until(resumed, None)
        assert all(torch.equal(state[name], tensor) for name, tensor in whole.items())


def test_a_checkpoint_that_goes_back_takes_the_memory_back(case) -> None:
    trainer = case(Momentum()).build()
    saved, progress = until(trainer, 1)
    after = until(trainer, None)[0]["method.sum"]
    trainer.restore(saved, progress)
    assert torch.equal(trainer.memory["sum"], saved["method.sum"])
    assert torch.equal(until(trainer, None)[0]["method.sum"], after)
    assert not torch.equal(saved["method.sum"], after)


def test_a_memory_that_would_not_fit_is_refused_before_any_work() -> None:
    experiment = Experiment.from_flat({"method": "psl", "clients": 4, "participation": 0.5, "samples_per_client": 16})
    build(experiment, PartOverrides(method=Momentum(most=1)))
    with pytest.raises(UsageError, match=r"keeps \d+ bytes \([\d.e+]+ GB\) between steps, of [\d.]+ GB of memory"):
        build(experiment, PartOverrides(method=Momentum(most=10**9)))


def test_a_method_keeps_nothing_unless_it_says_so(case, state_of) -> None:
    method = case(Momentum()).method
    assert method.memory_bytes(Extent(4, 2, 8, (3,), 3)) == 0
    assert Momentum(2).memory_bytes(Extent(4, 2, 8, (3, 5), 3)) == 2 * 2 * 8 * 15 * 4
