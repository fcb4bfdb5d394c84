"""``sglr train``: one training in a new run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sglr.cli.options import AsJson, Config, Debug, Out, Quiet, typed
from sglr.system.neighbours import FreeCores, Look, find_free_cores

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
    before = Look.now()
    from sglr.cli.loaded import tell_loaded
    from sglr.cli.watching import watching
    from sglr.experiment.train import execute  # imports torch, while others show how busy they are

    experiment, chosen = beside_others(experiment, before)
    with watching(quiet) as watch:
        if chosen is not None and not as_json:
            watch.write(f"threads {chosen.text}")
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


def beside_others(experiment: Experiment, before: Look | None) -> tuple[Experiment, FreeCores | None]:
    """Return the settings with as many threads as there are free cores, and what was found, where it is not all.

    The number of threads decides last bits of a result. So it is a setting of the run, with which it goes on and can
    be repeated, wherever it was not torch's own choice.
    """
    if experiment.threads is not None or experiment.engine != "local":
        return experiment, None
    found = find_free_cores(before)
    return experiment if found is None else experiment.model_copy(update={"threads": found.threads}), found
