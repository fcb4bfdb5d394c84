"""A training takes the cores that other programs leave free, and goes on with as many."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sglr.system.cores import usable_cores
from sglr.system.neighbours import (
    OWN_CHOICE,
    STAT,
    FreeCores,
    Look,
    busy_seconds,
    find_free_cores,
    free_cores,
    quota,
)

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
STAT_TEXT = """cpu  9999 9999 9999 9999 9999 9999 9999 9999 9999 9999
cpu0 100 20 30 4000 50 6 7 8 0 0
cpu1 200 0 0 4000 0 0 0 0 0 0
cpu10 400 0 0 4000 0 0 0 0 0 0
intr 5
"""
"""User, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen, and two of guests."""


def test_what_gives_way_is_not_busy_nor_is_a_core_where_this_process_may_not_run():
    assert busy_seconds(STAT_TEXT, frozenset({0})) == (100 + 30 + 6 + 7 + 8) / TICKS
    assert busy_seconds(STAT_TEXT, frozenset({0}), gives_way=True) == (100 + 20 + 30 + 6 + 7 + 8) / TICKS
    assert busy_seconds(STAT_TEXT, frozenset({1, 10})) == 600 / TICKS


def test_others_are_what_is_busy_beside_this_process():
    """In two seconds cores were busy for 3.0 s, 1.0 of them for this process: others kept one core busy."""
    assert Look(10.0, 50.0, 4.0).cores_of_others(Look(12.0, 53.0, 5.0)) == pytest.approx(1.0)
    assert Look(10.0, 50.0, 4.0).cores_of_others(Look(12.0, 50.9, 5.0)) == 0.0


@pytest.mark.parametrize(
    ("cores", "of_others", "allowed", "threads"),
    [
        (2, 0.0, None, 2),
        (2, 0.4, None, 2),
        (2, 0.5, None, 1),
        (2, 3.0, None, 1),
        (16, 9.7, None, 6),
        (16, 0.1, 4.0, 4),
        (16, 14.0, 4.0, 2),
        (16, 0.0, 0.5, 1),
    ],
)
def test_a_thread_for_every_core_that_is_free_and_allowed(
    cores: int, of_others: float, allowed: float | None, threads: int
):
    assert free_cores(cores, of_others, allowed) == threads


def test_quotas_of_control_groups():
    assert quota("150000 100000\n") == 1.5
    assert quota("max 100000\n") is None
    assert quota(None) is None


def test_why_is_told():
    assert FreeCores(1, 2).text == "1 on 2 cores: other programs use the others (--threads 2 takes all)"
    assert FreeCores(4, 16, 4.0).text == "4 on 16 cores: the control group allows no more (--threads 16 takes all)"


def test_a_user_who_has_chosen_is_left_alone():
    for name in OWN_CHOICE:
        assert find_free_cores(Look(0.0, 0.0, 0.0), {name: "2"}) is None
    assert find_free_cores(None, {}) is None


@contextmanager
def busy(number: int) -> Iterator[None]:
    """Run processes that compute without pause."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not STAT.is_file() or len(usable_cores()) == 1, reason="needs Linux and two cores")
def test_a_training_beside_others_leaves_them_their_cores_and_says_so(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if name not in OWN_CHOICE}
    words = [sys.executable, "-m", "sglr", "train", "--model", "mlp", "--epochs", "1", "--clients", "2"]

    def train(folder: str, *more: str) -> tuple[str, int | None]:
        done = subprocess.run(
            [*words, "--out", str(tmp_path / folder), *more],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        settings = tomllib.loads((tmp_path / folder / "config.toml").read_text())
        return done.stderr, settings.get("threads")

    cores = len(usable_cores())
    with busy(cores):
        told, threads = train("beside")
        assert threads is not None
        assert threads < cores
        assert f"threads {threads} on {cores} cores: " in told
        told, threads = train("chosen", "--threads", str(cores))
        assert threads == cores
        assert "threads " not in told
        environment["OMP_NUM_THREADS"] = "1"
        told, threads = train("by-environment")
        assert threads is None
        assert "threads " not in told
