"""Run the command line, as ``python -m sglr`` and as the command ``sglr``."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run what was typed.

    Until a command answers to Ctrl-C itself, it ends the process at once and silently, as a shell expects: with exit
    code 130. Python's own answer would be a traceback, even from within the imports, which take a second.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sglr.cli.main import main as run
    from sglr.cli.streams import settle_encoding
    from sglr.system.allocator import use_large_pages
    from sglr.system.waiting import wait_briefly

    settle_encoding()
    wait_briefly()
    use_large_pages()
    return run()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current directory, where a stranger's folder may have a torch.py
    sys.exit(main())
