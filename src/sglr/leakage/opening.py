"""Open a run's folder for measures and attacks: its clients as targets."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sglr.build import Built, Given, build
from sglr.core.codecs import Codec
from sglr.core.data import Samples
from sglr.core.losses import LOSSES
from sglr.core.registry import ENGINES
from sglr.privacy.target import Target
from sglr.privacy.threat import seen_by
from sglr.run import Run
from sglr.trained import restored, trained_segments

CHUNK = 500
"""Samples that pass a segment at a time."""


@dataclass(frozen=True)
class Opened:
    """A run with the weights of its best validation epoch.

    Parameters
    ----------
    run
        Its folder.
    built
        Its parts.
    """

    run: Run
    built: Built

    def target(self, client: int, attacker: str = "server", seed: int | None = None) -> Target:
        """Return one of its clients as an attacker sees it.

        Where the run held no validation samples apart, the attacker has the first half of the test samples.

        Raises
        ------
        UsageError
            If there is no such client or attacker, or the client's weights are not here.
        """
        built, experiment = self.built, self.run.experiment
        method, codec = built.method, built.trainer.engine.codec
        segments = trained_segments(built, client)
        seen = seen_by(attacker, shares=method.shares, whole_model=method.whole_model, keeps_labels=False)
        auxiliary, unseen = _held_out(built)
        own = built.data.train.select(built.data.indices[client])
        return Target(
            client=client,
            attacker=attacker,
            seen=seen,
            lower=segments.lower,
            upper=segments.upper,
            send=lambda inputs: _smashed(segments.lower, codec, inputs),
            gradients=lambda samples: cut_gradients(
                segments.upper,
                _smashed(segments.lower, codec, samples.inputs),
                samples.targets,
                experiment.loss,
                experiment.batch_size,
            ),
            updates=lambda rows, lower, upper: weight_gradients(lower, upper, own.select(rows), experiment.loss),
            fresh=lambda number: built.fresh(number).lower,
            fresh_upper=lambda number: built.fresh(number).upper,
            own=own,
            auxiliary=auxiliary,
            unseen=unseen,
            classes=len(built.data.classes),
            batch_size=experiment.batch_size,
            loss=experiment.loss,
            seed=experiment.seed if seed is None else seed,
        )


def open_run(run: Run, given: Given | None = None) -> Opened:
    """Build a run's parts on the CPU and give them its trained weights.

    Raises
    ------
    UsageError
        If the run has no checkpoint, or clients were on machines of their own, so that their data are not here.
    """
    experiment = run.experiment.model_copy(update={"device": "cpu"})
    given = given or Given(engine=ENGINES.load(experiment.engine))
    return Opened(run, restored(run, build(experiment, given)))


def cut_gradients(upper: nn.Module, smashed: Tensor, labels: Tensor, loss: str, batch_size: int) -> Tensor:
    """Return cut-layer gradients ``[n, ...]``, each of its own sample's loss, as the server would compute them.

    Layers are in training mode, batches are of ``batch_size`` as in training, and no weight moves.
    """
    upper = copy.deepcopy(upper).train()
    found: list[Tensor] = []
    for part, own in zip(torch.split(smashed, batch_size), torch.split(labels, batch_size), strict=True):
        # A last sample by itself has no batch to be normalised with.
        upper.train(len(part) > 1 or batch_size == 1)
        inputs = part.detach().requires_grad_()
        losses = LOSSES[loss](upper(inputs), own)
        found += torch.autograd.grad(losses.sum(), inputs)
    return torch.cat(found)


def weight_gradients(lower: nn.Module, upper: nn.Module, batch: Samples, loss: str) -> tuple[Tensor, ...]:
    """Return the gradients of a batch's mean loss by the weights of both segments, which are in evaluation mode.

    They are what one step of plain SGD without a rate makes of the weights: whoever sees weights before and after a
    step divides them out.
    """
    weights = [*lower.parameters(), *upper.parameters()]
    losses = LOSSES[loss](upper(lower(batch.inputs)), batch.targets)
    return torch.autograd.grad(losses.mean(), weights)


def _smashed(lower: nn.Module, codec: Codec, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([codec.received(lower(part)) for part in torch.split(inputs, CHUNK)])


def _held_out(built: Built) -> tuple[Samples, Samples]:
    """Return the samples that the attacker has, and those that nobody has."""
    data = built.data
    if data.validation is not None and len(data.validation):
        return data.validation, data.test
    rows = torch.arange(len(data.test))
    return data.test.select(rows[: len(rows) // 2]), data.test.select(rows[len(rows) // 2 :])
