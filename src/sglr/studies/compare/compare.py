"""Compare methods: every method with every seed as an ordinary run, and one table over them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.core.errors import Interrupted, UsageError
from sglr.data.objects.read import settle_dataset
from sglr.report.comparison import write_comparison_report
from sglr.runs.config import SETTINGS, Experiment
from sglr.runs.folder import CONFIG, Run, write_command
from sglr.runs.new_folder import folder_of_runs, refuse_single_run
from sglr.storage.files import is_file
from sglr.studies.compare.comparison import Comparison, make_row, write_comparison
from sglr.studies.compare.time_to import check_time_to, with_times
from sglr.studies.method_specs import Variant, parse_methods
from sglr.studies.notebook_progress import study_shown
from sglr.studies.scheduler.checks import check_builds, check_request
from sglr.studies.scheduler.datasets import Datasets
from sglr.studies.scheduler.run_all import Observer, run_all
from sglr.studies.scheduler.trial import Trial

if TYPE_CHECKING:
    from sglr.assembly.parts import Training
    from sglr.core.method import Method

__all__ = ["Comparison", "compare", "plan"]

log = logging.getLogger(__name__)


def compare(
    methods: Sequence[str | Method],
    *,
    seeds: Sequence[int] = (0,),
    out: str | Path | None = None,
    jobs: int | None = 1,
    ray_address: str | None = None,
    observe: Observer | None = None,
    stop: Callable[[], bool] = lambda: False,
    loaded: Callable[[Experiment, Training], None] | None = None,
    command: str = "",
    time_to: float | None = None,
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
    jobs
        Processes that train side by side, each on one core unless ``threads`` is given; 1 trains in this process. None
        is one per core on a CPU, one on a GPU, and on a cluster as many as it has room for.
    ray_address
        The Ray cluster on whose machines to train: ``"auto"`` for the one that runs here, or ``HOST:PORT``; each needs
        sglr and the data. None trains on this machine.
    observe
        Called with `sglr.studies.scheduler.progress.StudyProgress` whenever a run is over. With one job it is also
        called with `sglr.studies.scheduler.progress.TrialStarted`, and with every event of a run.
        None shows the progress in a notebook.
    stop
        Asked after every step; True ends the comparison with checkpoints.
    loaded
        Called with the first training that is built.
    command
        The command that was typed, for the reports.
    time_to
        With a ``clock``: the score to which modelled times are told, such as 0.75; None for the best that every run
        reaches.
    **settings
        As for `sglr.train`; a parameter of methods applies to those that have it.

    Raises
    ------
    UsageError
        If a setting is wrong, the folder holds other runs, or a part that is an object would have to be sent to other
        processes; before anything is written.
    Interrupted
        If ``stop`` answered True.

    Examples
    --------
    >>> import sglr
    >>> result = sglr.compare(["psl", sglr.SGLR(phi=1.0)], seeds=[0, 1, 2], epochs=5)  # doctest: +SKIP
    >>> [(row["label"], row["test"]["accuracy"]) for row in result.rows]  # doctest: +SKIP
    """
    settings = settle_dataset(settings)
    folder = Path(out) if out is not None else Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-comparison"
    trials = plan(methods, seeds, folder, settings, command)
    check_time_to(time_to, trials)
    datasets = Datasets(trials[0].given.dataset if trials[0].given else None)
    check_request(trials, jobs, ray_address, datasets)
    new = [trial for trial in trials if not is_file(trial.path / CONFIG)]
    check_builds(new, datasets, elsewhere=ray_address is not None, loaded=loaded, warn=log.warning)
    with folder_of_runs(folder):
        write_command(folder, command)
        try:
            outcomes = run_all(
                trials,
                jobs=jobs,
                ray_address=ray_address,
                observe=observe or study_shown(),
                stop=stop,
                datasets=datasets,
                any_version=True,
            )
        except Interrupted:
            raise Interrupted(f"stopped; the same comparison again with out = {folder} goes on from there") from None
        labels = [trial.label for trial in trials]
        by_label = {
            label: [one for own, one in zip(labels, outcomes, strict=True) if own == label]
            for label in dict.fromkeys(labels)
        }
        rows = [make_row(label, own, folder) for label, own in by_label.items()]
        finished = {label: [one.run for one in own if one.problem is None] for label, own in by_label.items()}
        comparison = write_comparison(folder, with_times(rows, finished, time_to))
        write_comparison_report(folder, comparison.with_paths(), command)
        return comparison


def plan(
    methods: Sequence[str | Method],
    seeds: Sequence[int],
    folder: Path,
    settings: Mapping[str, Any],
    command: str = "",
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
            trials.append(Trial(variant.label, experiment, path, given, command, keep_checkpoints=True))
    for trial in trials:
        _check_run(trial)
    return trials


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
    trial.check_recorded()


def _refuse_twice(field: str, values: Sequence[object]) -> None:
    if not values:
        raise UsageError(field, "", "is empty", "give one or more")
    for value in values:
        if values.count(value) > 1:
            raise UsageError(field, value, "is named twice", "name it once")


def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", label).strip("-")
