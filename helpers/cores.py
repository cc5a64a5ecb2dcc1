"""One training per core: several at once, none of which waits for another."""

from collections.abc import Callable, Iterable
from typing import Any

from joblib import Parallel, cpu_count, delayed  # comes with scikit-learn


def on_all_cores(function: Callable, items: Iterable) -> list[Any]:
    """`list(map(function, items))`, as many calls at a time as there are cores, in Python threads.

    That pays where large operations of NumPy or PyTorch take most of the time, each on one thread
    (see `helpers/__init__.py`): they let other Python threads run. The first error is raised.
    """
    tasks = [delayed(function)(item) for item in items]
    return Parallel(min(len(tasks), cpu_count()), prefer="threads")(tasks)
