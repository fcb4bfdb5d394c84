"""A client's head at a site: it answers for samples that then never leave the site (SplitGP)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sglr.inference.early_exit import unsure_of

Sent: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]
"""Gives what leaves: by the place of the first sample, smashed data ``[b, ...]``, and which of them, bool ``[b]``."""

Ask: TypeAlias = Callable[[Iterable[Tensor]], Iterator[Tensor]]
"""Gives the server's answers to what leaves the site, in the same order, those of several batches as one."""


class OwnHead:
    """A client's head, and for which samples it answers.

    Parameters
    ----------
    head
        From smashed data ``[b, ...]`` to outputs ``[b, ...]``, in evaluation mode.
    entropy
        Up to which entropy of its softmax it answers, in nats; None if it answers for all samples.
    device
        Where it is.

    Attributes
    ----------
    asked, alone
        How many samples there were, and for how many of them it answered.
    """

    def __init__(self, head: nn.Module, entropy: float | None, device: torch.device) -> None:
        self._head, self._entropy, self._device = head, entropy, device
        self.asked = self.alone = 0

    def outputs(self, batches: Iterable[tuple[int, Tensor]], sent: Sent, ask: Ask) -> Iterator[Tensor]:
        """Yield the outputs of batches of smashed data, in their order: the head's where it answers, else the server's.

        Parameters
        ----------
        batches
            The place of the first sample, and the smashed data ``[b, ...]``.
        sent, ask
            What leaves the site, and who is asked.
        """
        self.asked = self.alone = 0
        waiting: deque[tuple[Tensor, Tensor]] = deque()

        def leaving() -> Iterator[Tensor]:
            for first, smashed in batches:
                own, unsure = self._answer(smashed)
                waiting.append((own, unsure))
                if bool(unsure.any()):
                    yield sent(first, smashed, unsure)

        came: Tensor | None = None
        for answer in ask(leaving()):
            came = answer if came is None else torch.cat([came, answer])
            while waiting and (count := int(waiting[0][1].sum())) <= len(came):
                own, unsure = waiting.popleft()
                own[unsure], came = came[:count].to(own.dtype), came[count:]
                yield own
        # The server has answered for all that it was asked.
        yield from (own for own, _ in waiting)

    @torch.no_grad()
    def _answer(self, smashed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the head's outputs ``[b, ...]``, and for which samples it does not answer, bool ``[b]``."""
        found: Tensor = self._head(smashed.to(self._device)).float().cpu()
        unsure = torch.zeros(len(found), dtype=torch.bool)
        if self._entropy is not None:
            unsure = unsure_of(found, self._entropy)
        self.asked += len(found)
        self.alone += len(found) - int(unsure.sum())
        return found, unsure
