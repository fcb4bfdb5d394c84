"""Run sglr's command line, and wait after each epoch until the next may begin: ``paced_sglr.py FOLDER train …``."""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path) -> int:
    """Run what was typed, as the command ``sglr`` does."""
    from sglr.system.waiting import wait_briefly

    wait_briefly()  # before torch is imported, which an event does
    from sglr.__main__ import main as run
    from sglr.cli import progress
    from sglr.core.events import EpochDone

    def wait_for_leave(_: object, event: object) -> None:
        if isinstance(event, EpochDone):
            with (folder / "done").open("w", encoding="utf-8") as pipe:
                pipe.write(f"{event.epoch}\n")
            with (folder / "go").open(encoding="utf-8") as pipe:
                pipe.readline()

    progress.PlainProgress.observe = wait_for_leave
    return run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv.pop(1))))
