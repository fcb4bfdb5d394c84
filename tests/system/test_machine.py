"""The machine as reports name it."""

from __future__ import annotations

import os

from sglr.system.machine import CPU_INFO, describe_machine


def test_the_machine_is_told_in_words() -> None:
    found = describe_machine()
    assert {"system", "processor", "cores"} <= found.keys() <= {"system", "processor", "cores", "gpu"}
    assert all(found.values())
    assert found["cores"].endswith(str(os.cpu_count()))
    if CPU_INFO.is_file() and "model name" in CPU_INFO.read_text(encoding="utf-8"):
        assert found["processor"] in CPU_INFO.read_text(encoding="utf-8")
