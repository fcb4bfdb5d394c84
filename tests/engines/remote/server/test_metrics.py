"""Metrics: what is counted, that labels stay few whatever a stranger sends, and that only this machine may read."""

from __future__ import annotations

import socket
import threading
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import UsageError
from sglr.engines.remote.server.metrics import KINDS, REASONS, Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"sglr_{name}", labels) or 0.0


def series(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in metrics.registry.collect())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_messages_and_bytes_are_counted_by_kind_and_by_client():
    metrics = Metrics(clients=3)
    metrics.message(2, "smashed", True, 1000)
    metrics.message(2, "gradient", False, 600)
    metrics.message(1, "smashed", True, 500)
    assert value(metrics, "messages_total", kind="smashed", direction="up") == 2
    assert value(metrics, "bytes_total", kind="smashed", direction="up") == 1500
    assert value(metrics, "client_bytes_total", client="2", direction="up") == 1000
    assert value(metrics, "client_bytes_total", client="2", direction="down") == 600


def test_a_step_is_split_into_wait_compute_and_network():
    metrics = Metrics()
    metrics.step(wait=0.5, compute=0.25, network=0.125)
    metrics.step(wait=0.5, compute=0.25, network=0.125)
    sums = {part: value(metrics, "step_seconds_sum", part=part) for part in ("wait", "compute", "network")}
    assert sums == {"wait": 1.0, "compute": 0.5, "network": 0.25}
    assert value(metrics, "step_seconds_count", part="wait") == 2


def test_absences_rejects_round_trips_and_connections():
    metrics = Metrics(clients=3)
    metrics.absent(1)
    metrics.rejected(1, "values")
    metrics.rejected(None, "certificate")
    metrics.round_trip(0, 0.004)
    metrics.connected(2)
    assert value(metrics, "absences_total", client="1") == 1
    assert value(metrics, "rejected_total", client="1", reason="values") == 1
    assert value(metrics, "rejected_total", client="unknown", reason="certificate") == 1
    assert value(metrics, "client_round_trip_seconds", client="0") == 0.004
    assert value(metrics, "round_trip_seconds_count") == 1
    assert value(metrics, "connected_clients") == 2


@given(st.lists(st.tuples(st.integers(), st.text(), st.booleans()), max_size=60))
def test_no_stranger_can_make_labels_grow(events):
    metrics = Metrics(clients=2)
    before = series(metrics)
    for client, text, up in events:
        metrics.message(client, text, up, 1)
        metrics.rejected(client, text)
        metrics.absent(client)
        metrics.round_trip(client, 0.1)
    # Two clients and "other"; every label's values are known beforehand.
    assert series(metrics) - before <= 2 * (2 * 2 + 2 * 3 + 3 * len(REASONS) + 3) + 3


def test_all_kinds_of_the_protocol_are_known():
    assert {"smashed", "gradient", "weights", "hello", "welcome", "finish"} <= KINDS


def test_it_is_served_on_loopback_until_it_is_stopped():
    metrics, port = Metrics(), free_port()
    metrics.connected(7)
    threads = threading.active_count()
    stop = metrics.start(f"127.0.0.1:{port}")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert "sglr_connected_clients 7.0" in answer.read().decode()
    with pytest.raises(UsageError, match="cannot listen there"):
        Metrics().start(f"127.0.0.1:{port}")
    stop()
    assert threading.active_count() == threads
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize("address", ["0.0.0.0:9743", "192.0.2.1:9743", "[::]:9743", "example.org:9743"])
def test_others_may_not_read_them(address):
    with pytest.raises(UsageError, match=r"give 127\.0\.0\.1:9743"):
        Metrics().start(address)


def test_a_port_that_is_taken_is_told_with_the_flag_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"prometheus = {address}: cannot listen there"):
            Metrics().start(address)
