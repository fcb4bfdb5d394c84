"""Clients in one process that are cut at several places: one block of clients, stacked or looped, for each cut.

To an engine they look like one block (`sglr.parties.client_block.ClientBlock`): what they send are rows of all cuts
side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sglr.core.cuts.cut_rows import of_rows
from sglr.core.data import Samples
from sglr.core.scores import Scores
from sglr.core.types import Answer, Uplink
from sglr.core.weights import Weights, below
from sglr.parties.client_block import ClientBlock
from sglr.parties.local_epoch import Among
from sglr.parties.spec import ClientSpec
from sglr.splitting.trunk import entered


class CutBlocks:
    """All clients, by cut.

    Parameters
    ----------
    spec
        The clients and what they need, those of each cut in ``spec.of_cuts``.
    """

    def __init__(self, spec: ClientSpec) -> None:
        assert spec.cuts is not None, "clients are cut at several places"
        self._spec, self.cuts, self.device = spec, spec.cuts, spec.device
        train = spec.data.train
        here = Samples(train.inputs.to(spec.device), train.targets.to(spec.device))
        self._blocks: dict[int, ClientBlock] = {}
        for cut, clients in self.cuts.groups(range(len(self.cuts.places))):
            data = dataclasses.replace(
                spec.data, train=here, indices=tuple(spec.data.indices[client] for client in clients)
            )
            self._blocks[cut] = ClientBlock(dataclasses.replace(spec.of_cuts[cut], data=data), clients)
        self._cohort: dict[int, tuple[int, ...]] = {}
        self._sent: dict[int, Uplink] = {}

    def choose_form(self) -> None:
        """Measure how the clients of most of the cuts run fastest, where the setting leaves it open; all run so."""
        several = [block for block in self._blocks.values() if len(block.ids) > 1]
        if not several or self._spec.stacking != "auto":
            return
        form = "looped"
        if all(block.stack.stacked for block in several):
            most = max(several, key=lambda block: len(block.ids))
            most.choose_form()
            form = most.stack.form
        for block in several:
            block.stack.run_as(form)

    @property
    def form(self) -> str:
        """How clients of a cut run: as `Stack.form`."""
        return max(self._blocks.values(), key=lambda block: len(block.ids)).stack.form

    def keep_in(self, folder: Path, checkpoints: Path) -> None:
        """Keep what absent clients hold in files of ``folder``, a folder for each cut."""
        for cut, block in self._blocks.items():
            block.keep_in(folder / f"cut{cut}", checkpoints)

    def begin_epoch(self, cohort: tuple[int, ...], epoch: int, *, fresh: bool = False) -> int:
        """Draw the order of every client's samples; return the number of steps of the longest."""
        sizes = np.array([len(self._spec.data.indices[client]) for client in cohort], dtype=np.int64)
        places = {client: place for place, client in enumerate(cohort)}
        self._cohort, steps = dict(self.cuts.groups(cohort)), 0
        for cut, own in self._cohort.items():
            among = Among(cohort, sizes, tuple(places[client] for client in own))
            steps = max(steps, self._blocks[cut].begin_epoch(own, epoch, fresh=fresh, among=among))
        return steps

    def forward(self, step: int) -> Uplink | None:
        """Run the clients that have a batch in this step; None if nobody has."""
        found = {cut: self._blocks[cut].forward(step) for cut in self._cohort}
        self._sent = {cut: uplink for cut, uplink in found.items() if uplink is not None}
        return self.joined(self._sent) if self._sent else None

    def joined(self, sent: Mapping[int, Uplink]) -> Uplink:
        """Return what the clients of several cuts sent as one uplink."""
        clients = sorted(client for uplink in sent.values() for client in uplink.clients)
        rows = {client: row for row, client in enumerate(clients)}
        longest = max(uplink.smashed.shape[1] for uplink in sent.values())
        one, sizes = next(iter(sent.values())), [0] * len(clients)
        smashed = one.smashed.new_zeros(len(clients), longest, self.cuts.width)
        told = None if one.told is None else one.told.new_zeros(len(clients), longest, *one.told.shape[2:])
        for cut, uplink in sent.items():
            own, batch = [rows[client] for client in uplink.clients], uplink.smashed.shape[1]
            flat = uplink.smashed.flatten(2)
            smashed[own, :batch, : flat.shape[2]] = flat
            smashed[own, :batch, -1] = cut
            if told is not None and uplink.told is not None:
                told[own, :batch] = uplink.told
            for row, size in zip(own, uplink.sizes, strict=True):
                sizes[row] = size
        return Uplink(smashed, told, tuple(clients), tuple(sizes), self.cuts.rows(clients))

    def answer(self, features: Tensor, clients: Sequence[int]) -> Answer:
        """Let clients of the last `forward` find their loss at features ``[n, b, ...]`` of the server."""
        gradients = torch.zeros_like(features, memory_format=torch.contiguous_format)
        loss, correct = torch.zeros(2, len(clients), dtype=torch.float64, device=features.device)
        sizes = [0] * len(clients)
        for cut, rows in self.cuts.rows(clients).groups():
            found = self._blocks[cut].answer(features[rows], [clients[row] for row in rows])
            gradients[rows], loss[rows], correct[rows] = found.gradients, found.loss, found.correct
            for row, size in zip(rows, found.sizes, strict=True):
                sizes[row] = size
        return Answer(gradients, loss, correct, tuple(sizes))

    def backward(self, cut_gradients: Tensor | None, rate: float, *, updates: bool = True) -> None:
        """Back-propagate each client's cut-layer gradients, rows ``[C, b, W]``, through its segment, and step."""
        assert cut_gradients is not None, "clients have no heads"
        clients = sorted(client for uplink in self._sent.values() for client in uplink.clients)
        rows = {client: row for row, client in enumerate(clients)}
        for cut, uplink in self._sent.items():
            own = cut_gradients[[rows[client] for client in uplink.clients], : uplink.smashed.shape[1]]
            self._blocks[cut].backward(of_rows(own, self.cuts.shapes[cut]), rate, updates=updates)

    def step_alone(self, step: int, rate: float) -> int:
        """Let the clients train by their heads; return the number of samples."""
        return sum(self._blocks[cut].step_alone(step, rate) for cut in self._cohort)

    def collect(self, clients: Sequence[int]) -> dict[str, Tensor]:
        """Return copies of the clients' weights and buffers ``[n, ...]``, zero where a client does not hold them."""
        groups = list(self.cuts.rows(clients).groups())
        found: dict[str, Tensor] = {}
        for cut, rows in reversed(groups):
            own = self._blocks[cut].collect([clients[row] for row in rows])
            for name, tensor in own.items():
                if name not in found:
                    found[name] = tensor.new_zeros(len(clients), *tensor.shape[1:])
                found[name][rows] = tensor
        return found

    def publish(self, weights: Weights, clients: Sequence[int]) -> None:
        """Give the clients the same weights and buffers ``[...]``, each those that it holds."""
        for cut, own in self.cuts.groups(clients):
            self._blocks[cut].publish(self.cuts.held(weights, cut), own)

    def give(self, weights: Weights, clients: Sequence[int]) -> None:
        """Set some of the clients' weights and buffers, each to its own ``[n, ...]``."""
        for cut, rows in self.cuts.rows(clients).groups():
            held = self.cuts.held(weights, cut)
            own = {name: tensor[rows] for name, tensor in held.items()}
            self._blocks[cut].give(own, [clients[row] for row in rows])

    def evaluate(
        self,
        server: nn.Module,
        samples: Samples,
        clients: Sequence[int],
        shared: Weights | None = None,
        parts: int = 1,
    ) -> Scores:
        """Score clients, or weights that they share, on the same samples."""
        asked = tuple(clients if shared is None else clients[:1])
        groups = self.cuts.groups(asked)
        scores = [self._blocks[cut].evaluate(entered(server, cut), samples, own, shared, parts) for cut, own in groups]
        places = {client: place for place, client in enumerate(client for _, own in groups for client in own)}
        return Scores.joined(scores, [places[client] for client in asked], self._spec.task)

    def digests(self) -> list[str]:
        """Return the SHA-256 of every client's weights and buffers."""
        found = {
            client: told
            for block in self._blocks.values()
            for client, told in zip(block.ids, block.digests(), strict=True)
        }
        return [found[client] for client in sorted(found)]

    def state(self) -> dict[str, Tensor]:
        """Return weights, buffers and optimizer state of all clients, by cut."""
        each = self._blocks.items()
        return {f"cut{cut}.{name}": tensor for cut, block in each for name, tensor in block.state().items()}

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned."""
        for cut, block in self._blocks.items():
            block.restore(below(f"cut{cut}.", tensors))
