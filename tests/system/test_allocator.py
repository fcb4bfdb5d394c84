"""Keeping freed memory is asked of glibc, and of nothing else."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from sglr.system.allocator import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_accepts_all_settings() -> None:
    """In a process of its own, since the setting can't be taken back."""
    code = "from sglr.system.allocator import keep_freed_memory; assert keep_freed_memory()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
