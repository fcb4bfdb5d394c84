"""Requests for predictions of several sites, run through the server's segment together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

MOST_TOGETHER = 1024
"""Samples of one pass; a single request may have more."""

Waiting = tuple[Tensor, "asyncio.Future[Tensor]"]


class Batcher:
    """Runs smashed data through a segment, one pass at a time: what comes during a pass waits and goes together.

    In evaluation mode no sample's outputs depend on another's, so who shares a pass makes no difference but rounding.

    Parameters
    ----------
    segment
        The server's, in evaluation mode.
    device
        Where it is.
    most
        Samples of one pass.
    """

    def __init__(self, segment: nn.Module, device: torch.device, most: int = MOST_TOGETHER) -> None:
        self._segment, self._device, self._most = segment, device, most
        self._waiting: deque[Waiting] = deque()
        self._came = asyncio.Event()
        self.passes = 0

    async def outputs(self, smashed: Tensor) -> Tensor:
        """Return the segment's outputs ``[b, ...]`` of smashed data ``[b, ...]``, on the CPU."""
        future: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self._waiting.append((smashed, future))
        self._came.set()
        return await future

    async def work(self) -> None:
        """Answer until cancelled; an error of a pass is that of all requests in it."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="sglr-computing") as computing:
            while True:
                await self._came.wait()
                group = self._next_group()
                if not group:
                    self._came.clear()
                    continue
                try:
                    answers = await loop.run_in_executor(computing, self._compute, [smashed for smashed, _ in group])
                except Exception as error:
                    _settle(group, [error] * len(group))
                else:
                    _settle(group, answers)

    def _next_group(self) -> list[Waiting]:
        """Take the requests that go together, without those whose deadlines have passed."""
        group: list[Waiting] = []
        samples = 0
        while self._waiting:
            smashed, future = self._waiting[0]
            if not future.done():
                if group and samples + len(smashed) > self._most:
                    break
                samples += len(smashed)
                group.append((smashed, future))
            self._waiting.popleft()
        return group

    def _compute(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        smashed = (parts[0] if len(parts) == 1 else torch.cat(list(parts))).to(self._device)
        if smashed.dim() == 4:
            smashed = smashed.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            outputs: Tensor = self._segment(smashed).float().cpu()
        self.passes += 1
        return torch.split(outputs, [len(part) for part in parts])


def _settle(group: Sequence[Waiting], answers: Sequence[Tensor | Exception]) -> None:
    for (_, future), answer in zip(group, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
