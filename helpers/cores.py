"""One training per core: several at once, none of which waits for another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def core_count() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores(function: Callable, items: Iterable) -> list[Any]:
    """`list(map(function, items))`, as many calls at a time as there are cores, in Python threads.

    That pays where large operations of NumPy or PyTorch take most of the time, each on one thread
    (see `helpers/__init__.py`): they let other Python threads run. The first error is raised.
    """
    items = list(items)
    if len(items) == 1:
        return [function(items[0])]
    with ThreadPoolExecutor(core_count()) as pool:
        return list(pool.map(function, items))
