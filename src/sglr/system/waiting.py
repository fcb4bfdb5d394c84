"""How long threads that wait for one another compute in vain, before torch starts its threads.

By default OpenMP's threads spin for milliseconds at the end of every operation. Where another program has their core,
the others spin while they could give way to the one that they wait for: a training on all cores beside one busy
process is then slower than on one core. With few spins they sleep instead, and nothing of the result changes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

OWN_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Environment variables by which a user says how threads wait."""

SPINS = 3000
"""Some 100 µs: longer than most waits of a training that has its cores for itself; sleeping then costs little."""


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Have GNU OpenMP's threads, which are those of torch's packages on Linux, sleep after `SPINS` spins.

    It must be called before torch is imported, since OpenMP reads the environment once, and has no effect on other
    implementations of OpenMP.

    Returns
    -------
    bool
        Whether it was set: False if the user has chosen, or if torch is imported already.
    """
    if "torch" in sys.modules or any(name in environment for name in OWN_CHOICE):
        return False
    environment["GOMP_SPINCOUNT"] = str(SPINS)
    return True
