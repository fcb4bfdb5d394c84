"""A client's process loads the client's modules, and none of the server's."""

from __future__ import annotations

import subprocess
import sys

SERVERS = ("sglr.engines.remote.server", "sglr.engines.remote.engine", "sglr.parties.server", "sglr.core.trainer")


def test_what_sglr_join_imports_holds_nothing_of_the_servers() -> None:
    imports = "import sglr.cli.join, sglr.sites.join, sglr.sites.check, sglr.sites.doctor, sys"
    code = f"{imports}; print(*(name for name in sys.modules if name.startswith({SERVERS})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
