"""Open a run's folder for measures and attacks: its clients as targets."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sglr.assembly.build import build
from sglr.assembly.load_model import restored, trained_segments
from sglr.assembly.parts import PartOverrides, Training
from sglr.assembly.run_checkpoints import frozen_weights
from sglr.assembly.without_data import located
from sglr.core.codec import Codec
from sglr.core.data import Inputs, Samples, in_chunks
from sglr.core.random import generator, key
from sglr.core.registry import ENGINES
from sglr.core.task import Task
from sglr.core.weights import trained_of
from sglr.privacy.target import Target
from sglr.privacy.threat import seen_by
from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.splitting import crossing_of
from sglr.splitting.input_layout import InputLayout

CHUNK = 500
"""Samples that pass a segment at a time."""


@dataclass(frozen=True)
class OpenedRun:
    """A run with the weights of its best validation epoch.

    Parameters
    ----------
    experiment
        Its settings.
    built
        Its parts.
    """

    experiment: Experiment
    built: Training

    def target(self, client: int, attacker: str = "server", seed: int | None = None) -> Target:
        """Return one of its clients as an attacker sees it.

        Where the run held no validation samples apart, the attacker has the first half of the test samples.

        Raises
        ------
        UsageError
            If there is no such client or attacker, or the client's weights are not here.
        """
        built, experiment = self.built, self.experiment
        method, codec = built.method, built.trainer.engine.codec.of_cut(built.cut_of(client))
        segments = trained_segments(built, client)
        seen = seen_by(
            attacker,
            shares=method.shares,
            whole_model=method.whole_model,
            keeps_labels=built.tail is not None,
            answered=method.answered,
        )
        auxiliary, unseen = _held_out(built)
        crossing = crossing_of(segments.lower)
        own = built.data.train.select(built.data.indices[client])

        defences, rng = (
            built.defences.over(crossing),
            torch.Generator().manual_seed(key(experiment.seed, "defence of a target", client)),
        )

        def send(inputs: Inputs) -> Tensor:
            return _smashed(segments.lower, codec, inputs, lambda smashed: defences.privatized_smashed(smashed, rng))

        def hide(gradients: Tensor, labels: Tensor) -> Tensor:
            return defences.privatized_gradient(gradients, labels, rng)

        def by_features(samples: Samples) -> Tensor:
            smashed = send(samples.inputs)
            features = _passed(segments.upper, smashed, experiment.batch_size)
            return cut_gradients(segments.tail, features, samples.targets, built.task, experiment.batch_size, hide)

        return Target(
            client=client,
            attacker=attacker,
            seen=seen,
            lower=segments.lower,
            upper=segments.upper,
            send=send,
            gradients=lambda samples: cut_gradients(
                nn.Sequential(segments.upper, segments.tail),
                send(samples.inputs),
                samples.targets,
                built.task,
                experiment.batch_size,
                hide if built.tail is None else _as_they_are,
            ),
            updates=lambda rows, lower, upper: weight_gradients(
                lower, upper, own.select(rows), built.task, segments.tail
            ),
            fresh=lambda number: built.fresh(number, client).lower,
            fresh_upper=lambda number: built.fresh(number, client).upper,
            own=own,
            auxiliary=auxiliary,
            unseen=unseen,
            classes=len(built.data.classes),
            batch_size=experiment.batch_size,
            task=built.task,
            seed=experiment.seed if seed is None else seed,
            tail=segments.tail,
            feature_gradients=None if built.tail is None else by_features,
            answered=method.answered,
            learned=crossing.learned_size if crossing is not None and crossing.beside else None,
            layout=InputLayout.of(built.data.encoding),
        )


def open_run(run: Run, given: PartOverrides | None = None) -> OpenedRun:
    """Build a run's parts on the CPU and give them its trained weights.

    Raises
    ------
    UsageError
        If the run has no checkpoint, or clients were on machines of their own, so that their data are not here.
    """
    experiment = run.experiment.model_copy(update={"device": "cpu"})
    given = replace(given or PartOverrides(engine=ENGINES.load(experiment.engine)), frozen=frozen_weights(run))
    return OpenedRun(experiment, restored(run, build(located(experiment, run.data), given)))


def drawn_clients(opened: OpenedRun, number: int, seed: int) -> tuple[int, ...]:
    """Return up to ``number`` random clients, ascending, of those that have samples and took part."""
    trainer = opened.built.trainer
    there = sorted(client for client in trainer.took_part() if trainer.sizes[client])
    rng = generator(seed, "leaking clients")
    return tuple(sorted(rng.choice(there, size=min(number, len(there)), replace=False).tolist()))


def _as_they_are(gradients: Tensor, labels: Tensor) -> Tensor:
    del labels
    return gradients


def cut_gradients(
    upper: nn.Module,
    smashed: Tensor,
    labels: Tensor,
    task: Task,
    batch_size: int,
    hide: Callable[[Tensor, Tensor], Tensor] = _as_they_are,
) -> Tensor:
    """Return cut-layer gradients ``[n, ...]``, each of its own sample's loss, as the server would compute them.

    Layers are in training mode, batches are of ``batch_size`` as in training, and no weight moves. What is told of a
    batch's gradients ``[b, ...]``, given its labels, is what ``hide`` makes of them.
    """
    upper = copy.deepcopy(upper).train()
    found: list[Tensor] = []
    for part, own in zip(torch.split(smashed, batch_size), torch.split(labels, batch_size), strict=True):
        # A last sample by itself has no batch to be normalised with.
        upper.train(len(part) > 1 or batch_size == 1)
        inputs = part.detach().requires_grad_()
        losses = task.losses(upper(inputs), own)
        (gradients,) = torch.autograd.grad(losses.sum(), inputs)
        found.append(hide(gradients, own))
    return torch.cat(found)


def _passed(upper: nn.Module, smashed: Tensor, batch_size: int) -> Tensor:
    """Return the features of smashed data ``[n, ...]`` as in training: batch by batch, and no weight moves."""
    upper = copy.deepcopy(upper)
    with torch.no_grad():
        parts = torch.split(smashed, batch_size)
        return torch.cat([upper.train(len(part) > 1 or batch_size == 1)(part) for part in parts])


def weight_gradients(
    lower: nn.Module, upper: nn.Module, batch: Samples, task: Task, tail: nn.Module | None = None
) -> tuple[Tensor, ...]:
    """Return the gradients of a batch's mean loss by the trained weights of both segments, in evaluation mode.

    They are what one step of plain SGD without a rate makes of the weights: whoever sees weights before and after a
    step divides them out. Where the client has a ``tail``, the loss is behind it.
    """
    weights = [*trained_of(lower).values(), *trained_of(upper).values()]
    outputs = upper(lower(batch.tensor))
    losses = task.losses(outputs if tail is None else tail(outputs), batch.targets)
    return torch.autograd.grad(losses.mean(), weights)


def _smashed(lower: nn.Module, codec: Codec, inputs: Inputs, privatize_smashed: Callable[[Tensor], Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.cat([codec.received(privatize_smashed(lower(part))) for part in in_chunks(inputs, CHUNK)])


def _held_out(built: Training) -> tuple[Samples, Samples]:
    """Return the samples that the attacker has, and those that nobody has."""
    data = built.data
    if data.validation is not None and len(data.validation):
        return data.validation, data.test
    rows = torch.arange(len(data.test))
    return data.test.select(rows[: len(rows) // 2]), data.test.select(rows[len(rows) // 2 :])
