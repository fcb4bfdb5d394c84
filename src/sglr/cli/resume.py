"""``sglr resume``: go on with a run that was stopped."""

from __future__ import annotations

import sys

from sglr.cli.options import AsJson, Debug, Quiet, RunFolder


def resume(run: RunFolder, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Go on with a run that was stopped, from its newest checkpoint.

    It ends with the same weights as if it had never been stopped. A finished run is left as it is.
    """
    del debug
    from sglr.cli.result import print_result
    from sglr.cli.watch import watching
    from sglr.experiment import resume as go_on

    with watching(quiet) as watch:
        finished = go_on(run, observe=watch.observe, stop=watch.stop, say=lambda line: print(line, file=sys.stderr))
    print_result(finished, as_json)
