"""What a training needs around it: who observes it, what counts its energy, and an engine that is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sglr.assembly.build import device_here
from sglr.assembly.parts import Training
from sglr.core.errors import DivergedError
from sglr.core.events import Event
from sglr.cost.meter import EnergyMeter
from sglr.cost.power_sources import power_sources
from sglr.cost.profiles import DeviceProfile, load_profile
from sglr.runs.config import Experiment

Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Observe nothing."""
    del event


def never() -> bool:
    """Never stop."""
    return False


def silent(message: str) -> None:
    """Say nothing."""
    del message


@contextmanager
def closing(built: Training) -> Iterator[None]:
    """Let the clients go when all is over, or went wrong."""
    done, diverged = False, ""
    try:
        yield
        done = True
    except DivergedError as error:
        diverged = error.what
        raise
    finally:
        built.trainer.engine.close(done=done, diverged=diverged)


def energy_of(experiment: Experiment) -> tuple[DeviceProfile, EnergyMeter]:
    """Prepare what tells the energy, so that what is wrong or missing shows before any work is done."""
    profile = load_profile(experiment.energy_profile)
    return profile, EnergyMeter(power_sources(device_here(experiment)) if experiment.energy else [])
