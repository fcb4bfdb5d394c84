"""Rows in threads, a part of them in each, whose operations have one thread: `looped` on all cores.

A loop over rows has small operations, of which a second thread makes the pauses longer and little else shorter. Whole
rows side by side keep all cores at work, and each row's numbers are those of a loop with one thread. A row that is
alone has all threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

Found = TypeVar("Found")


def side_by_side(work: Callable[[int, slice], Found], rows: int) -> list[Found]:
    """Do some work on parts of the rows, as many as torch has threads, each in a thread of its own.

    Parameters
    ----------
    work
        Is given a part's number, and its rows; no two threads have the same number at once.
    rows
        How many there are.

    Returns
    -------
    list
        What the work returned, in the order of rows.
    """
    threads = torch.get_num_threads()
    number = max(1, min(threads, rows))
    parts = [slice(rows * part // number, rows * (part + 1) // number) for part in range(number)]
    # For all threads at once, since some libraries below torch have one number for the whole process.
    torch.set_num_threads(1)
    try:
        futures = [_pool(number).submit(work, part, own) for part, own in enumerate(parts)]
        wait(futures)
    finally:
        torch.set_num_threads(threads)
    return [future.result() for future in futures]


@cache
def _pool(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, "sglr-rows", initializer=torch.set_num_threads, initargs=(1,))
