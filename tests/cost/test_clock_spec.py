"""The setting ``clock``: which device and link each client has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sglr.core.errors import UsageError
from sglr.cost.clock_spec import read_clock
from sglr.cost.fleet import DEVICES, LINKS, read_link


def test_one_device_for_all() -> None:
    fleet = read_clock("phone/4g", 3, 0)
    assert fleet.clients == 3
    assert fleet.flops.tolist() == [DEVICES["phone"]] * 3
    assert (fleet.up[0], fleet.down[0], fleet.rtt[0]) == (LINKS["4g"].up, LINKS["4g"].down, LINKS["4g"].rtt)
    assert fleet.server_flops == DEVICES["server"]


def test_devices_by_range_and_figures_of_ones_own() -> None:
    fleet = read_clock("0-1=phone/4g, 2=50GFLOPS/20Mbps+100ms, laptop/wifi, server=workstation", 4, 0)
    assert fleet.flops.tolist() == [10e9, 10e9, 50e9, 100e9]
    assert fleet.devices == ("phone", "phone", "50GFLOPS", "laptop")
    assert fleet.up[2] == fleet.down[2] == 2.5e6
    assert fleet.rtt.tolist() == [0.07, 0.07, 0.1, 0.01]
    assert fleet.server_flops == 5e12
    assert read_link("12.5MB/s", "link") == read_link("100Mbps+0", "link")


def test_a_table_of_measured_clients(tmp_path: Path) -> None:
    table = tmp_path / "fleet.csv"
    table.write_text(
        "client, flops, up, down, rtt\n1, 2e9, 1Mbps, 8Mbps, 50ms\n0, phone, 4Mbps, 4Mbps, 0\nserver,1e12,,,\n"
    )
    fleet = read_clock(str(table), 2, 0)
    assert fleet.flops.tolist() == [10e9, 2e9]
    assert fleet.devices == ("phone", "2e9")
    assert fleet.up.tolist() == [0.5e6, 0.125e6]
    assert fleet.down.tolist() == [0.5e6, 1e6]
    assert fleet.rtt.tolist() == [0, 0.05]
    assert fleet.server_flops == 1e12


def test_a_distribution_is_that_of_the_seed_and_each_client() -> None:
    few, many = read_clock("lognormal:phone/4g,sigma=0.5", 50, 3), read_clock("lognormal:phone/4g,sigma=0.5", 4000, 3)
    assert np.array_equal(few.flops, many.flops[:50])
    assert not np.array_equal(few.flops, read_clock("lognormal:phone/4g,sigma=0.5", 50, 4).flops)
    logs = np.log(many.flops / DEVICES["phone"])
    assert abs(logs.mean()) < 0.03
    assert logs.std() == pytest.approx(0.5, rel=0.03)
    assert np.allclose(many.up / many.down, LINKS["4g"].up / LINKS["4g"].down)
    alike = read_clock("lognormal:around=phone/4g,sigma=0,server=laptop", 2, 0)
    assert alike.flops.tolist() == [10e9, 10e9]
    assert alike.devices == ("phone", "phone")
    assert alike.server_flops == 100e9


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("phon/4g", "did you mean 'phone'"),
        ("phone/3g", "4g"),
        (
            "0-1=phone/4g,2=phne/4g",
            "clock = 0-1=phone/4g,2=phne/4g: 'phne': there is no such device; did you mean 'phone'",
        ),
        ("phone/4gg", "clock = phone/4gg: '4gg': 'gg' is not a unit of a rate"),
        ("phone/", "'phone/' is not a device and a link"),
        ("/4g", "'/4g' is not a device and a link"),
        ("phone/4g,server=", "'': there is no such device"),
        ("phone/20Mbps+-3ms", r"'20Mbps\+-3ms': is below zero"),
        ("1e400FLOPS/4g", "is no finite number"),
        ("phone", "'phone' is not a device and a link"),
        ("0-4=phone/4g", "there is no client 4; name clients 0 to 2"),
        ("0=phone/4g", "gives client 1 no device and link"),
        ("0=phone/4g,0-2=phone/4g", "gives client 0 a device twice"),
        ("phone/4g,laptop/wifi", "gives all clients a device twice"),
        ("2-0=phone/4g", "the range 2-0 is empty"),
        ("x=phone/4g", "'x' is not a range of clients"),
        ("phone/-3Mbps", "is not above zero"),
        ("phone/3Mbps+100", "has no unit"),
        ("lognormal:sigma=0.5", "no device and link to draw around"),
        ("lognormal:phone/4g,sigma=9", "sigma"),
        ("missing.csv", "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as error:
        read_clock(text, 3, 0)
    assert error.value.field.startswith("clock")


def test_a_link_may_have_no_delay() -> None:
    assert read_clock("5GFLOPS/20Mbps+0ms", 2, 0).rtt.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("client,flops,up,down\n", "has no column rtt"),
        ("client,flops,up,down,rtt\n0,1e9,1Mbps,1Mbps,0\n0,1e9,1Mbps,1Mbps,0\n", "has client 0 twice"),
        ("client,flops,up,down,rtt\n7,1e9,1Mbps,1Mbps,0\n", "there is no client 7"),
        ("client,flops,up,down,rtt\nx,1e9,1Mbps,1Mbps,0\n", "no client's number in line 2"),
        ("client,flops,up,down,rtt\n0,-1,1Mbps,1Mbps,0\n", "is not above zero"),
        ("client,flops,up,down,rtt\n0,,1Mbps,1Mbps,0\n", "clock flops in line 2 = : there is no such device"),
        ("client,flops,up,down,rtt\n0,1e9,fast,1Mbps,0\n", "does not begin with a number"),
        ("client,flops,up,down,rtt\n", "gives client 0 no device"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(rows: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "fleet.csv").write_text(rows)
    with pytest.raises(UsageError, match=problem):
        read_clock(str(tmp_path / "fleet.csv"), 1, 0)
