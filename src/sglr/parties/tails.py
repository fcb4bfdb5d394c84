"""A step through what clients have behind their loss, a tail or a head: features in, gradients by them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sglr.core.events import NO_HITS
from sglr.core.types import Answer
from sglr.parties.client_loss import ClientLoss
from sglr.parties.decoder_loss import DecoderLoss
from sglr.parties.defences import DefenceChain
from sglr.stacking.passes import Pass
from sglr.stacking.sub_stack import SubStack


@dataclass(frozen=True)
class TailStep:
    """What a step needs to remember between a client's forward pass and its backward pass.

    Parameters
    ----------
    part
        The tails of clients that keep their labels (U-shape), the heads, or the decoders.
    loss
        How clients compute it.
    log_prior
        Gives a client's ``[K]``, where the loss is corrected by it.
    clients
        Who is in the step, C of them.
    labels
        Their targets, ``[C, b, ...]``; a decoder's are the inputs.
    passes
        The forward passes through lower segments, with the places in ``clients`` of who took part in each.
    defences
        The clients' defences, which change the gradients that they send, not their own steps.
    where
        The epoch, and its step.
    """

    part: SubStack
    loss: ClientLoss | DecoderLoss
    log_prior: Callable[[int], Tensor]
    clients: tuple[int, ...]
    labels: Tensor
    passes: Sequence[tuple[list[int], Pass]]
    defences: DefenceChain = field(default_factory=DefenceChain)
    where: tuple[int, int] = (0, 0)
    _found: dict[int, list[Tensor]] = field(default_factory=dict)

    def answer(self, features: Tensor, clients: Sequence[int]) -> Answer:
        """Run the tails of some of the clients, each on features of its own, ``[n, b, ...]``; keep their gradients.

        A client answers once in a step.
        """
        gradients = torch.zeros_like(features, memory_format=torch.contiguous_format)
        sums = torch.zeros(2, len(clients), dtype=torch.float64, device=features.device)
        sizes = [0] * len(clients)
        asked = {client: place for place, client in enumerate(clients)}
        for number, (places, lower) in enumerate(self.passes):
            chosen = [one for one, place in enumerate(places) if self.clients[place] in asked]
            if not chosen:
                continue
            size = lower.outputs.shape[1]
            own = [asked[self.clients[places[one]]] for one in chosen]
            gradients[own, :size], sums[:, own] = self._run(number, chosen, features[own, :size])
            for place in own:
                sizes[place] = size
        return Answer(gradients, sums[0], sums[1], tuple(sizes))

    def _run(self, number: int, chosen: list[int], features: Tensor) -> tuple[Tensor, Tensor]:
        """Run tails of one pass on ``[n, b, ...]``; return gradients by features, and sums of loss and hits."""
        places, lower = self.passes[number]
        who = [places[one] for one in chosen]
        forward = self.part.forward(tuple(lower.rows[one] for one in chosen), features)
        priors = None
        if self.loss.corrects_prior:
            priors = torch.stack([self.log_prior(self.clients[place]) for place in who])
        labels = self.labels[who, : features.shape[1]]
        loss = self.loss(forward.outputs, labels, priors)
        found = self.part.backward(forward, loss.by_outputs)
        self._keep(number, chosen, found.weights)
        assert found.inputs is not None, "asked for by the part"
        ids, sizes = [self.clients[place] for place in who], [features.shape[1]] * len(who)
        sent = self.defences.privatize_gradient(found.inputs, labels, ids, sizes, *self.where)
        losses = loss.losses.sum(1).double()
        return sent, torch.stack(
            [losses, torch.full_like(losses, NO_HITS) if loss.hits is None else loss.hits.sum(1).double()]
        )

    def _keep(self, number: int, chosen: list[int], gradients: list[Tensor]) -> None:
        count = len(self.passes[number][0])
        if len(chosen) == count:
            self._found[number] = gradients
            return
        held = self._found.setdefault(number, [tensor.new_zeros(count, *tensor.shape[1:]) for tensor in gradients])
        for all_rows, some in zip(held, gradients, strict=True):
            all_rows[chosen] = some

    def added(self, number: int, gradients: list[Tensor]) -> list[Tensor]:
        """Return the gradients of a pass through lower segments with those of the tails, zero where nobody asked."""
        found = self._found.get(number)
        if found is None:
            return gradients
        return self.part.added(gradients, found)
