"""Bootstrap intervals over parts of a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from sglr.core.task import Sums, Targets, Task
from sglr.metrics.intervals import intervals


@dataclass(frozen=True)
class Share(Task):
    """The share of ones among samples, of every client."""

    headline: ClassVar[str] = "share"

    def check(self, targets: Targets) -> None: ...

    def outputs(self, targets: Targets) -> int:
        return 1

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        count = torch.full((len(outputs),), outputs.shape[1])
        return {"ones": outputs.sum(1), "count": count, "pairs": outputs.sum()[None, None]}

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        return {"share": sums["ones"] / sums["count"], "never": torch.full_like(sums["count"], torch.nan, dtype=float)}


class Pooled(Share):
    """The same, with a sum of all clients, which no score is made of."""

    pooled: ClassVar[frozenset[str]] = frozenset({"pairs"})

    def scores(self, sums: Sums) -> dict[str, Tensor]:
        assert "pairs" not in sums
        return super().scores(sums)


def parts_of(task: Task, outputs: Tensor, count: int) -> list[Sums]:
    return [task.sums(outputs[:, start::count], outputs[0, start::count]) for start in range(count)]


def test_nineteen_in_twenty_intervals_hold_the_truth() -> None:
    generator = torch.Generator().manual_seed(1)
    held = 0
    for seed in range(100):
        outputs = (torch.rand(1, 400, generator=generator, dtype=torch.float64) < 0.3).double()
        low, high = intervals(Share(), parts_of(Share(), outputs, 40), seed)["share"]
        held += low <= 0.3 <= high
    assert 0.89 <= held / 100 <= 0.99


def test_an_interval_is_of_the_mean_over_clients_and_repeats() -> None:
    outputs = torch.stack([torch.arange(60) % 2, torch.arange(60) % 2]).double()
    outputs = torch.cat([outputs, torch.rand(1, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(2))])
    found = intervals(Share(), parts_of(Share(), outputs, 20), 3)
    assert found == intervals(Share(), parts_of(Share(), outputs, 20), 3)
    assert found != intervals(Share(), parts_of(Share(), outputs, 20), 4)
    low, high = found["share"]
    assert low < float(outputs.mean()) < high
    assert "never" not in found
    assert intervals(Share(), parts_of(Share(), outputs, 1), 3) == {}


def test_sums_of_all_clients_are_left_out() -> None:
    outputs = torch.rand(3, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    plain = intervals(
        Share(), [{k: v for k, v in part.items() if k != "pairs"} for part in parts_of(Share(), outputs, 5)], 1
    )
    assert intervals(Pooled(), parts_of(Pooled(), outputs, 5), 1)["share"] == pytest.approx(plain["share"])
