"""Times where clients are cut at different places: the slowest path of a step, by hand and as the clock has it."""

from __future__ import annotations

from typing import Any

import pytest

import sglr
from sglr.cli.main import main
from sglr.core.errors import UsageError
from sglr.planner.request import Request
from sglr.planner.several_cuts_time import LinksOfCuts
from sglr.planner.wall_time import MERGES, Network, Route

CUTS = "0-1=conv1,2=relu2"
ASKED = Request(
    clients=3,
    samples=72,
    model="cnn",
    cuts=CUTS,
    input_shape="1,8,8",
    classes=10,
    task="classification",
    batch_size=8,
    rate="16Mbps",
    flops_rate="10MFLOPS",
    server_flops_rate="100MFLOPS",
)


@pytest.fixture(scope="module")
def links() -> LinksOfCuts:
    return LinksOfCuts(ASKED.plan_of_cuts(), 0.1)


def test_a_step_waits_for_the_slowest_path_by_hand(links: LinksOfCuts) -> None:
    conv1, relu2 = 8 * 4 * 16 * 8 * 8, 8 * 4 * 32 * 4 * 4
    first, second = links.paths("none")
    assert (first.clients, second.clients) == ((0, 1), (2,))
    assert (first.up, first.down) == pytest.approx(((conv1 + 8 * 8) / 2e6, conv1 / 2e6))
    assert (second.up, second.down) == pytest.approx(((relu2 + 8 * 8) / 2e6, relu2 / 2e6))
    one, two = (group.scenario.work for group in links.plan.groups)
    assert one is not None and two is not None
    assert (first.client, second.client) == pytest.approx((8 * one.client / 1e7, 8 * two.client / 1e7))
    server = 8 * (2 * one.server + two.server) / 1e8
    longest = max(path.client + path.up + path.down + 0.1 for path in (first, second))
    assert longest == second.seconds
    assert links.time(Route("psl")).step == pytest.approx(server + longest)
    assert links.time(Route("psl")).epoch == pytest.approx(3 * (server + longest))
    merged = 0.1 + 2 * links.plan.groups[1].cut.client_mb / 2
    assert links.time(Route("sfl")).epoch == pytest.approx(3 * (server + longest) + merged)
    whole = links.time(Route("fl"))
    assert whole.step == pytest.approx(8 * two.whole / 1e7)
    assert whole.epoch == pytest.approx(3 * whole.step + 0.1 + 2 * links.plan.scenario.sizes.model / 2)


def test_with_a_fast_device_links_decide_and_the_others_are_waited_for(links: LinksOfCuts) -> None:
    assert links.slowest([links.time(Route("psl"))])[0].startswith("A step waits for client 2, cut behind relu2:")
    idle = LinksOfCuts(Request(**{**vars(ASKED), "flops_rate": None}).plan_of_cuts(), 0.1)
    assert idle.slowest([idle.time(Route("psl"))])[0].startswith("A step waits for clients 0, 1, cut behind conv1:")


@pytest.mark.parametrize("method", ["psl", "sfl", pytest.param("sglr", marks=pytest.mark.slow)])
def test_it_is_what_the_clock_of_a_training_says(method: str, links: LinksOfCuts) -> None:
    settings: dict[str, Any] = {"clients": 3, "samples_per_client": 24, "batch_size": 8, "epochs": 2, "threads": 1}
    clock = "10MFLOPS/16Mbps+100ms,server=100MFLOPS"
    run = sglr.train(method, dataset="digits", model="cnn", cuts=CUTS, clock=clock, **settings)
    assert run.summary is not None
    assert run.summary["modelled_time"]["seconds"] == pytest.approx(2 * links.time(Route(method)).epoch)


def test_with_one_cut_for_all_it_is_the_plan_of_that_cut() -> None:
    whole = {**vars(ASKED), "cuts": None, "cut": "conv1"}
    alike, several = Network(Request(**whole).plan(), 0.1), Request(**{**vars(ASKED), "cuts": "0-2=conv1"})
    other = LinksOfCuts(several.plan_of_cuts(), 0.1)
    for route in [Route("fl"), *(Route(name, code) for name in MERGES for code in ("none", "int8"))]:
        assert alike.time(route).epoch == pytest.approx(other.time(route).epoch), route
    split = alike.time(Route("sfl"))
    assert alike.crossover_mb(split) == pytest.approx(other.crossover_mb(split))


def test_what_several_cuts_do_not_have_is_refused(links: LinksOfCuts, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="ahead = 1: clients of a cut may have no batch"):
        links.time(Route("psl", ahead=1))
    with pytest.raises(UsageError, match="methods = gas"):
        links.time(Route("gas"))
    words = ["plan", "--model", "cnn", "--input-shape", "1,8,8", "--classes", "10", "--samples", "72", "--clients", "3"]
    for more, said in {
        ("--pilot", "3"): "a pilot trains clients that are all cut at one place",
        ("--ahead", "0,1"): "clients of a cut may have no batch",
        ("--methods", "epsl"): "no such methods",
        ("--advise",): "tells times, and advice is asked for",
        ("--target", "0.5"): "the score of a pilot, which is not asked for",
    }.items():
        assert main([*words, "--cuts", CUTS, "--rtt", "100ms", *more]) == 2
        assert said in capsys.readouterr().err
