"""The server's side of clients that are cut at several places: which stages step, and layers that some clients hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.cuts.cut_rows import StageRates, of_rows, to_rows
from sglr.core.types import ServerBatch, StepContext, Uplink
from sglr.core.weights import Weights
from sglr.parties.defences import DefenceChain
from sglr.splitting.trunk import Trunk
from sglr.stacking.stack import Stack


class Stages:
    """The stages of a trunk and their clients.

    Parameters
    ----------
    trunk
        The server's segment.
    cuts
        Which client is cut where.
    """

    def __init__(self, trunk: nn.Module, cuts: ClientCuts) -> None:
        assert isinstance(trunk, Trunk), "with several entries"
        self._cuts, self._layers = cuts, trunk.layers

    def step(
        self, stack: Stack, gradients: Sequence[Tensor], rate: float | StageRates, entered: Sequence[float] | None
    ) -> tuple[list[Tensor], list[tuple[list[int], float]]]:
        """Return what the weights step by after a pass: gradients, and the places and rate of those that step.

        A stage steps on the mean loss over the samples that pass it, as a client does on its own. One that nobody's
        samples pass does not move, nor does what its optimizer remembers.

        Parameters
        ----------
        stack
            What the pass went through.
        gradients
            Of the mean loss over all samples, per parameter ``[n, ...]``.
        rate
            The server's rate, or that of every stage.
        entered
            The weights of the samples that entered at each cut, in sum; None if all samples weigh alike.
        """
        trunk = _trunk_of(stack)
        stages = [trunk.stage_of(name) for name in stack.parameters]
        rates = rate.rates if isinstance(rate, StageRates) else (rate,) * len(trunk.arrived)
        passing = list(accumulate(trunk.arrived if entered is None else entered))
        found = list(gradients)
        parts = []
        for stage, (count, own) in enumerate(zip(passing, rates, strict=True)):
            places = [place for place, its in enumerate(stages) if its == stage]
            if count and places:
                parts.append((places, own))
            if 0 < count < passing[-1]:
                for place in places:
                    found[place] = found[place] * (passing[-1] / count)
        return found, parts

    def weights_of(self, batch: ServerBatch) -> list[float] | None:
        """Return the sum of the weights of a batch's samples of each cut, rows ``[N, W]``; None if all weigh alike."""
        if batch.weights is None:
            return None
        own = batch.weights.new_zeros(len(self._layers), dtype=torch.float64)
        own.index_add_(0, batch.smashed[:, -1].detach().long(), batch.weights.detach().double())
        sums: list[float] = own.tolist()
        return sums

    def weights_by_age(self, uplink: Uplink, weights: Mapping[int, float]) -> list[float]:
        """Return the sum of the weights of the samples of each cut, by what a sample of each client weighs, or 1."""
        sums = [0.0] * len(self._layers)
        for client, size in zip(uplink.clients, uplink.sizes, strict=True):
            sums[self._cuts.places[client]] += weights.get(client, 1.0) * size
        return sums

    def hold_for(self, clients: Sequence[int], weights: Weights, whole: Stack, copies: Stack | None) -> Weights:
        """Return clients' weights ``[n, ...]`` with those that the server holds in the place of each.

        Parameters
        ----------
        clients
            Who is merged, n of them.
        weights
            Theirs; zero where a client does not hold a layer that another one does.
        whole, copies
            The server's segment, and each client's copy of it, where it has one.
        """
        found = dict(weights)
        of = [self._cuts.places[client] for client in clients]
        for stage, layers in enumerate(self._layers[:-1]):
            without = [row for row, place in enumerate(of) if place <= stage]
            for name, own in layers.items() if without else ():
                held = (
                    _row(whole, (0,), own) if copies is None else _row(copies, [clients[row] for row in without], own)
                )
                rows = found[name].clone() if name in found else held.new_zeros(len(of), *held.shape[1:])
                rows[without] = held.to(rows.device)
                found[name] = rows
        return found

    def take_up(self, shared: Weights, stacks: Sequence[Stack]) -> None:
        """Set the layers that clients of deeper cuts hold themselves to what was merged."""
        merged = {own: shared[name] for layers in self._layers[:-1] for name, own in layers.items() if name in shared}
        for stack in stacks if merged else ():
            stack.load(tuple(range(stack.rows)), merged)


def defended_by_cut(defences: DefenceChain, gradients: Tensor, uplink: Uplink, context: StepContext) -> Tensor:
    """Return what clients are told of gradients ``[C, b, ...]``, by the defences of whoever keeps the labels."""
    where = context.epoch, context.number
    if uplink.cuts is None or not defences.privatizes_gradient:
        return defences.privatize_gradient(gradients, uplink.labels, uplink.clients, uplink.sizes, *where)
    told = torch.zeros_like(gradients)
    for cut, rows, own in uplink.of_cuts():
        found = of_rows(gradients[rows], uplink.cuts.shapes[cut])
        found = defences.privatize_gradient(found, own.labels, own.clients, own.sizes, *where)
        told[rows] = to_rows(found, 0, uplink.cuts.width)
    return told


def _trunk_of(stack: Stack) -> Trunk:
    """Return the trunk that a pass of a stack went through."""
    trunk = stack.template if stack.module is None else stack.module
    assert isinstance(trunk, Trunk), "made for one"
    return trunk


def _row(stack: Stack, rows: Sequence[int], name: str) -> Tensor:
    """Return a weight or buffer of some rows, ``[n, ...]``."""
    held = stack.parameters if name in stack.parameters else stack.buffers
    return held[name].detach()[list(rows)]
