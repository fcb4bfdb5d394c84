"""The summary of a finished run: the figures of ``summary.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sglr.assembly.parts import Training
from sglr.assembly.summary_of_cuts import cut_figures, lowers
from sglr.assembly.task import plain, task_name
from sglr.core.events import ServerWork
from sglr.core.plan import TrainingPlan
from sglr.core.scores import ClassCounts, Scores, in_one
from sglr.core.task import Targets, Task
from sglr.core.weights import state_of, trained_of
from sglr.cost.energy import ModelledEnergy
from sglr.cost.profiles import DeviceProfile
from sglr.cost.training_flops import Computation, count_at_cuts, count_training
from sglr.metrics.intervals import intervals
from sglr.privacy.accounting import described
from sglr.report.score_style import VALIDATION
from sglr.report.task_figures import MOST_CLIENTS, Score
from sglr.runs.config import Experiment
from sglr.runs.folder import without_passwords
from sglr.splitting import crossing_of
from sglr.splitting.segment_weights import frozen_of
from sglr.storage.checkpoint import digest
from sglr.system.machine import describe_machine
from sglr.version import __version__


def summarise(
    experiment: Experiment,
    built: Training,
    history: Sequence[Mapping[str, Any]],
    scores: Scores,
    *,
    tested_epoch: int,
    communication: Mapping[str, Any],
    work: ServerWork | None,
    profile: DeviceProfile,
    measured: Mapping[str, Any] | None,
    seconds: float,
    weights_sha256: str,
) -> dict[str, Any]:
    """Return the figures of a finished run.

    Parameters
    ----------
    experiment, built
        What was run.
    history
        One record per epoch.
    scores
        Of the test samples, with the weights of ``tested_epoch`` (counted from 1).
    communication
        The ledger's totals.
    work
        Samples that went through the server's segment while training.
    profile
        The devices that energy is modelled for.
    measured
        The energy that this machine used, or None if it was not measured.
    seconds
        Time of the whole run, evaluation included.
    weights_sha256
        Digest of the final weights.
    """
    last = history[-1]
    counted = _count(built, work)
    return {
        "status": "done",
        "method": {"name": experiment.method, **dataclasses.asdict(built.method)},
        "task": {"name": task_name(experiment), **plain(built.task)},
        "clients": experiment.clients,
        "epochs": experiment.epochs,
        "epochs_done": built.trainer.epochs,
        "stopped": built.trainer.stopped or None,
        "seed": experiment.seed,
        "dataset": experiment.dataset,
        "model": experiment.model,
        "cut": built.cut,
        **({} if built.cuts is None else {"cuts": cut_figures(built, built.cuts)}),
        "tail": built.tail,
        "engine": experiment.engine,
        "client_store": built.client_store,
        "device": _device_name(built.device),
        "choices": dict(built.choices),
        "test": test_figures(
            built.task, scores, built.data.targets, tested_epoch, experiment.seed, alike=len(built.data.test) > 0
        ),
        "validation": _best_validation(
            history, built.trainer.plan, built.task.headline, built.trainer.progress.best_epoch
        ),
        "defences": described(built.defences.named, _releases(experiment, built), exact_beside=_sends_beside(built)),
        "communication": dict(communication),
        "computation": counted.summary() if isinstance(counted, Computation) else {"problem": counted},
        "energy": {
            "modelled": _modelled(profile, counted, communication),
            "measured": None if measured is None else dict(measured),
        },
        "seconds": seconds,
        "training_seconds": last["seconds"],
        "samples_per_second": last["samples"] / max(last["seconds"], 1e-9),
        "parameters": _count_parameters(built),
        "weights_sha256": weights_sha256,
        "frozen_sha256": digest(built.frozen) if built.frozen else None,
        "settings": experiment.flat() | {"track": without_passwords(experiment.track)},
        "versions": versions(),
        "machine": describe_machine(),
    }


def test_figures(
    task: Task, scores: Scores, targets: Targets, epoch: int | None, seed: int, *, alike: bool = True
) -> dict[str, Any]:
    """Return what a test came to: the headline first, then the loss, and what the task tells beside them.

    Parameters
    ----------
    task, scores, targets
        What was learned, what the samples came to, and what their targets are.
    epoch
        The epoch whose weights were tested, counted from 1; None if it is not known.
    seed
        For the draws of intervals.
    alike
        Whether all clients were scored on the same samples.
    """
    figures = task.figures(scores.sums, targets) if scores.parts else {}
    if task.counts_classes:
        counts = ClassCounts.among(scores.sums) if scores.parts else None
        figures |= class_figures(counts, targets.names, alike=alike)
    return {
        task.headline: known(scores.mean(task.headline)),
        f"{task.headline}_std_over_clients": known(scores.std(task.headline)),
        "loss": known(scores.mean("loss")),
        "epoch": epoch,
        "headline": task.headline,
        "higher_is_better": task.higher_is_better,
        "scores": score_figures(task, scores, seed),
        "per_client": {task.headline: _each_client(scores.of_client(task.headline))},
        **figures,
    }


def score_figures(task: Task, scores: Scores, seed: int) -> dict[str, Score]:
    """Return each score over the clients, with its 95 % interval and that of all their predictions together."""
    bounds = intervals(task, scores.parts, seed)
    pooled = task.scores(in_one(scores.sums, task)) if scores.parts else {}
    return {
        name: Score(
            mean=known(scores.mean(name)),
            std_over_clients=known(scores.std(name)),
            low=bounds[name][0] if name in bounds else None,
            high=bounds[name][1] if name in bounds else None,
            pooled=known(float(pooled[name])) if name in pooled else None,
        )
        for name in scores.values
    }


def known(value: float) -> float | None:
    """Return a figure, None if it is none."""
    return value if math.isfinite(value) else None


def _each_client(values: Tensor) -> list[float | None]:
    """Return each client's score, those at evenly spaced ranks of too many."""
    if len(values) > MOST_CLIENTS:
        values = values.sort().values[torch.linspace(0, len(values) - 1, MOST_CLIENTS).round().long()]
    return [known(value) for value in values.tolist()]


