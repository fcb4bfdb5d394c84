"""Some clients in one process: stacked along a leading axis, or looped where a model can't be stacked.

The engine `local` is one block of everyone; a cluster holds a block in each of its processes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sglr.core.data import Inputs, Samples, StoredInputs
from sglr.core.errors import UsageError
from sglr.core.scores import Scores
from sglr.core.types import Answer, Uplink
from sglr.core.weights import Weights, below, to_device
from sglr.parties.client_loss import log_prior
from sglr.parties.defences import DefendedStep
from sglr.parties.evaluation import score
from sglr.parties.held_clients import HeldClients
from sglr.parties.local_epoch import Among, LocalBatch, LocalEpoch
from sglr.parties.spec import ClientSpec
from sglr.parties.tails import TailStep
from sglr.stacking.autotune import ROWS, best_form, draws_random_numbers
from sglr.stacking.passes import Gradients, Pass
from sglr.stacking.stack import unstackable
from sglr.stacking.stale import StaleWeights

log = logging.getLogger(__name__)

STALE = "stale."
"""What tensors of a checkpoint begin with that are weights of steps before."""

DEFENCES = "defences."
"""What tensors of a checkpoint begin with that are the defences'."""


class ClientBlock(HeldClients):
    """Clients of one process, with their data: their steps, beside what they hold.

    Parameters
    ----------
    spec
        The clients and what they need; ``spec.data.indices`` has the rows of the block's clients alone.
    ids
        The clients' ids, ascending; by default 0, 1, … as many as own data.

    Attributes
    ----------
    data
        What the clients own.

    Notes
    -----
    Samples, weights and optimizer state stay on the device. Clients whose batches have the same size in a step run
    together; padding never reaches a client, since it would corrupt batch statistics.
    """

    def __init__(self, spec: ClientSpec, ids: Sequence[int] | None = None) -> None:
        super().__init__(spec, tuple(range(len(spec.data.indices)) if ids is None else ids))
        self._places = {client: place for place, client in enumerate(self.ids)}
        self.data, self.device = spec.data, spec.device
        self.inputs: Inputs = spec.data.train.inputs.to(spec.device)
        self.targets = spec.data.train.targets.to(spec.device)
        self._passes: list[tuple[list[int], Pass]] = []
        self._tails: TailStep | None = None
        self._stale = StaleWeights(spec.ahead, spec.delay_compensation) if spec.ahead else None
        if spec.stacking in ("matmul", "parallel"):
            self.stack.run_as(spec.stacking)
        if spec.stacking == "parallel" and draws_random_numbers(self.stack, self.some_inputs()):
            problem = (
                "the clients' segment draws random numbers, of which threads would get different ones in every run"
            )
            raise UsageError("stacking", "parallel", problem, "give --stacking auto")
        if self.stack.stacked:
            self._loop_if_unstackable()

    def _loop_if_unstackable(self) -> None:
        """Try two stacked rows on two samples each; loop, and say so once, if the model can't be stacked.

        Raises
        ------
        UsageError
            If it can't, and the setting asks for it.
        """
        reason = self.stack.why_not_stacked(self.some_inputs())
        if reason is None:
            return
        if self._spec.stacking != "auto":
            raise unstackable(self._spec.stacking, "the clients' segment", reason)
        log.warning("clients run one after another, because this model can't be stacked: %s", reason)
        self.stack.stacked = False

    def some_inputs(self) -> Tensor:
        """Return inputs to try something on: two samples for each of two rows, ``[2, 2, ...]``."""
        samples = self.inputs[torch.arange(4, device=self.device) % len(self.inputs)]
        return torch.unflatten(samples, 0, (2, 2))

    def choose_form(self) -> None:
        """Measure how clients run fastest, where the setting leaves it open, and run them so."""
        # Where clients come and go, there are no rows yet that a step would have.
        if self._spec.stacking == "auto" and self.stack.rows > 1 and not self._comes_and_goes:
            self.stack.run_as(best_form(self.stack, self._some_batch))

    @property
    def form(self) -> str:
        """How clients run: as `Stack.form`."""
        return self.stack.form

    def _some_batch(self, stacked: bool) -> Tensor:
        """Return inputs like those of a step, ``[n, b, ...]``, of as many clients as a measurement looks at."""
        shape = (min(self.stack.rows, ROWS), self._spec.batch_size)
        samples = torch.arange(shape[0] * shape[1]) % len(self.inputs)
        return self._batch(self.inputs, samples.reshape(shape), stacked=stacked)

    def begin_epoch(
        self, cohort: tuple[int, ...], epoch: int, *, fresh: bool = False, among: Among | None = None
    ) -> int:
        """Draw the order of every client's samples; return the number of steps of the longest.

        With ``fresh``, each begins with an optimizer that remembers nothing. ``among`` says of which larger cohort
        these clients are, where batches depend on it.
        """
        stack, seats = self._seat(cohort, moves=True)
        if fresh:
            stack.forget_steps(seats)
        owned = [self.data.indices[self._places[client]].numpy() for client in cohort]
        self._local_epoch = LocalEpoch.draw(cohort, owned, self._spec.batching, self._spec.seed, epoch, among)
        self._read_ahead(0)
        return self._local_epoch.schedule.steps

    def forward(self, step: int) -> Uplink | None:
        """Run the clients that have a batch in this step, those of equal batch size together; None if nobody has."""
        spec, local = self._spec, self._local_epoch
        self._passes, self._step, now = [], step, (local.epoch, step)
        self._read_ahead(step + 1)
        used = local.at(step)
        if used is None:
            return None
        self._seat(local.cohort, moves=True)
        if self._stale is not None:
            self._stale.begin_pass(self.stack, self.rows_of(local.cohort), step)
        clients, sizes = used.clients, tuple(used.sizes.tolist())
        inputs, targets, samples = self._of_step(used)
        labels = targets[to_device(samples, self.device)]
        self._defended = DefendedStep(spec.defences, clients, sizes, labels)
        batches: list[Tensor] = []
        for size in np.unique(used.sizes):
            places = np.flatnonzero(used.sizes == size).tolist()
            rows = self.rows_of([clients[place] for place in places])
            batch = self._batch(inputs, samples[places, :size], stacked=self.stack.stacks(rows))
            self._passes.append((places, self.stack.forward(rows, batch)))
            self._defended.note_inputs(batch)
            batches.append(batch)
        self._tails = self._behind(clients, labels, batches, now)
        sent = spec.defences.send(self._join(len(clients)), clients, sizes, *now)
        return Uplink(sent, labels if spec.client_loss is None else None, clients, sizes)

    def _behind(
        self, clients: tuple[int, ...], labels: Tensor, batches: list[Tensor], now: tuple[int, int]
    ) -> TailStep | None:
        """Return the step through the clients' tails, heads or decoders, if they have any."""
        spec, stack, own = self._spec, self.stack, (clients, labels, self._passes)
        if spec.client_loss is not None and stack.tail is not None:
            return TailStep(stack.tail, spec.client_loss, self._log_prior, *own, spec.defences, now)
        if spec.head_loss is not None and stack.head is not None:
            return TailStep(stack.head, spec.head_loss, self._log_prior, *own)
        if spec.decoder_loss is not None and stack.head is not None:
            inputs = self._side_by_side(batches, len(clients))
            return TailStep(stack.head, spec.decoder_loss, self._log_prior, clients, inputs, self._passes)
        return None

    def step_alone(self, step: int, rate: float) -> int:
        """Let the clients that have a batch in this step train by their heads; return the number of its samples."""
        sent = self.forward(step)
        if sent is None:
            return 0
        self.backward(None, rate)
        return sum(sent.sizes)

    def _of_step(self, used: LocalBatch) -> tuple[Inputs, Tensor, Tensor]:
        """Return inputs and targets, and the rows of them that clients use in a step, int64 ``[n, b]``."""
        augmentation = self._spec.augmentation
        if not augmentation.parts:
            return self.inputs, self.targets, used.samples
        rows = to_device(torch.from_numpy(used.real_samples()), self.device)
        whose = np.repeat(used.clients, used.sizes).tolist()
        changed = augmentation.change(
            self.inputs[rows], self.targets[rows], whose, self._local_epoch.epoch, used.places()
        )
        return *changed, used.numbered()

    def _read_ahead(self, step: int) -> None:
        """Begin to read what a step will use, where inputs are stored."""
        if isinstance(self.inputs, StoredInputs):
            coming = self._local_epoch.at(step)
            if coming is not None:
                self.inputs.read_ahead(coming.real_samples())

    def _log_prior(self, client: int) -> Tensor:
        """Return the log label prior of all that a client owns, ``[K]``."""
        rows = self.data.indices[self._places[client]]
        return log_prior(self.targets[to_device(rows, self.device)], len(self.data.classes))

    def answer(self, features: Tensor, clients: Sequence[int]) -> Answer:
        """Let clients of the last `forward` find their loss at features ``[n, b, ...]``, the server's or their own."""
        assert self._tails is not None, "clients have tails or heads, and went forward"
        return self._tails.answer(features, clients)

    def _batch(self, inputs: Inputs, samples: Tensor, *, stacked: bool) -> Tensor:
        """Gather inputs ``[n, b, ...]``; images to convolve channels-last, with the clients of a stack side by side."""
        samples = to_device(samples, self.device)
        if inputs.dim() != 4 or not self.stack.convolves:
            return inputs[samples]
        if not stacked:
            flat = inputs[samples.flatten()].contiguous(memory_format=torch.channels_last)
            return torch.unflatten(flat, 0, samples.shape)
        side_by_side = inputs[samples.T].flatten(1, 2).contiguous(memory_format=torch.channels_last)
        return torch.unflatten(side_by_side, 1, (len(samples), -1)).transpose(0, 1)

    def _join(self, present: int) -> Tensor:
        """Lay the outputs of all passes side by side ``[C, b, ...]``, zero where a client has no sample."""
        return self._side_by_side([part.outputs for _, part in self._passes], present)

    def _side_by_side(self, of_passes: list[Tensor], present: int) -> Tensor:
        if len(of_passes) == 1:
            return of_passes[0]
        joined = of_passes[-1].new_zeros(present, *of_passes[-1].shape[1:])
        for (places, _), own in zip(self._passes, of_passes, strict=True):
            joined[places, : own.shape[1]] = own
        return joined

    def backward(self, cut_gradients: Tensor | None, rate: float, *, updates: bool = True) -> None:
        """Back-propagate each client's cut-layer gradients ``[C, b, ...]`` through its segment, and step.

        If none came, they are those of the loss of its own head; those of a loss beside the server's are added. Without
        ``updates`` gradients are kept for a later step, but by clients whose last batch this was.
        """
        found: list[tuple[Pass, Gradients]] = []
        if cut_gradients is None:
            clients = self._defended.clients
            cut_gradients = self.answer(self._join(len(clients)), clients).gradients
        else:
            self._defended.inspect(cut_gradients)
            if self._spec.has_loss_beside:
                clients = self._defended.clients
                cut_gradients = cut_gradients + self.answer(self._join(len(clients)), clients).gradients
        for number, (places, part) in enumerate(self._passes):
            whole = len(self._passes) == 1
            own = cut_gradients if whole else cut_gradients[places, : part.outputs.shape[1]]
            if whole and updates and self._tails is None and self._stale is None and self.stack.steps_in_groups(part):
                self.stack.update_in_groups(part, self._defended.with_extra(number, part.outputs, own), rate)
                continue
            found.append((part, self.stack.backward(part, self._defended.with_extra(number, part.outputs, own))))
        keep = [] if updates else self._local_epoch.with_batch(self._step + 1)
        # All go back before any steps: to torch, rows are one tensor, and must not change under a backward pass.
        for (part, _), weights in zip(found, self._of_weights(found), strict=True):
            self.stack.update(part.rows, weights, rate, part.outputs.shape[1], keep=self.rows_of(keep))
        self._passes, self._tails = [], None

    def _of_weights(self, found: list[tuple[Pass, Gradients]]) -> list[Sequence[Tensor]]:
        """Return the gradients of each pass by the weights, with the newest weights in their places again."""
        tails, stale = self._tails, self._stale
        own: list[Sequence[Tensor]] = [
            gradients.weights if tails is None else tails.added(number, gradients.weights)
            for number, (_, gradients) in enumerate(found)
        ]
        if stale is not None:
            own = [stale.compensated(part.rows, one) for (part, _), one in zip(found, own, strict=True)]
            stale.end_pass(self.stack, last=self._step + 1 == self._local_epoch.schedule.steps)
        return own

    def state(self) -> dict[str, Tensor]:
        """Return what `HeldClients.state` does, that of the defences, and where clients are ahead, older weights."""
        defences = self._spec.defences.state(self.ids)
        tensors = super().state() | {f"{DEFENCES}{name}": tensor for name, tensor in defences.items()}
        if self._stale is not None:
            older = self._stale.state(list(self.stack.parameters))
            tensors |= {f"{STALE}{name}": tensor for name, tensor in older.items()}
        return tensors

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned; raises what `HeldClients.restore` raises."""
        super().restore({name: tensor for name, tensor in tensors.items() if not name.startswith((STALE, DEFENCES))})
        self._spec.defences.restore(below(DEFENCES, tensors))
        if self._stale is not None:
            self._stale.restore(below(STALE, tensors), self.stack)

    def evaluate(
        self,
        server: nn.Module,
        samples: Samples,
        clients: Sequence[int],
        shared: Weights | None = None,
        parts: int = 1,
    ) -> Scores:
        """Score clients, or weights that they share, on the same samples."""
        spec = self._spec
        if shared is None:
            return score(lambda part: self._seat(clients[part], moves=False), clients, server, samples, spec, parts)
        row = (0,)  # whoever's: it lends its place
        before = self.stack.weights(row)
        self.stack.load(row, shared)
        scores = score(lambda _: (self.stack, row), clients[:1], server, samples, spec, parts)
        self.stack.load(row, {name: tensor[0] for name, tensor in before.items()})
        return scores
