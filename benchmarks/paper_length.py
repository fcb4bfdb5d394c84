"""The paper's Tables 4 and 2 at the paper's length, of docs/results/paper-length.md.

    python benchmarks/paper_length.py train --out runs/paper-length --hours 8
    python benchmarks/paper_length.py page --out runs/paper-length

`train` goes on where it stopped, and trains nothing that the committed record holds (`--anew` does); so any machine
takes it up. `page` merges what is finished in the folders into the record, and writes page and plots of all that is
done, here or before; what it writes of the record is never less than there was. Grids are in the folder paper_length.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_length_figures import read_long_record
from seed_by_seed import finish, planned, read_study, stopping, train
from sglr.studies.scheduler.trial import Trial
from sglr.studies.sweeps.sweep import SweepPlan

FOLDER = Path(__file__).parent / "paper_length"
ORDER = ("table4-cnn", "table2-six-clients", "table4-alexnet")
"""The grids, those that take least time first."""

SMOKE = {"clients": 2, "samples_per_client": 16, "validation": 40, "epochs": 2, "eval_every": 1, "test_samples": 100}
"""Settings that only show that everything runs."""


def grid_of(name: str, scale: str) -> dict[str, Any]:
    """Return a grid as its file has it, or so small that it only shows that everything runs."""
    grid = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return grid if scale == "full" else grid | SMOKE | {"dataset": "digits", "image_size": 8, "model": "mlp"}


def planned_sweeps(names: Sequence[str], out: Path, scale: str = "full", seeds: int | None = None) -> list[SweepPlan]:
    """Check grids, and return what they train in folders of ``out``."""
    sweeps = []
    for name in names:
        grid = grid_of(name, scale)
        grid["grid"] = grid["grid"] | {"seed": grid["grid"]["seed"][:seeds]}
        sweeps.append(planned(grid, out / name))
    return sweeps


def choose(command: argparse.ArgumentParser) -> None:
    """Add what chooses a part of the study."""
    command.add_argument("--grids", nargs="*", choices=ORDER, default=list(ORDER), help="some grids; default: all")


def main(argv: Sequence[str] | None = None) -> None:
    options = read_study(argv, __doc__, "paper-length", choose)
    sweeps = planned_sweeps(options.grids, options.out, options.scale, options.seeds)
    from paper_length_page import RECORD, write_page

    known = {} if options.anew or options.scale == "smoke" else read_long_record(RECORD)
    if options.command == "page":
        write_page(sweeps, known, options.page)
        return

    def recorded(sweep: SweepPlan, trial: Trial) -> bool:
        return (sweep.folder.name, "iid", trial.experiment.fingerprint()) in known

    failed: list[str] = []
    with stopping(options.hours) as stop:
        for sweep in sweeps:
            failed += [] if stop() else train([sweep], stop, recorded)
    finish(failed)


if __name__ == "__main__":
    main()
