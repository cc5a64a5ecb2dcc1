"""A progress bar for whoever watches, and for nobody else."""

from __future__ import annotations

import os
import sys

from tqdm.auto import tqdm


class ProgressBar(tqdm):
    """A bar that vanishes when its ``with`` ends, unless an error ends it.

    tqdm takes a loop that ends before its total for a failed one and leaves a red bar; a training
    that ends early is one that is solved.
    """

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None and not self.disable:
            self.total = self.n
        super().__exit__(kind, error, traceback)


def progress_bar(total: float | None, **options) -> ProgressBar:
    """A bar in a terminal, or in a notebook that a front end has opened; else a silent one.

    Notebooks that a program executes (nbconvert, nbval) have no such session, so that nothing is
    stored in their outputs. `options` are tqdm's.
    """
    in_session = "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules
    silent = not (in_session or sys.stderr.isatty())
    return ProgressBar(total=total, leave=False, disable=silent, **options)
