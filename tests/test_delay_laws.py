"""Laws 2 and 5 where gradients are old, clients exchange in every h-th step alone, or batches wait in a buffer.

Where clients live makes no difference, to rounding; and a run that is stopped anywhere and resumed ends with the same
bits. Between sites and on a cluster: tests/sites/test_pipelining.py, tests/sites/test_parity.py and
tests/engines/ray/test_parity.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import assert_close, covering
from tests.some_methods import make_method
from tests.test_laws import assert_identical, run_until

from sglr.core.method import Method
from sglr.core.plan import Progress
from sglr.core.registry import METHODS
from sglr.data.stragglers import Pace

DEPTHS = (1, 3, 8)
SIZES = (15, 9, 4, 12)
"""In batches of three: a client ends long before the others, one has a last batch of one sample."""

AHEAD = [
    name
    for name in METHODS.names()
    if make_method(name).answered
    and not (make_method(name).whole_model or make_method(name).merges_inside_epoch)
    and make_method(name).settings.get("batching", "local") == "local"
]
"""Methods whose clients can compute ahead of their gradients."""

INTERVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "cse-fsl, h = 2": ("cse-fsl", {"h": 2}),
    "cse-fsl, h = 3": ("cse-fsl", {"h": 3}),
    "fsl-sage, h = 2": ("fsl-sage", {"h": 2, "align_every": 1, "align_epochs": 2, "memory": 7}),
    "fsl-sage, h = 3, aligned in every second epoch": (
        "fsl-sage",
        {"h": 3, "align_every": 2, "align_epochs": 2, "memory": 7},
    ),
}
PACE = Pace(np.array([0.1, 0.1, 0.2, 0.1]), np.array([0.1, 0.35, 0.15, 0.9]), 0.01)
"""The third client has the longest way, the last takes nine times as long as the first."""

LATE = ["buffer:1", "buffer:2,power=1", "buffer:3", "quorum:2", "deadline:0.8", "deadline:0.5,fewest=2"]
JOINT = ["psl", "sglr", "sfl"]


def late(rule: str) -> dict[str, Any]:
    """Return what a training with late clients has."""
    return {"sizes": SIZES, "stragglers": rule, "pace": PACE}


def assert_stacked_equals_looped(case: Any, state_of: Any, method: Method, **options: Any) -> None:
    common = {"optimizer": "sgd:momentum=0.9", "participation": 0.8, **options}
    stacked, looped = (state_of(case(method, stacking=form, **common).run()) for form in ("stacked", "looped"))
    assert_close(stacked, looped, atol=1e-10, rtol=1e-10)


def assert_resumes(case: Any, state_of: Any, method: Method, **options: Any) -> None:
    """Stop at three places, of which one is followed by a second stop, and go on."""
    training = case(method, optimizer="adam", compression="topk:0.4,feedback=true", **options)
    whole, records, _ = run_until(training.build, None, None)
    steps = whole.progress.steps
    for stop_after in sorted({1, steps // 2, steps - 1}):
        _, seen, saved = run_until(training.build, stop_after, None)
        if 1 < stop_after < steps - 2:
            _, more, saved = run_until(training.build, stop_after + 2, saved)
            seen += more
        resumed, more, _ = run_until(training.build, None, saved)
        assert_identical(state_of(whole), state_of(resumed))
        assert records == seen + more
        assert _timeless(whole.progress) == _timeless(resumed.progress)


def _timeless(progress: Progress) -> dict[str, Any]:
    return {name: value for name, value in vars(progress).items() if name != "seconds"}


def test_most_methods_can_compute_ahead() -> None:
    assert {"psl", "sglr", "sglr2", "sfl", "ssl", "splitgp", "locfedmix-sl", "cyclesl"} <= set(AHEAD)
    assert not {"fl", "cl", "cse-fsl", "fsl-sage"} & set(AHEAD)


@covering(name=AHEAD, depth=list(DEPTHS), more=[{}, {"accumulate": 2, "delay_compensation": 0.5}])
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped_at_every_depth(case, state_of, name: str, depth: int, more: dict[str, Any]) -> None:
    if "accumulate" in more and not METHODS.load(name).accumulates:
        more = {"delay_compensation": 0.5}
    assert_stacked_equals_looped(case, state_of, make_method(name), sizes=SIZES, ahead=depth, **more)


@covering(name=AHEAD, depth=list(DEPTHS), leave=[False, True])
def test_resumed_equals_uninterrupted_at_every_depth(case, state_of, name: str, depth: int, leave: bool) -> None:
    options = {"sizes": SIZES, "participation": 0.8, "clients_leave": leave, "delay_compensation": 0.5}
    assert_resumes(case, state_of, make_method(name), ahead=depth, **options)


@pytest.mark.parametrize("name", INTERVALS)
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped_where_clients_send_every_h_th_batch(case, state_of, name: str) -> None:
    method, options = INTERVALS[name]
    assert_stacked_equals_looped(case, state_of, METHODS.load(method)(**options), sizes=SIZES)


@pytest.mark.parametrize("name", INTERVALS)
def test_resumed_equals_uninterrupted_where_clients_send_every_h_th_batch(case, state_of, name: str) -> None:
    method, options = INTERVALS[name]
    chosen = METHODS.load(method)(**options)
    assert_resumes(case, state_of, chosen, sizes=SIZES, participation=0.8)


@covering(name=JOINT, rule=LATE)
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped_with_late_clients(case, state_of, name: str, rule: str) -> None:
    assert_stacked_equals_looped(case, state_of, make_method(name), participation=1.0, **late(rule))


@covering(name=JOINT, rule=LATE)
def test_resumed_equals_uninterrupted_with_late_clients(case, state_of, name: str, rule: str) -> None:
    assert_resumes(case, state_of, make_method(name), **late(rule))


def test_rules_are_not_all_alike(case, state_of) -> None:
    """Else the laws above would say nothing of delay."""
    waits = state_of(case(make_method("psl"), sizes=SIZES).run())
    for rule in LATE:
        other = state_of(case(make_method("psl"), **late(rule)).run())
        key = "server.segment.weights.0.weight"
        assert not torch.allclose(waits[key], other[key], atol=1e-5), rule
