"""Keep freed memory in the process, and keep large tensors in large pages, so that steps don't wait for the memory."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import MutableMapping

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Environment variable by which torch's allocator asks Linux for pages of 2 MiB, for tensors of at least as much."""

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8


def keep_freed_memory() -> bool:
    """Make glibc reuse freed blocks of any size; return False without glibc.

    By default glibc returns every freed block above 32 MiB to the system and gets zeroed pages for the
    next one. Activations of many clients are such blocks: measured on 2 cores, a stacked step of 100 clients of the
    small CNN takes half the time with this setting. Threads share one heap: heaps per thread
    can't contain blocks above 64 MiB.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    wanted = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 1 << 28, M_ARENA_MAX: 1}
    accepted = [mallopt(setting, value) for setting, value in wanted.items()]
    return all(accepted)


def use_large_pages(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Have torch keep large tensors in large pages, where Linux gives them to programs that ask.

    A processor remembers where some thousand pages lie. With pages of 4 KiB that is a few MiB, and a step of many
    clients reads hundreds: in pages of 2 MiB it takes a tenth less time, and computes the same. torch reads the
    environment at its first tensor.

    Returns
    -------
    bool
        Whether it was set: False if the user has chosen, or if torch is imported already.
    """
    if "torch" in sys.modules or LARGE_PAGES in environment:
        return False
    environment[LARGE_PAGES] = "1"
    return True
