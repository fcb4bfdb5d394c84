"""How long each method of a comparison takes to a score on simulated clocks."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sglr.core.errors import UsageError
from sglr.report.score_style import ScoreStyle, headline_of_rows
from sglr.report.time_to import MODELLED, mean_seconds_to, reached_by_all
from sglr.runs.folder import Run
from sglr.studies.scheduler.trial import Trial

log = logging.getLogger(__name__)


def check_time_to(target: float | None, trials: Sequence[Trial]) -> None:
    """Refuse a score for which no time could be told.

    Raises
    ------
    UsageError
        If it is no number, or there is no clock.
    """
    if target is not None and not math.isfinite(target):
        raise UsageError("time_to", target, "is no score", "give a number, such as 0.75")
    if target is not None and any(trial.experiment.clock is None for trial in trials):
        remedy = "give --clock, such as phone/4g, or leave it out"
        raise UsageError("time_to", target, "times are modelled by a clock, and none is given", remedy)


def with_times(
    rows: Sequence[Mapping[str, Any]], runs: Mapping[str, Sequence[Run]], target: float | None
) -> list[dict[str, Any]]:
    """Return rows with ``time_to``: the ``score`` and the modelled ``seconds`` to it, where there are clocks.

    Parameters
    ----------
    rows
        Of all methods.
    runs
        The finished runs of each, by label.
    target
        The score; None for the best that every run reaches.
    """
    histories = {label: [run.history for run in own] for label, own in runs.items()}
    every = [history for own in histories.values() for history in own]
    if not any(MODELLED in row for history in every for row in history):
        return [dict(row) for row in rows]
    score = headline_of_rows(rows)
    if target is not None and score.is_share and not 0 <= target <= 1:
        log.warning("time_to = %g: no run can reach it, since %s is a share; write 75 %% as 0.75", target, score.title)
    wanted = reached_by_all(every, score) if target is None else target
    return [{**row, "time_to": _told(histories[row["label"]], score, wanted)} for row in rows]


def _told(histories: Sequence[Any], score: ScoreStyle, wanted: float | None) -> dict[str, float | None] | None:
    if wanted is None:
        return None
    return {"score": wanted, "seconds": mean_seconds_to(histories, score, wanted)}
