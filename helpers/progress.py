"""A progress bar for whoever watches, and for nobody else."""

import os
import sys

from tqdm.auto import tqdm


class ProgressBar(tqdm):
    """A bar that vanishes when its ``with`` ends, unless an error ends it."""

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None and not self.disable:
            self.total = self.n  # else tqdm leaves a red bar: a training may end early, solved
        super().__exit__(kind, error, traceback)


def progress_bar(total: float | None, **options) -> ProgressBar:
    """A bar in a terminal, or in a notebook that a front end has opened; else a silent one.

    Notebooks that a program executes have no session and store no bar. For `options` see tqdm.
    """
    watched = "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules
    silent = not (watched or sys.stderr.isatty())
    return ProgressBar(total=total, leave=False, disable=silent, **options)
