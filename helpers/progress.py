"""A progress bar for whoever watches, and for nobody else."""

from __future__ import annotations

import os
import sys

from tqdm.auto import tqdm


def progress_bar(total: float | None, **options) -> tqdm:
    """A tqdm bar in a terminal, or in a notebook that a front end has opened; else a silent one.

    Notebooks that a program executes (nbconvert, nbval) have no such session, so that nothing is
    stored in their outputs. `options` are tqdm's.
    """
    in_session = "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules
    silent = not (in_session or sys.stderr.isatty())
    return tqdm(total=total, leave=False, disable=silent, **options)
