"""``sglr train``: one training in a new run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sglr.cli.options import AsJson, Config, Debug, Out, Quiet, typed

if TYPE_CHECKING:
    from sglr.runs.config import Experiment


def train(
    ctx: typer.Context,
    config: Config = None,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train one network over many clients on this machine.

    Every setting below is also a key of the --config file, with underscores instead of hyphens.
    """
    del debug
    experiment = read_experiment(config, ctx.obj)
    from sglr.cli.loaded import tell_loaded
    from sglr.cli.watching import watching
    from sglr.experiment.train import execute

    with watching(quiet) as watch:
        tell = tell_loaded(watch.write, as_json)
        run = execute(
            experiment,
            out,
            observe=watch.observe,
            stop=watch.stop,
            ready=lambda built: tell(experiment, built),
            command=typed(ctx),
        )
    from sglr.cli.result import print_result

    print_result(run, as_json)


def read_experiment(config: Path | None, flags: dict[str, Any]) -> Experiment:
    """Return the settings of a file, if one is given, overridden by flags."""
    from sglr.runs.config import Experiment

    return Experiment.from_flat(flags) if config is None else Experiment.from_toml(config, flags)
