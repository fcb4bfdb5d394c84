"""Run the command line, as ``python -m sglr`` and as the command ``sglr``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run what was typed; Ctrl-C while the command line is being imported ends silently, with exit code 1."""
    try:
        from sglr.cli.main import main as run
    except KeyboardInterrupt:
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
