"""Keeping freed memory is asked of glibc, and of nothing else; large tensors lie in large pages."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sglr.system.allocator import LARGE_PAGES, keep_freed_memory, use_large_pages

ALLOWED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
AFTER_A_TENSOR = """
import sys
from pathlib import Path
from sglr.__main__ import main

sys.argv = ["sglr", "version"]
main()
import torch

kept = torch.ones(1 << 25)
lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("AnonHugePages")))
"""
"""Prints how many KiB of this process are in large pages, beside a tensor of 128 MiB."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_accepts_all_settings() -> None:
    """In a process of its own, since the setting can't be taken back."""
    code = "from sglr.system.allocator import keep_freed_memory; assert keep_freed_memory()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def large_pages(**chosen: str) -> int:
    """Return the KiB in large pages of a process that the command line has prepared."""
    environment = {name: value for name, value in os.environ.items() if name != LARGE_PAGES} | chosen
    words = [sys.executable, "-c", AFTER_A_TENSOR]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.skipif(
    not ALLOWED.is_file() or "[madvise]" not in ALLOWED.read_text(), reason="the kernel gives them to all, or to none"
)
def test_large_tensors_lie_in_large_pages_unless_the_user_has_chosen() -> None:
    with_them = large_pages()
    if with_them == 0:
        pytest.skip("the kernel has none to give")
    assert with_them >= (128 << 10) * 0.9
    assert large_pages(**{LARGE_PAGES: "0"}) < (128 << 10) * 0.1


def test_a_user_who_has_chosen_pages_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    environment: dict[str, str] = {}
    assert use_large_pages(environment)
    assert environment == {LARGE_PAGES: "1"}
    for value in ("0", "1", ""):
        chosen = {LARGE_PAGES: value}
        assert not use_large_pages(chosen)
        assert chosen == {LARGE_PAGES: value}


def test_once_torch_is_there_large_pages_are_too_late() -> None:
    import torch

    del torch
    environment: dict[str, str] = {}
    assert not use_large_pages(environment)
    assert not environment
