"""Fuzz the decoder under the guidance of coverage; a person runs it, no test does.

From the repository's root, with ``pip install atheris`` (Python 3.11, Linux):

    python -m tests.engines.remote.wire.fuzz_atheris -max_total_time=300

Arguments are libFuzzer's; a folder among them keeps the frames that reached something new, and what made it fail is
written to the folder of ``-artifact_prefix=``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["sglr.engines.remote.wire"]):
    from sglr.engines.remote.wire import frames, layouts  # noqa: F401 - imported to be instrumented

from .made_up import typical_frames
from .mutations import examine, mutate

FRAMES = typical_frames()


def damage(data: bytes, most: int, seed: int) -> bytes:
    """Change ``data`` as libFuzzer does, or in a way that knows how a frame is made."""
    rng = Random(seed)
    return atheris.Mutate(data, most) if rng.random() < 0.5 else mutate(data, rng, FRAMES)[:most]


def main() -> None:
    """Begin with one frame of every message."""
    with tempfile.TemporaryDirectory() as folder:
        for number, frame in enumerate(FRAMES):
            (Path(folder) / str(number)).write_bytes(frame)
        atheris.Setup([*sys.argv, folder], lambda data: examine(data) and None, custom_mutator=damage)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
