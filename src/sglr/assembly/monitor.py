"""The validation score that chooses the best epoch, ends a training and lowers its rates."""

from __future__ import annotations

from difflib import get_close_matches

from sglr.assembly.task import task_name
from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.core.optim import PLATEAU
from sglr.core.spec import name_in
from sglr.core.task import Task, score_names
from sglr.report.score_style import style
from sglr.runs.config import Experiment

LOSS = "loss"
"""What stands for the mean loss among scores."""


def monitored(experiment: Experiment, task: Task, data: ClientData) -> tuple[str, bool]:
    """Return the validation score that chooses the best epoch, and whether more of it is better.

    Raises
    ------
    UsageError
        If the task has no such score, or something follows a validation that there is not.
    """
    if data.validation is None:
        for name in ("monitor", "early_stopping", "schedule"):
            value = getattr(experiment, name)
            if value is not None and (name != "schedule" or name_in(value.strip()) == PLATEAU):
                problem = "there are no validation samples whose score it could follow"
                raise UsageError(name, value, problem, "give --validation, or leave it out")
    wanted = task.headline if experiment.monitor is None else experiment.monitor
    if wanted == task.headline:
        return wanted, task.higher_is_better
    known = [*score_names(task, data.targets), LOSS]
    if wanted not in known:
        near = get_close_matches(wanted, known, n=1)
        remedy = (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}"
        raise UsageError("monitor", wanted, f"task {task_name(experiment)} has no such score", remedy)
    kept = experiment.engine == "remote" and experiment.tail is not None
    if wanted != LOSS and kept and task.counts_classes:
        problem = "labels stay with the clients, who don't tell it"
        raise UsageError("monitor", wanted, problem, f"give --monitor {task.headline} or {LOSS}")
    return wanted, style(wanted.lower()).higher_is_better
