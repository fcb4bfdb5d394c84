"""Where a measurement of energy comes from: processor and memory through codecarbon, an NVIDIA GPU through zeus.

Only codecarbon's and zeus's readers of hardware are used. Their trackers would look up the country, write files and
print; nothing here touches the network or the disk.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, Protocol

import torch

from sglr.core.errors import UsageError
from sglr.system.extras import require

JOULES_PER_KWH = 3.6e6


class PowerSource(Protocol):
    """One part of the machine whose energy is measured or estimated.

    Attributes
    ----------
    name
        ``"cpu"``, ``"ram"`` or ``"gpu"``.
    how
        ``"measured"`` by a counter in the hardware, or ``"estimated"``.
    by
        By what, in words.
    """

    name: str
    how: str
    by: str

    def begin(self) -> None:
        """Start counting."""
        ...

    def read(self) -> float:
        """Return joules since `begin` or the last `read`."""
        ...


def power_sources(device: torch.device) -> list[PowerSource]:
    """Return the sources of this machine, for a training on ``device``.

    Raises
    ------
    UsageError
        If a package that is needed is not installed, or the GPU's counter can't be read.
    """
    packages = ("codecarbon", "zeus") if device.type == "cuda" else ("codecarbon",)
    require("energy", "energy", "true", *packages)
    sources: list[PowerSource] = [Processor(), Memory()]
    return [*sources, Graphics(device)] if device.type == "cuda" else sources


class _Timed:
    """A source that codecarbon reads."""

    def __init__(self, hardware: Any) -> None:
        self._hardware = hardware
        self._last = 0.0

    def begin(self) -> None:
        """Start counting."""
        self._hardware.start()
        self._last = time.perf_counter()

    def read(self) -> float:
        """Return joules since `begin` or the last `read`."""
        before, self._last = self._last, time.perf_counter()
        _, energy = self._hardware.measure_power_and_energy(self._last - before)
        return float(energy.kWh) * JOULES_PER_KWH


class Processor(_Timed):
    """The CPU: its RAPL counters where they can be read, else its rated power times this process's share of it."""

    name = "cpu"

    def __init__(self) -> None:
        with _quiet():
            from codecarbon.core.cpu import TDP, is_rapl_available
            from codecarbon.core.util import count_physical_cpus
            from codecarbon.external.hardware import CPU, MODE_CPU_LOAD

            if is_rapl_available():
                self.how, self.by = "measured", "RAPL counters of the whole CPU, other processes included (codecarbon)"
                super().__init__(CPU.from_utils(".", "intel_rapl"))
                return
            rated = TDP()
            watts = None if rated.tdp is None else rated.tdp * count_physical_cpus()
            cpu = CPU.from_utils(".", MODE_CPU_LOAD, rated.model, watts, tracking_mode="process")
            super().__init__(cpu)
        shown = "85 W, the CPU being unknown" if watts is None else f"{watts:g} W of {rated.model}"
        self.how = "estimated"
        self.by = f"the CPU's rated power ({shown}) times this process's share of CPU time (codecarbon)"


class Memory(_Timed):
    """The main memory; nothing measures it, and codecarbon estimates it by its size."""

    name, how = "ram", "estimated"
    by = "the number of memory modules that would hold this process (codecarbon)"

    def __init__(self) -> None:
        with _quiet():
            from codecarbon.external.ram import RAM

            super().__init__(RAM(tracking_mode="process"))


class Graphics:
    """An NVIDIA GPU's own energy counter (NVML), through zeus."""

    name, how = "gpu", "measured"

    def __init__(self, device: torch.device) -> None:
        with _quiet():
            from zeus.monitor import ZeusMonitor
        index = device.index if device.index is not None else torch.cuda.current_device()
        self.by = f"the energy counter of GPU {index}, {torch.cuda.get_device_name(device)}, all processes (zeus)"
        try:
            self._monitor = ZeusMonitor(gpu_indices=[index], cpu_indices=[])
            self.begin()
            self.read()
        except Exception as error:
            problem = f"the energy counter of GPU {index} can't be read ({' '.join(str(error).split())})"
            raise UsageError("energy", "true", problem, "leave it out: the modelled energy needs nothing") from error

    def begin(self) -> None:
        """Start counting."""
        # The GPU is not waited for: a reading in the middle of a training must not hold it up.
        self._monitor.begin_window("run", sync_execution=False, restart=True)

    def read(self) -> float:
        """Return joules since `begin` or the last `read`."""
        joules = self._monitor.end_window("run", sync_execution=False).total_energy
        self.begin()
        return float(joules)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what packages print while they are imported and look for hardware."""
    logger = logging.getLogger("codecarbon")
    logger.setLevel(logging.CRITICAL)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
    logger.setLevel(logging.CRITICAL)  # its first import sets another level
