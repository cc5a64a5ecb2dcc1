"""A progress bar for whoever watches, and for nobody else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from IPython import get_ipython
from tqdm.auto import tqdm


@contextmanager
def progress_bar(total: float | None, **options) -> Iterator[tqdm]:
    """A bar in a terminal, or in a notebook that a front end has opened; else a silent one.

    It vanishes at the end, unless an error ends it. Notebooks that a program executes store no bar.
    For `options` see tqdm.
    """
    watched = (  # by JupyterLab; by somebody on Kaggle; in VS Code; in Colab
        "JPY_SESSION_NAME" in os.environ
        or os.environ.get("KAGGLE_KERNEL_RUN_TYPE") == "Interactive"
        or "__vsc_ipynb_file__" in getattr(get_ipython(), "user_ns", {})
        or "google.colab" in sys.modules
    )
    silent = not (watched or sys.stderr.isatty())
    with tqdm(total=total, leave=False, disable=silent, **options) as bar:
        yield bar
        bar.total = bar.n  # else tqdm leaves a red bar: a training may end early, solved
