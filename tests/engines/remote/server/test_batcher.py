"""Requests that come during a pass go through the segment together, and each gets its own rows back."""

from __future__ import annotations

import asyncio

import pytest
import torch
from torch import Tensor, nn

from sglr.engines.remote.server.batcher import Batcher


class Noting(nn.Module):
    """Doubles its inputs, and notes how many samples each pass has; fails on negative ones."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []

    def forward(self, smashed: Tensor) -> Tensor:
        self.passes.append(len(smashed))
        if bool((smashed < 0).any()):
            raise ArithmeticError("a negative value")
        return 2 * smashed


def answers(requests: list[Tensor], segment: nn.Module, most: int = 10) -> list[Tensor | BaseException]:
    """Ask for all at once; the second gives up before it is its turn."""

    async def ask() -> list[Tensor | BaseException]:
        batcher = Batcher(segment, torch.device("cpu"), most)
        asked = [asyncio.ensure_future(batcher.outputs(request)) for request in requests]
        await asyncio.sleep(0)
        asked[1].cancel()
        await asyncio.sleep(0)
        working = asyncio.create_task(batcher.work())
        found = await asyncio.gather(*asked, return_exceptions=True)
        working.cancel()
        return found

    return asyncio.run(ask())


def test_requests_go_together_up_to_a_bound_and_whose_time_is_over_not_at_all() -> None:
    segment = Noting()
    requests = [torch.rand(rows, 3) for rows in (4, 100, 6, 12, 1)]
    found = answers(requests, segment)
    assert segment.passes == [10, 12, 1]
    assert isinstance(found.pop(1), asyncio.CancelledError)
    requests.pop(1)
    for request, answer in zip(requests, found, strict=True):
        assert isinstance(answer, Tensor)
        assert torch.equal(answer, 2 * request)


def test_an_error_of_a_pass_is_told_to_those_in_it_and_the_next_pass_is_taken() -> None:
    requests = [torch.rand(6, 2), torch.rand(1, 2), -torch.rand(4, 2), torch.rand(8, 2)]
    first, _, second, third = answers(requests, Noting())
    assert isinstance(first, ArithmeticError)
    assert isinstance(second, ArithmeticError)
    assert isinstance(third, Tensor)


@pytest.mark.parametrize("rows", [1, 11])
def test_a_request_alone_is_a_pass(rows: int) -> None:
    segment = Noting()
    assert len(answers([torch.ones(rows, 2), torch.ones(1, 2)], segment)) == 2
    assert segment.passes == [rows]
