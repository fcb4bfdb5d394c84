"""Run the command line as ``python -m sglr``."""

from __future__ import annotations

import sys

from sglr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
