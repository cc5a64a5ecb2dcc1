"""One training per core: several at once, none of which waits for another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def core_count() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def on_all_cores(function: Callable, *arguments: Iterable) -> list[Any]:
    """`list(map(function, *arguments))`, as many calls at a time as there are cores.

    The calls run in Python threads. That pays where most of the time goes into large operations of
    NumPy or PyTorch, which let other threads run meanwhile, each on one core (`helpers/__init__.py`
    says why not more). The first error is raised.
    """
    calls = list(zip(*arguments, strict=True))
    if len(calls) == 1:
        return [function(*calls[0])]
    with ThreadPoolExecutor(core_count()) as pool:
        return list(pool.map(function, *zip(*calls, strict=True)))
