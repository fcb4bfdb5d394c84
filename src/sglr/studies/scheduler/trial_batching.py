"""Train several experiments at once: trials whose segments have equal shapes are stacked beside one another's clients.

Each trial is an ordinary run with a folder of its own; only its passes meet those of the others
(`sglr.studies.scheduler.rendezvous`), so that small calls become large ones.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from sglr.build.build import Built, Given, load
from sglr.core.errors import DivergedError, Interrupted, UsageError
from sglr.core.registry import METHODS
from sglr.engines.local import Local
from sglr.experiment.train import execute, resume
from sglr.parties.server import Server
from sglr.runs.config import Experiment
from sglr.runs.folder import CONFIG, Run
from sglr.runs.new_folder import refuse_occupied
from sglr.studies.scheduler.rendezvous import Meeting, Member
from sglr.system.device import pick_device

if TYPE_CHECKING:
    from sglr.core.data import Dataset
    from sglr.core.events import Event

T = TypeVar("T")

log = logging.getLogger(__name__)

ROWS_WANTED = {"cpu": 16, "cuda": 256}
"""Rows (trials times clients) above which stacking more gains little: on a CPU as measured by `benchmarks/trials.py`,
on a GPU by an estimate of when kernels take longer than their launch."""


def rows_wanted(device: str | torch.device) -> int:
    """Return how many rows, clients of all trials together, a device can use at once; ``"auto"`` is allowed."""
    return ROWS_WANTED[pick_device(str(device)).type]


def may_stack(first: Experiment, second: Experiment) -> bool:
    """Say whether two experiments gain from training at once: their segments and batches have equal shapes.

    Numbers of clients, seeds, rates, epochs, divisions of the data and methods may differ.
    """
    shape = _shape(first)
    return shape is not None and shape == _shape(second)


def _shape(experiment: Experiment) -> Hashable | None:
    """Return what decides the shapes of segments and batches; None if nothing can be stacked with it."""
    names = (experiment.method, experiment.model, experiment.dataset)
    alone = experiment.stacking == "looped" or experiment.energy  # which tells no trials apart
    if experiment.engine != "local" or alone or any(name.startswith("<") for name in names):
        return None
    data = json.dumps([experiment.dataset, experiment.dataset_parameters], sort_keys=True, default=str)
    whole = bool(METHODS.load(experiment.method).whole_model)
    computing = (experiment.device, experiment.precision, experiment.compile)
    # Defences may be layers of the segment.
    network = (experiment.model, experiment.cut, experiment.tail, experiment.defence)
    return (*network, whole, data, experiment.batch_size, *computing)


def _ignore(index: int, event: Event) -> None:
    del index, event


def execute_together(
    experiments: Sequence[Experiment],
    paths: Sequence[Path],
    *,
    observe: Callable[[int, Event], None] = _ignore,
    stop: Callable[[], bool] = lambda: False,
    dataset: Dataset | None = None,
) -> list[Run | DivergedError]:
    """Bring several experiments to their ends at once, each in a run folder of its own, from wherever it stands.

    Trained so, an experiment ends with the weights that it has alone, to rounding. Those that `may_stack` gain from it;
    others, and models with layers that draw random numbers, such as dropout, train one after another. The seconds that
    a run reports are those of all.

    Parameters
    ----------
    experiments
        The settings of each.
    paths
        The folder of each; a run that is there goes on, one that is finished is returned as it is.
    observe
        Called with the number of an experiment and every event of it.
    stop
        Asked by every experiment after every step; True ends it with a checkpoint.
    dataset
        The data set, if it was given as an object.

    Returns
    -------
    list of Run or DivergedError
        Each experiment's finished run, or what is to be said of its divergence.

    Raises
    ------
    UsageError
        If a setting is wrong, or a folder holds something else; and any other error of one experiment: in both cases
        the others have been brought to their ends.
    Interrupted
        If ``stop`` answered True.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sglr.runs.config import Experiment
    >>> from sglr.studies.scheduler.trial_batching import execute_together
    >>> several = [Experiment.from_flat({"seed": seed, "clients": 4}) for seed in range(3)]
    >>> execute_together(several, [Path(f"runs/{seed}") for seed in range(3)])  # doctest: +SKIP
    """
    for experiment, path in zip(experiments, paths, strict=True):
        _refuse_other(experiment, path)
    meeting: Meeting[Run] = Meeting()
    datasets: dict[str, Dataset] = {}
    for index, (experiment, path) in enumerate(zip(experiments, paths, strict=True)):
        trial = _Trial(index, experiment, path, observe, stop, datasets, dataset)
        trial.member = meeting.join(trial.run)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        results = meeting.run()
    return _checked(results, paths)


def _refuse_other(experiment: Experiment, path: Path) -> None:
    if not (path / CONFIG).is_file():
        refuse_occupied(path, experiment)
    elif Run.open(path).experiment.fingerprint() != experiment.fingerprint():
        raise UsageError("out", path, "holds a run of another configuration", "choose another folder")


def _checked(results: Sequence[Run | BaseException], paths: Sequence[Path]) -> list[Run | DivergedError]:
    done = [result for result in results if isinstance(result, Run | DivergedError)]
    if len(done) == len(results):
        return done
    failed = [
        result for result in results if isinstance(result, BaseException) and not isinstance(result, DivergedError)
    ]
    for error in failed:
        if not isinstance(error, Interrupted):
            raise error
    raise Interrupted(
        f"stopped with {len(failed)} of {len(paths)} trials unfinished; they go on from their checkpoints"
    )


@dataclass
class _Trial:
    """One experiment, in a thread of its own."""

    index: int
    experiment: Experiment
    path: Path
    observe_trial: Callable[[int, Event], None]
    stop: Callable[[], bool]
    datasets: dict[str, Dataset]
    given: Dataset | None
    member: Member[Run] = field(init=False)

    def run(self) -> Run:
        """Execute or resume it."""
        if not (self.path / CONFIG).is_file():
            given = Given(dataset=self._dataset())
            return execute(
                self.experiment,
                self.path,
                given=given,
                observe=self._observe,
                stop=self.stop,
                ready=self._take_seats,
                warn=log.info,  # a study tries what may fail
            )
        run = Run.open(self.path)
        if run.summary is not None:
            return run
        return resume(
            self.path,
            model=self.experiment.model,
            dataset=self._dataset(),
            observe=self._observe,
            stop=self.stop,
            say=log.warning,
            ready=self._take_seats,
        )

    def _observe(self, event: Event) -> None:
        self.observe_trial(self.index, event)

    def _dataset(self) -> Dataset:
        """Load the data set, once for all trials that share it."""
        if self.given is not None:
            return self.given
        experiment = self.experiment
        key = json.dumps([experiment.dataset, str(experiment.data_dir), experiment.dataset_parameters], default=str)
        if key not in self.datasets:
            self.datasets[key] = load(experiment)
        return self.datasets[key]

    def _take_seats(self, built: Built) -> None:
        reason = take_seats(self.member, self.experiment, built)
        if reason is not None:
            log.info("%s trains alone: %s", self.path, reason)


def take_seats(member: Member[T], experiment: Experiment, built: Built) -> str | None:
    """Have a training's passes run with those of others, as far as that gives the same numbers.

    Returns
    -------
    str or None
        Why it trains alone, if it does.
    """
    engine, server, shape = built.trainer.engine, built.trainer.server, _shape(experiment)
    if shape is None or not isinstance(engine, Local) or not isinstance(server, Server):
        return "of engine = local, stacked, with parts that are named, trials can be stacked, and of nothing else"
    lower, inputs = engine.block.stack, engine.block.some_inputs()
    if lower.frozen or server.stack.frozen:
        return "its model has frozen weights, which are drawn from a trial's own seed"
    smashed = torch.unflatten(lower.predict((0,), inputs.flatten(0, 1))[0], 0, inputs.shape[:2])
    sides = ((lower, inputs), (server.stack, smashed))
    if any(stack.draws_random_numbers(values[0]) for stack, values in sides):
        return "layers of its model draw random numbers, which trials would mix up"
    for side, (stack, values) in enumerate(sides):
        if stack.why_not_stacked(values) is None:
            stack.passes = member.seat((shape, side), side)
            if stack.tail is not None:
                stack.tail.passes = member.seat((shape, "tail"), 2)
    if server.copies is not None and server.copies.stacked:
        server.copies.passes = member.seat((shape, 1), 1)
    return None
