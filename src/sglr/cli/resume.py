"""``sglr resume``: continue a stopped run."""

from __future__ import annotations

import sys
from pathlib import Path

from sglr.cli.options import AsJson, Debug, OwnMetrics, OwnModel, OwnTask, Quiet, RunFolder, Track
from sglr.core.errors import UsageError


def resume(
    run: RunFolder,
    model: OwnModel = None,
    task: OwnTask = None,
    metrics: OwnMetrics = None,
    track: Track = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Continue a stopped run from its newest checkpoint.

    It ends with the same weights as if it had never been stopped. A finished run is not changed; trackers
    that missed any of it are told.
    """
    del debug
    from sglr.cli.result import print_result
    from sglr.cli.watching import watching
    from sglr.experiment.resume import resume as go_on

    _refuse_served(run)
    with watching(quiet) as watch:
        finished = go_on(
            run,
            model=model,
            task=task,
            metrics=[name for name in (metrics or "").split(",") if name],
            track=track,
            observe=watch.observe,
            stop=watch.stop,
            say=lambda line: print(line, file=sys.stderr),
        )
    print_result(finished, as_json)


def _refuse_served(folder: Path) -> None:
    """Refuse a run whose clients are elsewhere, unless it is finished: then only trackers are told."""
    from sglr.runs.folder import SUMMARY, read_command
    from sglr.sites.status import read_address
    from sglr.storage.files import is_file

    if read_address(folder) is not None and not is_file(folder / SUMMARY):
        problem = "this run was started by sglr serve"
        raise UsageError("run", folder, problem, f"continue with the command that started it: {read_command(folder)}")
