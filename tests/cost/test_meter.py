"""A meter adds up what its sources give, over checkpoints too; codecarbon and zeus give positive joules."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import torch

from sglr.core.errors import UsageError
from sglr.cost.meter import EnergyMeter
from sglr.cost.power_sources import power_sources

needs_codecarbon = pytest.mark.skipif(find_spec("codecarbon") is None, reason="needs codecarbon")


class Steady:
    """Gives as many joules as seconds have passed times its watts."""

    how = "measured"

    def __init__(self, name: str, watts: float) -> None:
        self.name, self.by, self._watts = name, f"{watts} W", watts
        self.readings = 0

    def begin(self) -> None:
        self._last = time.perf_counter()

    def read(self) -> float:
        before, self._last = self._last, time.perf_counter()
        self.readings += 1
        return self._watts * (self._last - before)


class Broken(Steady):
    """Stops answering after its first reading."""

    def read(self) -> float:
        if self.readings:
            raise OSError("the driver is gone")
        return super().read()


def work(seconds: float) -> None:
    until = time.perf_counter() + seconds
    matrix = torch.ones(100, 100)
    while time.perf_counter() < until:
        matrix @ matrix


def test_joules_of_all_parts_add_up_over_time():
    meter = EnergyMeter([Steady("cpu", 2.0), Steady("gpu", 3.0)])
    meter.begin()
    work(0.05)
    meter.end()
    found = meter.summary(run_seconds=meter.summary(0)["seconds"])
    assert found["seconds"] >= 0.05
    assert found["parts"]["cpu"]["joules"] == pytest.approx(2 * found["seconds"], rel=0.1)
    assert found["joules"] == pytest.approx(5 * found["seconds"], rel=0.1)
    assert found["parts"]["gpu"]["by"] == "3.0 W"
    assert found["unmeasured_seconds"] == 0
    json.dumps(found)


def test_nothing_is_measured_before_the_beginning_and_after_the_end():
    meter = EnergyMeter([Steady("cpu", 2.0)])
    assert meter.summary(0)["joules"] == meter.summary(0)["seconds"] == 0
    meter.begin()
    meter.end()
    ended = meter.state()
    work(0.02)
    meter.end()
    assert meter.state() == ended


def test_sources_are_read_now_and_then_without_being_asked():
    source = Steady("cpu", 1.0)
    meter = EnergyMeter([source], read_every=0.005)
    meter.begin()
    deadline = time.perf_counter() + 5
    while source.readings < 3 and time.perf_counter() < deadline:
        work(0.005)
    meter.end()
    assert source.readings >= 4


def test_a_resumed_run_adds_to_what_its_checkpoint_holds():
    first, second = EnergyMeter([Steady("cpu", 2.0)]), EnergyMeter([Steady("cpu", 2.0)])
    first.begin()
    work(0.02)
    held = json.loads(json.dumps(first.state()))
    first.end()
    second.restore(held)
    second.begin()
    work(0.02)
    second.end()
    found = second.summary(run_seconds=0)
    assert found["seconds"] >= 0.04
    assert found["joules"] == pytest.approx(2 * found["seconds"], rel=0.1)


def test_time_that_was_not_measured_is_told():
    meter = EnergyMeter([Steady("cpu", 2.0)])
    meter.restore(None)
    meter.begin()
    meter.end()
    assert meter.summary(run_seconds=100)["unmeasured_seconds"] == pytest.approx(100, abs=0.2)


def test_parts_that_were_known_in_another_way_before_the_run_was_resumed_are_told_as_both():
    meter = EnergyMeter([Steady("cpu", 2.0)])
    counted = {"joules": 1.0, "how": "estimated", "by": "its rated power"}
    elsewhere = {"joules": 5.0, "how": "measured", "by": "a counter"}
    meter.restore({"parts": {"cpu": counted, "gpu": elsewhere}, "seconds": 3.0})
    found = meter.summary(3.0)
    assert found["joules"] == 6.0
    assert found["parts"]["cpu"]["how"] == "estimated"
    assert found["parts"]["cpu"]["by"] == "its rated power; since the run was resumed: 2.0 W"
    assert found["parts"]["gpu"] == elsewhere


def test_without_sources_nothing_is_measured():
    with EnergyMeter([]) as meter:
        work(0.01)
    assert meter.state() is None
    assert meter.summary(1.0) is None


def test_a_source_that_breaks_ends_no_run_and_is_told(caplog):
    meter = EnergyMeter([Broken("gpu", 3.0), Steady("cpu", 2.0)])
    meter.begin()
    meter.state()
    meter.state()
    meter.end()
    assert "the driver is gone" in meter.summary(0)["parts"]["gpu"]["by"]
    assert "no longer measured" in caplog.text
    assert meter.summary(0)["parts"]["cpu"]["joules"] > 0


@pytest.mark.parametrize(("device", "package"), [("cpu", "codecarbon"), ("cuda", "zeus")])
def test_a_missing_package_is_refused_with_what_to_install(monkeypatch, device, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"{package}, not installed here.*pip install 'sglr\[energy\]'"):
        power_sources(torch.device(device))


MEASURE = """
import json, sys, time
def refuse(event, _):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError("no network")
sys.addaudithook(refuse)
import torch
from sglr.cost.meter import EnergyMeter
from sglr.cost.power_sources import power_sources
meter = EnergyMeter(power_sources(torch.device("cpu")), read_every=0.1)
meter.begin()
until = time.perf_counter() + 0.5
while time.perf_counter() < until:
    torch.ones(200, 200) @ torch.ones(200, 200)
busy = meter.state()
time.sleep(0.5)
meter.end()
print(json.dumps([busy, meter.summary(1.0)]))
"""


@needs_codecarbon
@pytest.mark.slow
def test_codecarbon_gives_joules_quietly_without_network_or_files(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.stderr == ""
    busy, found = json.loads(answer.stdout)
    cpu = found["parts"]["cpu"]
    assert found["parts"].keys() == {"cpu", "ram"}
    assert all(part["joules"] > 0 for part in found["parts"].values())
    assert cpu["how"] in ("measured", "estimated")
    assert ("RAPL" in cpu["by"]) == (cpu["how"] == "measured")
    assert found["joules"] < 1000 * found["seconds"]  # no CPU draws a kilowatt
    if cpu["how"] == "estimated":  # RAPL counts the whole CPU, whoever uses it
        assert cpu["joules"] - busy["parts"]["cpu"]["joules"] < busy["parts"]["cpu"]["joules"] / 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_zeus_gives_joules_of_the_gpu():
    pytest.importorskip("zeus")
    meter = EnergyMeter(power_sources(torch.device("cuda")))
    matrix = torch.ones(4096, 4096, device="cuda")
    meter.begin()
    for _ in range(200):
        matrix = matrix @ matrix * 1e-4
    torch.cuda.synchronize()
    time.sleep(0.2)
    meter.end()
    found = meter.summary(0)
    assert found["parts"]["gpu"]["how"] == "measured"
    assert 1 < found["parts"]["gpu"]["joules"] < 2000 * found["seconds"]
