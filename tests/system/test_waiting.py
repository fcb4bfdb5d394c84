"""Threads sleep soon while they wait, unless the user has chosen otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sglr.system.waiting import OWN_CHOICE, SPINS, wait_briefly


def told(**given: str) -> str:
    """Return what OpenMP says of its settings as the command line loads torch."""
    environment = {name: value for name, value in os.environ.items() if name not in OWN_CHOICE}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **given}
    code = "import sys; from sglr.__main__ import main; sys.argv = ['sglr', 'version']; main(); import torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torch has GNU OpenMP on Linux")
def test_openmp_reads_it_as_the_command_line_starts():
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in told()
    assert f"GOMP_SPINCOUNT = '{SPINS}'" not in told(OMP_WAIT_POLICY="active")


def test_a_user_who_has_chosen_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    environment: dict[str, str] = {}
    assert wait_briefly(environment)
    assert environment == {"GOMP_SPINCOUNT": str(SPINS)}
    for name in OWN_CHOICE:
        chosen = {name: "passive"}
        assert not wait_briefly(chosen)
        assert chosen == {name: "passive"}


def test_once_torch_is_there_it_is_too_late():
    import torch

    del torch
    environment: dict[str, str] = {}
    assert not wait_briefly(environment)
    assert not environment