def class_figures(counts: ClassCounts | None, classes: Sequence[str], *, alike: bool) -> dict[str, Any]:
    """Return the test's figures of each class; all None if clients on other machines keep their labels.

    Recall, precision and F1 are means over the clients that know the class. The confusion matrix (rows are true
    classes) is the sum over clients. Support is the number of test samples: of one client where all clients are scored
    on the same samples (``alike``), else of all clients.
    """
    if counts is None:
        return dict.fromkeys(("majority_share", "balanced_accuracy", "macro_f1", "per_class", "confusion"))
    support = (counts.support[0] if alike else counts.support.sum(0)).tolist()
    shares = [_known_means(each) for each in (counts.recall, counts.precision, counts.f1)]
    return {
        "majority_share": counts.majority_share,
        "balanced_accuracy": counts.balanced_accuracy,
        "macro_f1": counts.macro_f1,
        "per_class": [
            {"name": name, "support": number, "recall": recall, "precision": precision, "f1": f1}
            for name, number, recall, precision, f1 in zip(classes, support, *shares, strict=True)
        ],
        "confusion": None if counts.confusion is None else counts.confusion.tolist(),
    }


def _known_means(shares: Tensor) -> list[float | None]:
    """Return the means over clients of ``[n, K]``, None for a class that no client knows."""
    return [None if math.isnan(mean) else mean for mean in shares.nanmean(0).tolist()]


def _releases(experiment: Experiment, built: Training) -> int:
    """Return the most often that a training sample was sent: once in an epoch, or more if short clients begin again."""
    sizes = np.array(built.data.sizes)
    cycles = experiment.short_clients == "cycle"
    used = built.trainer.plan.batches.used(sizes) if cycles else sizes
    return built.trainer.epochs * max(1, int((-(-used // np.maximum(sizes, 1))).max(initial=1)))


def _sends_beside(built: Training) -> bool:
    """Return whether masks or the like, which no defence changes, cross one of the cuts."""
    if not built.defences.parts:
        return False
    own = [built.lower(0)] if built.cuts is None else lowers(built, built.cuts)
    return any(crossing is not None and crossing.beside for crossing in map(crossing_of, own))


def weights_digest(built: Training) -> str:
    """Return the SHA-256 of the SHA-256s of all clients' weights and buffers, in their order, and of the server's.

    For clients that never took part an empty line stands: their first weights follow from the seed, and to draw those
    of a hundred thousand takes longer than a short training.
    """
    trainer = built.trainer
    moved = trainer.took_part()
    clients = [told if client in moved else "" for client, told in enumerate(trainer.engine.digests())]
    parts = [*clients, digest(state_of(trainer.server.segment))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the software that a result depends on."""
    return {
        "sglr": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
    }


def _count(built: Training, work: ServerWork | None) -> Computation | str:
    """Count what the training computed, or return why it can't be counted: the run is kept either way."""
    try:
        inputs = built.data.train.inputs
        of_inputs = tuple(inputs.shape[1:]), inputs.dtype, work
        if built.cuts is not None:
            return count_at_cuts(built.trainer, lowers(built, built.cuts), *of_inputs)
        return count_training(built.trainer, built.lower(0), *of_inputs)
    except Exception as error:  # a user's model may raise anything
        return f"the model's operations can't be counted ({type(error).__name__}: {' '.join(str(error).split())})"


def _modelled(
    profile: DeviceProfile, counted: Computation | str, communication: Mapping[str, Any]
) -> Mapping[str, Any]:
    known = counted if isinstance(counted, Computation) else None
    return ModelledEnergy(
        profile,
        None if known is None else known.client_flops,
        None if known is None else known.server_flops,
        communication["up_bytes"],
        communication["down_bytes"],
    ).summary()


def _best_validation(
    history: Sequence[Mapping[str, Any]], plan: TrainingPlan, headline: str, best_epoch: int | None
) -> dict[str, float | int] | None:
    """Return the best epoch by the score that is monitored, with that score and the headline there."""
    name = f"{VALIDATION}{plan.monitor}"
    scored = [row for row in history if name in row]
    if not scored:
        return None
    found_best = (max if plan.higher_is_better else min)(scored, key=lambda row: row[name])
    best = next((row for row in scored if row["epoch"] == best_epoch), found_best)
    found = {score: best.get(f"{VALIDATION}{score}") for score in (headline, plan.monitor)}
    return {score: value for score, value in found.items() if value is not None} | {"best_epoch": best["epoch"]}


def _count_parameters(built: Training) -> dict[str, int]:
    """Count the trained and the frozen values of one client's segment, with its tail, and of the server's."""
    segments = {"client": built.lower(0), "server": built.trainer.server.segment}
    trained = {name: _values(trained_of(segment)) for name, segment in segments.items()}
    return trained | {f"{name}_frozen": _values(frozen_of(segment)) for name, segment in segments.items()}


def _values(tensors: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
