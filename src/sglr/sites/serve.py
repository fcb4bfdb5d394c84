"""A server for clients on machines of their own: a new run, or one that goes on where it stood."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from sglr.assembly.parts import PartOverrides
from sglr.core.engine import Engine
from sglr.core.errors import Interrupted
from sglr.core.events import EpochDone, Event, StepDone
from sglr.data.schema import find_schema
from sglr.engines.remote.engine import Remote
from sglr.engines.remote.server.listen import Listen
from sglr.experiment.resume import go_on
from sglr.experiment.train import execute
from sglr.inference.run import Run
from sglr.parties.spec import ClientSpec
from sglr.runs.config import Experiment
from sglr.runs.folder import CONFIG
from sglr.runs.new_folder import refuse_occupied
from sglr.sites.serve_options import ServeOptions
from sglr.storage.files import is_file, write_text
from sglr.storage.lock import locked

PACE_SECONDS = 10.0
"""Over how long the speed is measured."""


def serve(
    experiment: Experiment,
    out: Path,
    server: ServeOptions,
    *,
    observe: Callable[[Event], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda _: None,
    command: str = "",
) -> Run:
    """Train with clients that join over the network; the same call again goes on after a crash.

    Parameters
    ----------
    experiment
        The settings; `served` of them.
    out
        The run's folder: a new one, or that of this same run.
    server
        Where to listen.
    observe
        Called with every event.
    stop
        Called after every step, and while it waits for clients; True ends the training with a checkpoint.
    say
        Called with messages for the user.
    command
        The command that was typed, for the report.

    Raises
    ------
    UsageError
        If a setting is wrong, the address is taken, another process works in the folder, or it holds something else.
    Interrupted
        If ``stop`` answered True.
    """
    progress = ProgressTracker(observe)
    given = PartOverrides(engine=_engine(server, progress))
    try:
        if not is_file(out / CONFIG):
            return execute(experiment, out, given=given, observe=progress.observe, stop=stop, command=command)
        with locked(out):
            _take_over(experiment, out)
            return go_on(
                Run.open(out, experiment.model, ("task", "metrics")),
                given,
                track=experiment.track,
                observe=progress.observe,
                stop=stop,
                say=say,
            )
    except Interrupted as error:
        reason = str(error).partition("; continue with")[0]
        raise Interrupted(f"{reason}; run the same command to continue, clients wait for it") from None


def served(experiment: Experiment) -> Experiment:
    """Return the settings with the engine for clients on machines of their own.

    A schema's file is read into them, so that the run goes on by the same schema whatever becomes of that file.

    Raises
    ------
    UsageError
        If it can't be read.
    """
    parameters = dict(experiment.dataset_parameters)
    if parameters.get("schema"):
        parameters["schema"] = find_schema(parameters["schema"]).to_json()
    return experiment.model_copy(update={"engine": "remote", "dataset_parameters": parameters})


def _engine(server: ServeOptions, progress: ProgressTracker) -> Callable[[ClientSpec], Engine]:
    listen = Listen(
        *server.place, local_clients=False, opened=server.opened, progress=progress.describe, metrics=server.metrics
    )
    return lambda setting: Remote(setting, listen)


def _take_over(experiment: Experiment, out: Path) -> None:
    """Let a run that is there go on with these settings, if they make the same run."""
    if Run.open(out).experiment.fingerprint() != experiment.fingerprint():
        refuse_occupied(out, experiment)
    write_text(out / CONFIG, experiment.to_toml())


@dataclass
class ProgressTracker:
    """How far a training is, as its status tells.

    Parameters
    ----------
    observe_too
        Told of every event as well.
    """

    observe_too: Callable[[Event], None]
    _told: dict[str, Any] = field(default_factory=dict)
    _samples: int = 0
    _steps: deque[tuple[float, int]] = field(default_factory=deque)

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, StepDone):
            self._told = {
                "epoch": event.epoch + 1,
                "epochs": event.epochs,
                "step": event.step,
                "steps": event.steps,
                "samples_per_second": self._pace(event.samples),
            }
        elif isinstance(event, EpochDone):
            self._steps.clear()
        self.observe_too(event)

    def _pace(self, samples: int) -> float | None:
        """Return samples per second over the last steps; the first of them only starts the clock."""
        now = monotonic()
        self._samples += samples
        self._steps.append((now, self._samples))
        while now - self._steps[0][0] > PACE_SECONDS and len(self._steps) > 2:
            self._steps.popleft()
        began, before = self._steps[0]
        return (self._samples - before) / (now - began) if now > began else None

    def describe(self) -> dict[str, Any]:
        """Return what the status tells."""
        return self._told
