"""What a link says, and when bytes that enter it come out, by hand."""

from __future__ import annotations

import math
import random

import pytest

from sglr.core.errors import UsageError
from sglr.engines.remote.link.link import PACKET, Direction, Link, read_links


class Drawn(random.Random):
    """Draws what it is told."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = list(values)

    def random(self) -> float:
        return self.values.pop(0)

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.values.pop(0)


def test_a_link_is_read_in_units():
    assert Link.parse("rtt=100ms,rate=20Mbit,jitter=10ms,loss=1%") == Link(0.1, 2.5e6, 0.01, 0.01)
    assert Link.parse(" rate=1 MB/s ") == Link(0.0, 1e6)
    assert Link.parse("rtt=0.2s,loss=0.5") == Link(0.2, math.inf, 0.0, 0.5)


def test_bytes_leave_at_the_rate_and_arrive_half_a_round_trip_later():
    way = Direction(Link(rtt=0.1, rate=1000), Drawn(*[0.5] * 4))
    assert way.send(10.0, 500) == pytest.approx((10.5, 10.55))
    assert way.send(10.1, 500) == pytest.approx((11.0, 11.05)), "behind what is being sent"
    assert way.send(20.0, 100) == pytest.approx((20.1, 20.15)), "an idle link saves nothing up"
    assert way.send(20.1, 0) == pytest.approx((20.1, 20.15)), "the end comes behind all bytes"


def test_jitter_changes_no_order():
    way = Direction(Link(rtt=0.1, jitter=0.1), Drawn(1.0, 0.0))
    assert way.send(1.0, 10) == pytest.approx((1.0, 1.1))
    assert way.send(1.01, 10) == pytest.approx((1.01, 1.1)), "it would arrive at 1.01, before the first"


def test_a_lost_packet_comes_a_round_trip_later_and_what_follows_waits():
    way = Direction(Link(rtt=0.1, loss=0.1), Drawn(0.5, 0.18, 0.5, 0.2))
    two = 2 * PACKET
    assert way.send(1.0, two) == pytest.approx((1.0, 1.15)), "0.18 is below 1 - 0.9 ** 2 = 0.19"
    assert way.send(1.01, two) == pytest.approx((1.01, 1.15)), "0.2 is not, but the first comes first"


def test_clients_have_links_of_their_own():
    slow, fast = Link.parse("rtt=200ms"), Link.parse("rtt=10ms,rate=1Gbit")
    assert read_links("rtt=200ms", 2) == {0: slow, 1: slow}
    assert read_links("0-1=rtt=200ms; 3=rtt=10ms,rate=1Gbit", 5) == {0: slow, 1: slow, 3: fast}
    assert read_links("rtt=200ms;1=rtt=10ms,rate=1Gbit;", 3) == {0: slow, 1: fast, 2: slow}
    assert read_links("none", 3) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rtt=-5ms", "link: rtt = -5ms: is below zero"),
        ("rtt=5", "link: rtt = 5: has no unit"),
        ("rtt=9s", "no handshake succeeds"),
        ("rate=0Mbit", "link: rate = 0Mbit: is not above zero"),
        ("rate=1kbit", "give 10kbit or more"),
        ("rate=fast", "does not begin with a number"),
        ("rtt=10ms,jitter=20ms", "the jitter is greater than the rtt"),
        ("rtt=10ms,loss=100%", "link: loss = 100%: not a share of packets"),
        ("rtt=10ms,loss=-1", "not a share of packets"),
        ("loss=1%", "the rtt is 0"),
        ("delay=10ms", "unknown option 'delay' for link"),
        ("rtt=10ms,rtt=20ms", "option 'rtt' is given twice"),
        ("20Mbit", "'20Mbit' is not key=value; write it like rtt=100ms,rate=20Mbit"),
        ("20Mbps+100ms", "is not key=value; write it like rtt=100ms,rate=20Mbit"),
        ("3=", "it says nothing"),
        ("3=rtt=10ms", "there is no client 3; there are 3, 0 to 2"),
        ("0-7=rtt=10ms", "there is no client 7"),
        ("2-1=rtt=10ms", "2-1 are no clients"),
        ("0=rtt=10ms;0-1=rtt=20ms", "client 0 has two links"),
        ("rtt=10ms;rtt=20ms", "two links are for all other clients"),
    ],
)
def test_a_link_that_makes_no_sense_is_named(text, told):
    with pytest.raises(UsageError) as error:
        read_links(text, 3)
    assert told in str(error.value)
    assert str(error.value).startswith("link")
