"""Table 6 by hand, the paper's worked example, and what must hold between the three views."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import UsageError
from sglr.cost.closed_forms import METHODS, SAME_AS, Sizes, broadcast, paper, point_to_point

EXAMPLE = Sizes(clients=100, samples=50_000, cut=0.024, model=200, client=67)
SMALL = Sizes(clients=4, samples=40, cut=3, model=500, client=100)
VIEWS = (paper, broadcast, point_to_point)

SIZES = st.builds(
    lambda clients, per_client, cut, model, share: Sizes(clients, clients * per_client, cut, model, model * share),
    clients=st.integers(1, 500),
    per_client=st.integers(1, 5_000),
    cut=st.floats(1e-3, 1e3),
    model=st.floats(1e-3, 1e6),
    share=st.floats(0, 1),
)
PHI = st.floats(0, 1)


def test_the_papers_worked_example_comes_out_exactly():
    sglr, sfl, fl = (paper(method, EXAMPLE, phi=0.5).total for method in ("sglr", "sfl", "fl"))
    assert f"{1 - sglr / sfl:.1%}" == "88.6%"
    assert f"{1 - sglr / fl:.1%}" == "95.5%"


# 2 |D| S(L) = 240, 2 |C| S(w) = 4000, 2 |C| S(w_c) = 800; SGLR at φ = 0.5 is 1.5 · 120 + 3.
@pytest.mark.parametrize(
    ("method", "per_client", "total", "in_turn"),
    [("fl", 1000, 4000, 1000), ("psl", 60, 240, 240), ("sfl", 260, 1040, 260), ("sglr", 45.75, 183, 45.75)],
)
def test_table_6_by_hand(method, per_client, total, in_turn):
    volume = paper(method, SMALL, phi=0.5)
    assert (volume.per_client, volume.total, volume.in_turn) == (per_client, total, in_turn)
    assert volume.seconds(rate=10, compute=7) == 7 + in_turn / 10


# One medium: |C| + 1 weights; of two active clients' gradients (2 · 10 · 3 = 60) one copy remains.
@pytest.mark.parametrize(("method", "total"), [("fl", 2500), ("psl", 240), ("sfl", 740), ("sglr", 210)])
def test_broadcast_by_hand(method, total):
    volume = broadcast(method, SMALL, phi=0.5)
    assert (volume.per_client, volume.total, volume.in_turn) == (total / 4, total, total)


@pytest.mark.parametrize(
    ("method", "together", "apart"), [("epsl", 195, 240), ("mix2sfl", 210 + 500, 240 + 800)], ids=["epsl", "mix2sfl"]
)
def test_methods_that_table_6_does_not_have(method, together, apart):
    """EPSL at φ = ½: of half of what goes down (4 · 15) one of four copies is left; Mix2SFL is SGLR and SFL."""
    assert broadcast(method, SMALL, phi=0.5).total == together
    assert point_to_point(method, SMALL, phi=0.5).total == apart
    with pytest.raises(UsageError, match=f"method = {method}: no such method"):
        paper(method, SMALL, phi=0.5)


@pytest.mark.parametrize("batch", [1, 2, 5, 10])
def test_broadcast_counts_one_average_per_step(batch):
    """Summed over steps, message by message, for any batch size."""
    steps, active = SMALL.samples // SMALL.clients // batch, 3
    up = SMALL.clients * batch * SMALL.cut
    down = (SMALL.clients - active) * batch * SMALL.cut + batch * SMALL.cut
    assert broadcast("sglr", SMALL, phi=active / SMALL.clients).total == steps * (up + down)


@pytest.mark.parametrize(("method", "total"), [("fl", 4000), ("psl", 240), ("sfl", 1040), ("sglr", 240)])
def test_point_to_point_by_hand(method, total):
    volume = point_to_point(method, SMALL, phi=0.5)
    assert (volume.per_client, volume.total, volume.in_turn) == (total / 4, total, total / 4)


@given(SIZES)
def test_without_active_clients_sglr_sends_what_psl_sends_and_the_paper_adds_one_sample(sizes):
    for view in (broadcast, point_to_point):
        assert view("sglr", sizes, phi=0) == view("psl", sizes)
    assert paper("sglr", sizes, phi=0).total == pytest.approx(paper("psl", sizes).total + sizes.cut)


@given(SIZES, PHI, PHI)
def test_more_active_clients_never_send_more(sizes, first, second):
    few, many = sorted((first, second))
    for view in VIEWS:
        assert view("sglr", sizes, many).total <= view("sglr", sizes, few).total


@given(SIZES, PHI)
def test_a_broadcast_never_sends_more_than_separate_links(sizes, phi):
    for method in METHODS:
        assert broadcast(method, sizes, phi).total <= point_to_point(method, sizes, phi).total


@given(SIZES, PHI)
def test_the_papers_sglr_understates_the_broadcast(sizes, phi):
    """It counts one sample of the average where there are |D|/|C|; true as soon as one client is active."""
    if phi * sizes.clients >= 1:
        assert paper("sglr", sizes, phi).total <= broadcast("sglr", sizes, phi).total * (1 + 1e-12)


@given(SIZES, PHI)
def test_paper_and_separate_links_agree_on_all_but_sglr(sizes, phi):
    for method in set(METHODS) - {"sglr"}:
        assert paper(method, sizes, phi).total == point_to_point(method, sizes, phi).total
    for method in set(METHODS) - {"sglr", "psl"}:
        assert paper(method, sizes, phi).in_turn == point_to_point(method, sizes, phi).in_turn


@given(SIZES, PHI)
def test_sfl_is_psl_with_weights_and_the_unit_does_not_matter(sizes, phi):
    for view in VIEWS:
        assert view("sfl", sizes).total >= view("psl", sizes).total
        assert view("sfl", replace(sizes, client=0)).total == view("psl", sizes).total
        larger = replace(sizes, cut=sizes.cut * 1024, model=sizes.model * 1024, client=sizes.client * 1024)
        for method in METHODS:
            assert view(method, larger, phi).total == pytest.approx(1024 * view(method, sizes, phi).total)


@pytest.mark.parametrize("view", VIEWS)
def test_halves_of_sglr_send_what_their_row_says(view):
    for half, row in SAME_AS.items():
        assert view(half, SMALL, 0.5) == view(row, SMALL, 0.5)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"clients": 0}, "clients"),
        ({"samples": -1}, "samples"),
        ({"cut": 0.0}, "cut"),
        ({"model": float("nan")}, "model"),
        ({"model": float("inf")}, "model"),
        ({"client": -1.0}, "client"),
        ({"client": 501.0}, "client"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(change, field):
    with pytest.raises(UsageError) as caught:
        replace(SMALL, **change)
    assert caught.value.field == field


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("method", "phi", "field"), [("sglr", 1.1, "phi"), ("sglr", -0.1, "phi"), ("sgd", 0, "method")]
)
def test_unknown_methods_and_phi_out_of_range_are_refused(view, method, phi, field):
    with pytest.raises(UsageError) as caught:
        view(method, SMALL, phi)
    assert caught.value.field == field


@pytest.mark.parametrize(("rate", "compute", "field"), [(0, 0, "rate"), (-1, 0, "rate"), (1, -1, "compute")])
def test_no_time_without_a_rate(rate, compute, field):
    with pytest.raises(UsageError) as caught:
        paper("fl", SMALL).seconds(rate, compute)
    assert caught.value.field == field
