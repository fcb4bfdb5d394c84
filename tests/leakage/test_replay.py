"""Attacks that take part in the training, and what stops them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sglr
from sglr.core.errors import SglrError, UsageError
from sglr.leakage.replay import replay
from sglr.privacy.attacks.backdoor import Backdoor
from sglr.privacy.attacks.fsha import Fsha
from sglr.runs.folder import Run


def trained(out: Path, method: str = "psl", **settings: Any) -> Run:
    chosen = {"clients": 4, "epochs": 1, "threads": 1, "stacking": "stacked", **settings}
    return sglr.train(method, dataset="digits", model="cnn", out=out, **chosen)


@pytest.fixture(scope="module")
def brief(once: Callable[[str, Callable[[Path], object]], Path]) -> Run:
    return Run.open(once("replayed", lambda path: trained(path, samples_per_client=64, clients=3)))


def test_a_replay_is_the_same_every_time_and_leaves_the_run_alone(brief: Run) -> None:
    files = {path: path.stat().st_mtime_ns for path in brief.path.rglob("*")}
    first, second = (replay(brief, Backdoor()) for _ in range(2))
    assert first.score == second.score
    assert first.details == second.details
    assert {path: path.stat().st_mtime_ns for path in brief.path.rglob("*")} == files


@pytest.mark.slow
def test_hijacking_is_the_same_every_time(brief: Run) -> None:
    drawn = torch.get_rng_state()
    first = replay(brief, Fsha(samples=16))
    torch.set_rng_state(drawn)
    assert replay(brief, Fsha(samples=16)).score == first.score


@pytest.mark.slow
def test_hijacking_answers_plain_steps_alone(tmp_path: Path) -> None:
    run = trained(tmp_path / "epsl", "epsl", samples_per_client=64, clients=3)
    with pytest.raises(UsageError, match=r"method = EPSL: the method's server makes steps of its own \(by_outputs\)"):
        replay(run, Fsha(samples=16))


def test_a_replay_tells_how_far_it_is(brief: Run) -> None:
    seen: list[object] = []
    replay(brief, Backdoor(), observe=seen.append)
    assert len(seen) > 8


def test_one_that_only_reads_the_wire_cannot_choose_gradients(brief: Run) -> None:
    with pytest.raises(UsageError, match="free choice of what the server sends"):
        replay(brief, Fsha(), attacker="outsider")


@pytest.mark.parametrize(
    ("options", "about"),
    [({"attackers": 3}, "attackers"), ({"label": 10}, "label"), ({"size": 8}, "size")],
)
def test_a_backdoor_that_does_not_fit_the_run_is_refused(brief: Run, options: dict[str, int], about: str) -> None:
    with pytest.raises(UsageError, match=f"^{about} ="):
        replay(brief, Backdoor(**options))


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.5}, {"attackers": 0}, {"size": 0}])
def test_a_backdoor_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Backdoor(**options)


@pytest.mark.slow
def test_a_backdoor_reaches_others_where_segments_are_shared_and_hardly_where_they_start_and_stay_apart(
    tmp_path: Path,
) -> None:
    shared = replay(trained(tmp_path / "sfl", "sfl", epochs=10), Backdoor())
    apart = replay(trained(tmp_path / "psl", "psl", epochs=10, init="independent"), Backdoor())
    alike = replay(trained(tmp_path / "alike", "psl", epochs=10), Backdoor())
    assert shared.succeeds
    assert shared.score.value > 0.8
    assert apart.score.value < 0.3
    # Segments that start alike stay alike enough.
    assert apart.score.value < alike.score.value < shared.score.value
    clean, poisoned = shared.details["accuracy_without_attack"].value, shared.details["accuracy"].value
    assert poisoned > clean - 0.05


@pytest.mark.slow
def test_scrutiny_stops_a_hijacking_and_lets_honest_training_be(tmp_path: Path) -> None:
    run = trained(tmp_path / "watched", epochs=3, defence="scrutiny")
    seen: list[object] = []
    with pytest.raises(SglrError, match="gradients of equal labels are no more alike"):
        replay(run, Fsha(labels=False), observe=seen.append)
    undefended = trained(tmp_path / "plain", epochs=10)
    found = replay(undefended, Fsha())
    assert found.succeeds
    # 0.63 of the mean image's error after 10 epochs from a common start.
    assert found.score.value < 0.7 * found.baseline.value
