"""Compare methods: every method with every seed as an ordinary run, and one table over them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.core.errors import DivergedError, Interrupted, UsageError
from sglr.data.objects.read import settle_dataset
from sglr.report.comparison import write_comparison_report
from sglr.runs.config import SETTINGS, Experiment
from sglr.runs.folder import CONFIG, Run, write_command
from sglr.runs.new_folder import folder_of_runs, refuse_single_run
from sglr.studies.compare.comparison import Comparison, make_row, write_comparison
from sglr.studies.method_specs import Variant, parse_methods

if TYPE_CHECKING:
    from sglr.assembly.parts import PartOverrides, Training
    from sglr.core.events import Event
    from sglr.core.method import Method

__all__ = ["Comparison", "Trial", "TrialDone", "TrialStarted", "compare", "plan"]


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One method with one seed.

    Parameters
    ----------
    label
        What tells the method from the others, such as ``"sglr (phi=0.5)"``.
    seed
        The seed.
    number, total
        Its place in the comparison, counted from 1, and how many there are.
    path
        The folder of its run.
    experiment, given
        Its settings, and parts that were given as objects.
    """

    label: str
    seed: int
    number: int
    total: int
    path: Path
    experiment: Experiment
    given: PartOverrides


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins, or is found finished."""

    trial: Trial


@dataclass(frozen=True)
class TrialDone:
    """A trial is over: with a summary, or with what is to be said of its divergence."""

    trial: Trial
    summary: Mapping[str, Any] | None
    problem: str | None


Observer = Callable[["Event | TrialStarted | TrialDone"], None]


def compare(
    methods: Sequence[str | Method],
    *,
    seeds: Sequence[int] = (0,),
    out: str | Path | None = None,
    observe: Observer = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    loaded: Callable[[Experiment, Training], None] | None = None,
    command: str = "",
    **settings: Any,
) -> Comparison:
    """Train with several methods and seeds, and compare what comes out.

    A run that is finished already is not repeated, one that was stopped goes on: the same call again continues a
    comparison. A run that diverges is reported, and does not stop the others.

    Parameters
    ----------
    methods
        Names, names with parameters such as ``"sglr:phi=0.5,alpha=1"``, or method objects; ``["all"]`` is all
        registered ones.
    seeds
        Every method is run with each of them.
    out
        Folder of the comparison; default ``runs/<time>-comparison``.
    observe
        Called with every event, and with `TrialStarted` and `TrialDone`.
    stop
        Asked after every step; True ends the comparison with a checkpoint.
    loaded
        Called with the first training that is built; the default warns of what looks wrong with the data.
    command
        The command that was typed, for the reports.
    **settings
        As for `sglr.train`; a parameter of methods applies to those that have it.

    Raises
    ------
    UsageError
        If a setting is wrong, or the folder holds other runs.
    Interrupted
        If ``stop`` answered True.

    Examples
    --------
    >>> import sglr
    >>> result = sglr.compare(["psl", sglr.SGLR(phi=1.0)], seeds=[0, 1, 2], epochs=5)  # doctest: +SKIP
    >>> [(row["label"], row["test"]["accuracy"]) for row in result.rows]  # doctest: +SKIP
    """
    from sglr.experiment.train import tell_notes

    settings = settle_dataset(settings)
    folder = Path(out) if out is not None else Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-comparison"
    trials = plan(methods, seeds, folder, settings)
    with folder_of_runs(folder):
        write_command(folder, command)
        ready = _first_only(loaded or (lambda _, built: tell_notes(built)))
        first = {trial.label: trial.seed for trial in reversed(trials)}
        done = [
            _conclude(
                trial, observe, stop, ready, command, log.warning if trial.seed == first[trial.label] else log.info
            )
            for trial in trials
        ]
        rows = [make_row(label, [result for result in done if result[0].label == label]) for label in _labels(trials)]
        comparison = write_comparison(folder, rows)
        write_comparison_report(folder, comparison.with_paths(), command)
        return comparison


def plan(
    methods: Sequence[str | Method], seeds: Sequence[int], folder: Path, settings: Mapping[str, Any]
) -> list[Trial]:
    """Return all trials of a comparison, each checked as far as that goes without data.

    Raises
    ------
    UsageError
        If a setting is wrong, a method or seed is named twice, or a run in the folder has another configuration.
    """
    refuse_single_run(folder, "the comparison")
    for single, several in (("method", "methods"), ("seed", "seeds")):
        if single in settings:
            raise UsageError(single, settings[single], "a comparison takes several", f"give {several} instead")
    variants = [Variant.of(method) for method in parse_methods(methods)]
    _refuse_twice("methods", [variant.label for variant in variants])
    _refuse_twice("seeds", list(seeds))
    of_methods = set().union(*(variant.known for variant in variants)) - SETTINGS
    trials: list[Trial] = []
    for variant in variants:
        foreign = of_methods - variant.known
        shared = {key: value for key, value in settings.items() if key.replace("-", "_") not in foreign}
        for seed in seeds:
            experiment, given = variant.describe({**shared, "seed": seed})
            path = folder / f"{_slug(variant.label)}-seed{seed}"
            total = len(variants) * len(seeds)
            trials.append(Trial(variant.label, seed, len(trials) + 1, total, path, experiment, given))
    for trial in trials:
        _check_run(trial)
    return trials


def _first_only(loaded: Callable[[Experiment, Training], None]) -> Callable[[Experiment, Training], None]:
    """Return what does the same the first time, and nothing later: all trials have the same data."""
    calls = iter([loaded])

    def tell(experiment: Experiment, built: Training) -> None:
        for call in calls:
            call(experiment, built)

    return tell


def _conclude(
    trial: Trial,
    observe: Observer,
    stop: Callable[[], bool],
    ready: Callable[[Experiment, Training], None],
    command: str,
    warn: Callable[[str], None],
) -> tuple[Trial, Run, str | None]:
    """Bring a trial to its end, from wherever it stands."""
    from sglr.experiment.train import execute, resume

    observe(TrialStarted(trial))
    problem = None
    try:
        if not (trial.path / CONFIG).is_file():
            execute(
                trial.experiment,
                trial.path,
                given=trial.given,
                observe=observe,
                stop=stop,
                ready=partial(ready, trial.experiment),
                warn=warn,
                command=command,
            )
        elif Run.open(trial.path).summary is None:
            resume(
                trial.path,
                method=trial.given.method,
                model=trial.experiment.model if trial.given.model is None else trial.given.model,
                dataset=trial.given.dataset,
                observe=observe,
                stop=stop,
                say=log.warning,
            )
    except DivergedError as error:
        problem = str(error)
    except Interrupted as error:
        reached = str(error).partition(";")[0]
        remedy = f"the same comparison again with out = {trial.path.parent} goes on from there"
        raise Interrupted(f"{trial.label}, seed {trial.seed}: {reached}; {remedy}") from None
    run = Run.open(trial.path)
    observe(TrialDone(trial, run.summary, problem))
    return trial, run, problem


def _check_run(trial: Trial) -> None:
    """Refuse to take up a run that was made with other settings."""
    if not (trial.path / CONFIG).is_file():
        return
    there = Run.open(trial.path).experiment
    if there.fingerprint() != trial.experiment.fingerprint():
        before, now = there.flat(), trial.experiment.flat()
        key = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
        problem = f"holds a run of another configuration ({key} is {before.get(key)} there, {now.get(key)} here)"
        raise UsageError("out", trial.path, problem, "choose another folder")


def _refuse_twice(field: str, values: Sequence[object]) -> None:
    if not values:
        raise UsageError(field, "", "is empty", "give one or more")
    for value in values:
        if values.count(value) > 1:
            raise UsageError(field, value, "is named twice", "name it once")


def _labels(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(trial.label for trial in trials))


def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", label).strip("-")
