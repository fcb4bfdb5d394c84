"""Print what was loaded and built, before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sglr.assembly.parts import Training
    from sglr.core.cuts.client_cuts import ClientCuts
    from sglr.runs.config import Experiment


def tell_loaded(write: Callable[[str], None], as_json: bool) -> Callable[[Experiment, Training], None]:
    """Return a function that prints what was built, as `print_loaded`, and warns of what looks wrong with the data."""
    shown = print_loaded(write, as_json)

    def tell(experiment: Experiment, built: Training) -> None:
        from sglr.experiment.train import tell_notes

        shown(experiment, built)
        tell_notes(built)

    return tell


def print_loaded(write: Callable[[str], None], as_json: bool) -> Callable[[Experiment, Training], None]:
    """Return a function that prints data, classes, model and cut of a training, unless the result is JSON."""

    def show(experiment: Experiment, built: Training) -> None:
        for name, text in ({} if as_json else loaded_lines(experiment, built)).items():
            write(f"{name:<7} {text}")

    return show


def loaded_lines(experiment: Experiment, built: Training) -> dict[str, str]:
    """Return what was loaded and built, as a few short lines by name."""
    from sglr.data.loaded import data_lines, inputs_text

    cut = str(built.cut) if built.cuts is None else _cuts(built.cuts)
    ends = f"cut behind {cut}" if built.tail is None else f"cut behind {cut} and {built.tail}"
    inputs = f"inputs {inputs_text(built.data.train.inputs.shape[1:], built.data.encoding)}"
    return data_lines(experiment.dataset, built.data) | {
        "model": f"{experiment.model}, {inputs}, {ends}",
        "clients": _clients(built.data.sizes),
    }


def _cuts(cuts: ClientCuts) -> str:
    """Return the cuts with how many clients have each."""
    counts = [(name, cuts.places.count(place)) for place, name in enumerate(cuts.names)]
    return ", ".join(f"{name} ({count} client{'' if count == 1 else 's'})" for name, count in counts)


def _clients(sizes: tuple[int, ...]) -> str:
    least, most = min(sizes), max(sizes)
    each = f"{least:,} samples each" if least == most else f"{least:,} to {most:,} samples"
    return f"{len(sizes):,} with {each}" if len(sizes) > 1 else f"1 with {least:,} samples"
