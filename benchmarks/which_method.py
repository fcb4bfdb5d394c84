"""The study of docs/results/which-method.md: every method on several data sets, divided in several ways.

    python benchmarks/which_method.py train --out runs/which-method --hours 8
    python benchmarks/which_method.py page --out runs/which-method

`train` goes on where it stopped, and trains nothing that the committed record holds (`--anew` does). `page` writes the
page, plots and the record of what is done, here or before. The folder which_method says what is trained: methods.toml
the methods and the divisions, each other file a data set and a model.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from seed_by_seed import finish, planned, read_study, stopping, train
from sglr.core.data import Dataset, Samples
from sglr.core.registry import METHODS
from sglr.studies.scheduler.trial import Trial
from sglr.studies.sweeps.sweep import SweepPlan
from which_method_figures import read_record

FOLDER = Path(__file__).parent / "which_method"
ORDER = ("fashion-cnn", "digits", "table", "fashion-resnet16")
"""The data sets, those that tell most for their time first."""

SMOKE = {"clients": 4, "samples_per_client": 16, "epochs": 1, "test_samples": 100}
"""Settings that only show that everything runs."""


@dataclass(frozen=True)
class Choice:
    """What of the study is wanted.

    Parameters
    ----------
    data, divisions, methods
        Names of data sets and divisions, and methods as they are written; empty for all.
    seeds
        How many of a data set's seeds; None for all.
    smoke
        Whether to train next to nothing.
    """

    data: Sequence[str] = ()
    divisions: Sequence[str] = ()
    methods: Sequence[str] = ()
    seeds: int | None = None
    smoke: bool = False


@dataclass(frozen=True)
class Part:
    """One data set in one division: a sweep over methods and seeds."""

    data: str
    division: str
    title: str
    settings: Mapping[str, Any]
    methods: Sequence[str]
    seeds: Sequence[int]

    def plan(self, out: Path) -> SweepPlan:
        """Check it, and return what it trains."""
        grid = {**self.settings, "grid": {"method": list(self.methods), "seed": list(self.seeds)}}
        dataset = breast_cancer() if self.settings["dataset"] == "breast-cancer" else None
        if dataset is not None:
            del grid["dataset"]
        return planned(grid, out / self.data / self.division, dataset)


def read(name: str) -> dict[str, Any]:
    """Read a file of the folder."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def parts(choice: Choice) -> Iterator[Part]:
    """Yield the sweeps of the study, or those that are wanted."""
    study = read("methods")
    for data in choice.data or ORDER:
        settings = read(data)
        own = settings.pop("study")
        listed = [*study[own["methods"]], *independent(study.get(own.get("independent", ""), []))]
        for name, division in study["division"].items():
            if choice.divisions and name not in choice.divisions:
                continue
            whole = own["methods"] == "all" and division["partition"] == "iid"
            methods = [*listed, *(study["ceiling"] if whole else [])]
            wanted = [method for method in methods if not choice.methods or method in choice.methods]
            combined = settings | {key: value for key, value in division.items() if key != "title"}
            if choice.smoke:
                combined |= {key: value for key, value in SMOKE.items() if key != "test_samples" or key in settings}
            if wanted:
                yield Part(data, name, own["title"], combined, wanted, own["seeds"][: choice.seeds])


def independent(methods: Sequence[str]) -> list[str]:
    """Return methods with the paper's start, in which each client has first weights of its own."""
    return [f"{method}{',' if ':' in method else ':'}init=independent" for method in methods]


def missing_methods() -> list[str]:
    """Return the registered methods that the study has no row for."""
    study = read("methods")
    named = {method.partition(":")[0] for method in (*study["all"], *study["ceiling"])}
    return [name for name in METHODS.names() if name not in named]


@cache
def breast_cancer() -> Dataset:
    """Return scikit-learn's table of tumours, standardised by what is trained on; 30 % is for test."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    cancer = load_breast_cancer()
    known, held_out, labels, wanted = train_test_split(
        cancer.data, cancer.target, test_size=0.3, random_state=0, stratify=cancer.target
    )
    scaler = StandardScaler().fit(known)
    classes = tuple(map(str, cancer.target_names))
    return Dataset(
        "breast-cancer",
        _samples(scaler.transform(known), labels),
        _samples(scaler.transform(held_out), wanted),
        classes=classes,
    )


def _samples(inputs: Any, labels: Any) -> Samples:
    import torch

    return Samples(torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(labels))


def choose(command: argparse.ArgumentParser) -> None:
    """Add what chooses a part of the study."""
    command.add_argument("--data", default="", help=f"some of {','.join(ORDER)}; default: all")
    command.add_argument("--divisions", default="", help="some of those in methods.toml; default: all")
    command.add_argument("--methods", nargs="*", default=[], help="some methods as they are listed; default: all")


def main(argv: Sequence[str] | None = None) -> None:
    options = read_study(argv, __doc__, "which-method", choose)
    data, divisions = (list(filter(None, text.split(","))) for text in (options.data, options.divisions))
    choice = Choice(data, divisions, options.methods, options.seeds, options.scale == "smoke")
    sweeps = [(part, part.plan(options.out)) for part in parts(choice)]
    from which_method_page import RECORD, write_page

    known = {} if choice.smoke or options.anew else read_record(RECORD)
    if options.command == "train":

        def recorded(sweep: SweepPlan, trial: Trial) -> bool:
            return (sweep.folder.parent.name, sweep.folder.name, trial.experiment.fingerprint()) in known

        with stopping(options.hours) as stop:
            failed = train([sweep for _, sweep in sweeps], stop, recorded)
        finish(failed)
        return
    write_page(sweeps, read("methods"), known, options.page)


if __name__ == "__main__":
    main()
